import pytest
from django.core.exceptions import ImproperlyConfigured

from feedback_site import env


def test_a_missing_variable_gives_the_default(monkeypatch):
    monkeypatch.delenv("NAME", raising=False)
    assert env.text("NAME", "x") == "x"
    assert env.flag("NAME", True) is True
    assert env.number("NAME", 7) == 7
    assert env.words("NAME", "a, b") == ["a", "b"]


def test_a_mounted_secret_is_read_from_its_file(monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("from the file\n")
    monkeypatch.setenv("NAME", "from the environment")
    monkeypatch.setenv("NAME_FILE", str(tmp_path / "secret"))
    assert env.text("NAME") == "from the file"


def test_a_mounted_secret_that_is_missing_names_variable_and_path(monkeypatch, tmp_path):
    monkeypatch.setenv("NAME_FILE", str(tmp_path / "nothing"))
    with pytest.raises(ImproperlyConfigured, match=r"NAME_FILE points to .*nothing"):
        env.text("NAME")


@pytest.mark.parametrize(
    ("value", "meaning"), [("1", True), ("Yes", True), ("on", True), ("0", False), ("FALSE", False)]
)
def test_flags_are_read_in_the_usual_spellings(monkeypatch, value, meaning):
    monkeypatch.setenv("NAME", value)
    assert env.flag("NAME", not meaning) is meaning


def test_a_flag_that_is_neither_is_refused(monkeypatch):
    monkeypatch.setenv("NAME", "perhaps")
    with pytest.raises(ImproperlyConfigured, match="NAME is 'perhaps'"):
        env.flag("NAME", False)


@pytest.mark.parametrize("value", ["-1", "1.5", "many", "2"])
def test_a_number_below_the_least_or_none_at_all_is_refused(monkeypatch, value):
    monkeypatch.setenv("NAME", value)
    with pytest.raises(ImproperlyConfigured, match="at least 3"):
        env.number("NAME", 7, minimum=3)


def test_a_choice_names_what_can_be_chosen(monkeypatch):
    monkeypatch.setenv("NAME", "debug")
    assert env.choice("NAME", "INFO", ("DEBUG", "INFO")) == "DEBUG"
    monkeypatch.setenv("NAME", "loud")
    with pytest.raises(ImproperlyConfigured, match="DEBUG, INFO"):
        env.choice("NAME", "INFO", ("DEBUG", "INFO"))


def test_a_database_of_another_kind_stops_the_start(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "mysql://somebody@host/name")
    with pytest.raises(ImproperlyConfigured, match=r"DATABASE_URL begins with 'mysql'.*postgresql://"):
        env.database("DATABASE_URL", "sqlite:///x")


def test_a_malformed_database_url_is_refused_without_its_password(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody:hush/hush@host/name")
    with pytest.raises(ImproperlyConfigured) as refusal:
        env.database("DATABASE_URL", "sqlite:///x")
    assert "hush" not in str(refusal.value)


def test_the_secret_key_is_made_once_and_readable_by_its_owner_alone(monkeypatch, tmp_path):
    monkeypatch.delenv("SECRET_KEY", raising=False)
    key = env.secret_key(tmp_path / "data")
    assert len(key) >= 50
    assert env.secret_key(tmp_path / "data") == key
    assert (tmp_path / "data" / "secret_key").stat().st_mode & 0o777 == 0o600
