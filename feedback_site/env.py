"""Settings from the environment. A bad value stops the start with a sentence that names the variable."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}
DATABASE_SCHEMES = {"postgresql", "postgres", "sqlite"}


def text(name: str, default: str = "") -> str:
    """The variable, or the content of the file that `NAME_FILE` points to (for mounted secrets)."""
    if path := os.environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text().strip()
        except OSError as error:
            raise ImproperlyConfigured(
                f"{name}_FILE points to {path!r}, which cannot be read: {error.strerror}."
            ) from None
    return os.environ.get(name, default).strip()


def flag(name: str, default: bool) -> bool:
    value = text(name).lower()
    if not value:
        return default
    if value in TRUE | FALSE:
        return value in TRUE
    raise ImproperlyConfigured(f"{name} is {value!r}; write one of: 1, true, yes, on, 0, false, no, off.")


def number(name: str, default: int, *, minimum: int = 0) -> int:
    value = text(name)
    if not value:
        return default
    if not value.lstrip("-").isdigit() or int(value) < minimum:
        raise ImproperlyConfigured(f"{name} is {value!r}; write a whole number of at least {minimum}.")
    return int(value)


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def choice(name: str, default: str, options: Sequence[str]) -> str:
    """One of the options, which are written in capitals."""
    value = text(name, default).upper() or default
    if value not in options:
        raise ImproperlyConfigured(f"{name} is {value!r}; write one of: {', '.join(options)}.")
    return value


def database(name: str, default: str) -> dict[str, Any]:
    """Django's settings of the database at this URL. Refused here, not in a check: a web server runs no checks, and
    falling back to another database would lose what people write into it."""
    url = text(name) or default
    scheme = url.partition(":")[0].lower()
    if scheme not in DATABASE_SCHEMES:
        raise ImproperlyConfigured(
            f"{name} begins with {scheme!r}; write postgresql://user:password@host:5432/name, "
            "or leave it out to use SQLite in the data folder."
        )
    try:
        return dict(dj_database_url.parse(url, conn_max_age=60, conn_health_checks=True))
    except ValueError:
        # The driver's own message quotes the URL, and with it the password.
        raise ImproperlyConfigured(
            f"{name} cannot be read as a URL; write postgresql://user:password@host:5432/name. "
            "Signs such as / : @ # inside the password must be written as %2F %3A %40 %23."
        ) from None


def secret_key(folder: Path) -> str:
    """`SECRET_KEY`, or for an embedded installation one made at the first start and kept in the data folder."""
    if key := text("SECRET_KEY"):
        return key
    path = folder / "secret_key"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(64))
    except FileExistsError:
        pass
    return path.read_text()
