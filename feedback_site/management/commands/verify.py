"""`manage.py verify`: every invariant of the data, checked with SQL on the data itself. Silence means that all hold."""

from collections.abc import Callable, Iterable
from importlib import import_module
from itertools import islice
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.utils.module_loading import module_has_submodule

SHOWN = 20

Check = tuple[str, str, str | Callable[[], Iterable[str]]]


class Command(BaseCommand):
    help = "Check every invariant of the data; print what is broken, and nothing when all holds."

    def handle(self, *args: Any, **options: Any) -> None:
        broken = 0
        for name, sentence, check in collect_checks():
            found = list(islice(_offenders(check), SHOWN + 1))
            if found:
                broken += 1
                more = " and more" if len(found) > SHOWN else ""
                self.stdout.write(f"{name}: {sentence} Broken by: {'; '.join(found[:SHOWN])}{more}")
        if broken:
            raise CommandError(f"{broken} invariants do not hold.")


def collect_checks() -> list[Check]:
    """The CHECKS of every room's `verify.py`: a name, the sentence that must be true, and SQL for the rows breaking it
    (or a function that yields what breaks it)."""
    checks: list[Check] = []
    for app in apps.get_app_configs():
        if module_has_submodule(app.module, "verify"):
            checks += import_module(f"{app.name}.verify").CHECKS
    return checks


def _offenders(check: str | Callable[[], Iterable[str]]) -> Iterable[str]:
    if callable(check):
        yield from check()
        return
    with connection.cursor() as cursor:
        cursor.execute(check)
        for row in cursor.fetchall():
            yield "row " + ", ".join(str(value) for value in row)
