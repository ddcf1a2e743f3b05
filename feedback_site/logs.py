"""Structured logs: JSON in production, readable lines when embedded. Request and job ids are bound by contextvars."""

import re
from typing import Any

import structlog

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


# Who reads the log must not be able to accept an invitation.
SECRET_IN_PATH = re.compile(r"(/invitations/)[^/\s]+")


def hide_secrets(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Whatever logs an address, the secret of an invitation's link is not in it."""
    for name, value in event.items():
        if isinstance(value, str) and "/invitations/" in value:
            event[name] = SECRET_IN_PATH.sub(r"\1…", value)
    return event


def configure_logging(*, json: bool, level: str) -> dict[str, Any]:
    """The `LOGGING` dictionary. Standard-library records and structlog events leave through the same formatter."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: Any = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, hide_secrets, renderer],
                "foreign_pre_chain": [*shared, structlog.processors.format_exc_info],
            }
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # Refusals are in the line of their request already; failures come with their traceback.
            "django.request": {"level": "ERROR"},
            "django.server": {"handlers": ["console"], "level": "WARNING", "propagate": False},
        },
    }
