"""Every way to configure the site wrongly, named when it starts: `python manage.py check`.

Errors (plumb.E…) stop the start, also that of the web server (see wsgi.py); warnings (plumb.W…) name
what will hurt later.
What cannot even be read, such as a malformed DATABASE_URL, was refused before by env.py.
"""

import logging
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register, run_checks

from feedback_site import env

logger = logging.getLogger("plumb.checks")

TAG = "plumb"
LOCAL_HOSTS = {"127.0.0.1", "localhost", "::1"}
BROKERS = ("redis", "rediss", "amqp", "amqps")
SECRET_LENGTH = 50
SECRET_SIGNS = 5


@register(TAG)
def check_address(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """SITE_URL, and what follows from it."""
    url = _split(settings.SITE_URL)
    if url is None or url.scheme not in {"http", "https"} or not url.hostname or url.path or url.query or url.username:
        return [
            Error(
                f"SITE_URL is “{settings.SITE_URL}”, which is not the address of a site.",
                hint="Write scheme and host alone, such as https://plumb.example.org, without a path.",
                id="plumb.E001",
            )
        ]
    found: list[CheckMessage] = []
    if settings.DEBUG and url.scheme == "https":
        found.append(
            Error(
                "DEBUG is on although SITE_URL is a public https address: every error would show settings and code.",
                hint="Leave DEBUG out of the environment.",
                id="plumb.E002",
            )
        )
    if not settings.DEBUG and url.scheme == "http" and url.hostname not in LOCAL_HOSTS:
        found.append(
            Warning(
                f"SITE_URL is {settings.SITE_URL}: passwords and cookies cross the network in the clear.",
                hint="Put the site behind HTTPS and write SITE_URL=https://… (and BEHIND_PROXY=1 for a proxy).",
                id="plumb.W001",
            )
        )
    return found


@register(TAG)
def check_hosts(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG or "*" not in settings.ALLOWED_HOSTS:
        return []
    return [
        Warning(
            "ALLOWED_HOSTS contains “*”: links in answers could be made to point anywhere.",
            hint="Name the hosts, or leave ALLOWED_HOSTS out: the host of SITE_URL is then allowed.",
            id="plumb.W002",
        )
    ]


@register(TAG)
def check_secret(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Only a key that was given: one that we made ourselves is long enough."""
    key = env.text("SECRET_KEY")
    if not key or (len(key) >= SECRET_LENGTH and len(set(key)) >= SECRET_SIGNS):
        return []
    return [
        Error(
            f"SECRET_KEY can be guessed, and sessions forged: {len(key)} signs, {len(set(key))} different ones.",
            hint="Make one with: python -c 'import secrets; print(secrets.token_urlsafe(64))'. Without "
            "the variable one is made and kept in the data folder.",
            id="plumb.E003",
        )
    ]


@register(TAG)
def check_data_folder(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    folder: Path = settings.DATA_DIR
    if folder.is_dir():
        if os.access(folder, os.W_OK | os.X_OK):
            return []
        problem, hint = (
            "may not be written to",
            "Give it to the user that the site runs as, or point PLUMB_DATA elsewhere.",
        )
    elif folder.exists():
        problem, hint = "is not a folder", "Point PLUMB_DATA to a folder."
    else:
        problem, hint = "does not exist", f"Make it (mkdir -p '{folder}') or point PLUMB_DATA elsewhere."
    return [Error(f"The data folder {folder} {problem}.", hint=hint, id="plumb.E004")]


@register(TAG)
def check_broker(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if not settings.BROKER_URL:
        return []
    url = _split(settings.BROKER_URL)
    if url is None or url.scheme not in BROKERS or not url.hostname:
        scheme = url.scheme if url else ""
        return [
            Error(
                # Not the whole of it: it may hold a password.
                f"BROKER_URL begins with “{scheme}”, or names no host." if scheme else "BROKER_URL is not a URL.",
                hint="Write redis://host:6379/0 or amqp://user:password@host:5672/, or leave it out and use runworker.",
                id="plumb.E005",
            )
        ]
    if settings.EMBEDDED:
        return [
            Warning(
                "BROKER_URL is set while the database is SQLite: workers on other machines could not reach it.",
                hint="Set DATABASE_URL to a PostgreSQL database, or leave BROKER_URL out and use manage.py runworker.",
                id="plumb.W003",
            )
        ]
    return []


@register(TAG)
def check_engine(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The interpreter of the engine, and the policy that runs start from."""
    found: list[CheckMessage] = []
    if settings.ENGINE_PYTHON and not shutil.which(settings.ENGINE_PYTHON):
        found.append(
            Error(
                f"PLUMB_ENGINE_PYTHON is {settings.ENGINE_PYTHON}, which is not a program that can be run here.",
                hint="Give the path of the interpreter that has torch, such as /opt/engine/bin/python.",
                id="plumb.E006",
            )
        )
    if _is_folder_name(settings.BASE_MODEL) and not Path(settings.BASE_MODEL).expanduser().is_dir():
        found.append(
            Error(
                f"PLUMB_BASE_MODEL is {settings.BASE_MODEL}, a folder that does not exist.",
                hint="Give a folder with config.json and .safetensors files or a hub id such as org/name; "
                "without it a small starter policy is trained.",
                id="plumb.E007",
            )
        )
    return found


@register(TAG, deploy=True)
def check_static_files(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG or (settings.STATIC_ROOT / "staticfiles.json").is_file():
        return []
    return [
        Warning(
            f"The static files have not been collected to {settings.STATIC_ROOT}: pages would fail.",
            hint="Run: python manage.py collectstatic --noinput",
            id="plumb.W004",
        )
    ]


def check_before_serving() -> None:
    """Log the warnings; leave with the sentences, without a traceback, when the site cannot work like this."""
    errors = []
    for message in run_checks(tags=[TAG], include_deployment_checks=True):
        sentence = f"{message.id}: {message.msg} {message.hint or ''}".strip()
        if message.is_serious():
            errors.append(sentence)
        else:
            logger.warning(sentence)
    if errors:
        raise SystemExit("The site cannot start.\n" + "\n".join(errors))


def _is_folder_name(name: str) -> bool:
    """`/models/base`, `./base` and `~/base` are folders; `org/name` is looked up on the hub."""
    return name.startswith(("/", ".", "~"))


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError when it is no number
    except ValueError:
        return None
    return parts
