"""Named people as in every test: alice owns, bob annotates, victor views, charlie is an outsider."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from rest_framework.test import APIClient

from tests.makers import make_project, make_user

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix, tmp_path_factory):
    """SQLite in a file: connections that share a database in memory do not wait for each other's locks."""
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        database.setdefault("TEST", {})["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


@pytest.fixture(autouse=True)
def data_dir(settings, tmp_path):
    """Everything that a test writes goes to a folder of its own."""
    settings.DATA_DIR = tmp_path / "data"
    settings.DATA_DIR.mkdir()
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return settings.DATA_DIR


@pytest.fixture
def shared_data() -> Path:
    """The real judgements beside the project; tests that need them are skipped where they are missing."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the real judgements in ../shared/data, which are not here")
    return SHARED / "data"


@pytest.fixture
def alice(db):
    return make_user("alice")


@pytest.fixture
def bob(db):
    return make_user("bob")


@pytest.fixture
def victor(db):
    return make_user("victor")


@pytest.fixture
def charlie(db):
    return make_user("charlie")


@pytest.fixture
def project(alice, bob, victor):
    """A pairwise project with every role in it."""
    project = make_project("answers", owner=alice)
    project.memberships.create(user=bob, role="annotator")
    project.memberships.create(user=victor, role="viewer")
    return project


@pytest.fixture
def client_for() -> Callable[..., Client]:
    def make(user) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def api_for() -> Callable[..., APIClient]:
    """An API client with a real token of these scopes."""

    def make(user, scopes=("read", "annotate", "manage")) -> APIClient:
        from feedback_site.accounts.tokens import create_token

        _, secret = create_token(user=user, name="test", scopes=scopes)
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
        return client

    return make
