import os
from pathlib import Path

import pytest
from django.core.checks import run_checks

from feedback_site.checks import TAG
from tests.feedback_site.processes import manage, python

KEY = "a-key-of-more-than-fifty-signs-for-the-tests-0123456789-abcdefghij"


def found() -> dict[str, str]:
    """Id → sentence and cure."""
    messages = run_checks(tags=[TAG], include_deployment_checks=True)
    assert all(message.hint for message in messages), "every problem comes with its cure"
    return {message.id: f"{message.msg} {message.hint}" for message in messages}


@pytest.fixture(autouse=True)
def sound(settings, tmp_path, monkeypatch):
    """A configuration without fault, from which each test departs in one point."""
    monkeypatch.delenv("SECRET_KEY", raising=False)
    settings.SITE_URL = "http://127.0.0.1:8000"
    settings.DEBUG = False
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    settings.BROKER_URL = settings.ENGINE_PYTHON = settings.BASE_MODEL = ""
    settings.EMBEDDED = True
    settings.STATIC_ROOT = tmp_path
    (tmp_path / "staticfiles.json").write_text("{}")
    return settings


def test_nothing_is_said_about_a_sound_configuration():
    assert found() == {}


@pytest.mark.parametrize(
    "url", ["plumb.example.org", "ftp://host", "https://", "https://host/path", "http://host:port"]
)
def test_an_address_that_is_none(settings, url):
    settings.SITE_URL = url
    assert url in found()["plumb.E001"]


def test_debug_on_a_public_site(settings):
    settings.SITE_URL, settings.DEBUG = "https://plumb.example.org", True
    assert list(found()) == ["plumb.E002"]


def test_passwords_in_the_clear(settings):
    settings.SITE_URL = "http://plumb.example.org"
    assert list(found()) == ["plumb.W001"]


def test_any_host_allowed(settings):
    settings.ALLOWED_HOSTS = ["*"]
    assert list(found()) == ["plumb.W002"]


@pytest.mark.parametrize("key", ["short", "a" * 80])
def test_a_secret_key_that_can_be_guessed_is_named_but_not_shown(monkeypatch, key):
    monkeypatch.setenv("SECRET_KEY", key)
    assert key not in found()["plumb.E003"]


def test_a_data_folder_that_is_missing(settings, tmp_path):
    settings.DATA_DIR = tmp_path / "nowhere"
    assert "does not exist" in found()["plumb.E004"]


def test_a_data_folder_that_is_a_file(settings, tmp_path):
    settings.DATA_DIR = tmp_path / "staticfiles.json"
    assert "is not a folder" in found()["plumb.E004"]


def test_a_data_folder_that_may_not_be_written_to(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != settings.DATA_DIR)
    assert "may not be written to" in found()["plumb.E004"]


@pytest.mark.parametrize("url", ["kafka://host", "redis://", "just words", "amqp://user:hush@host:port"])
def test_a_broker_that_cannot_be_is_named_without_its_password(settings, url):
    settings.EMBEDDED, settings.BROKER_URL = False, url
    assert "hush" not in found()["plumb.E005"]


@pytest.mark.parametrize("url", ["redis://host:6379/0", "rediss://host", "amqp://user:secret@host:5672//"])
def test_brokers_that_can_be(settings, url):
    settings.EMBEDDED, settings.BROKER_URL = False, url
    assert found() == {}


def test_sqlite_with_a_broker(settings):
    settings.BROKER_URL = "redis://host:6379/0"
    assert list(found()) == ["plumb.W003"]


def test_an_engine_interpreter_that_cannot_be_run(settings, tmp_path):
    settings.ENGINE_PYTHON = str(tmp_path / "staticfiles.json")
    assert settings.ENGINE_PYTHON in found()["plumb.E006"]


def test_a_base_model_folder_that_is_missing(settings):
    settings.BASE_MODEL = "/no/such/folder"
    assert "/no/such/folder" in found()["plumb.E007"]


def test_a_base_model_by_its_hub_id_cannot_be_looked_up_here(settings):
    settings.BASE_MODEL = "organisation/name"
    assert found() == {}


def test_static_files_that_were_not_collected(settings, tmp_path):
    settings.STATIC_ROOT = tmp_path / "nowhere"
    assert "collectstatic" in found()["plumb.W004"]


def production(folder: Path) -> dict[str, str]:
    (folder / "staticfiles.json").write_text("{}")
    return {
        "SITE_URL": "https://plumb.example.org",
        "SECRET_KEY": KEY,
        "DATABASE_URL": "postgresql://plumb:secret@database:5432/plumb",
        "BROKER_URL": "redis://broker:6379/0",
        "STATIC_ROOT": str(folder),
    }


def test_the_deployment_check_is_silent_in_production(tmp_path):
    answer = manage("check", "--deploy", "--fail-level", "WARNING", data=tmp_path, **production(tmp_path))
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    assert "no issues (0 silenced)" in answer.stdout


def test_the_web_server_refuses_to_start_with_sentences_instead_of_a_traceback(tmp_path):
    environment = production(tmp_path) | {"BROKER_URL": "kafka://host", "SECRET_KEY": "short"}
    answer = python("-c", "import feedback_site.wsgi", data=tmp_path, **environment)
    assert answer.returncode == 1
    assert "plumb.E003" in answer.stderr
    assert "plumb.E005" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("command", [("manage.py", "migrate"), ("-c", "import feedback_site.wsgi")])
def test_what_cannot_be_read_is_named_without_a_traceback(tmp_path, command):
    answer = python(*command, data=tmp_path, DEBUG="perhaps")
    assert answer.returncode == 1
    assert "DEBUG is 'perhaps'" in answer.stderr
    assert "Traceback" not in answer.stderr
