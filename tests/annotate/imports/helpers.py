"""Import bytes as a worker would, and look at what came of it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from annotate.imports.run import import_file
from annotate.models import ItemImport
from annotate.services.imports import keep_file
from annotate.verify import CHECKS

PAIR = {"prompt": "Why is the sky blue?", "chosen": "Air scatters blue light.", "rejected": "It mirrors the sea."}


class Worker:
    """What an import needs of whoever runs it. Says what it was told."""

    def __init__(self):
        self.said = []

    @contextmanager
    def fenced(self) -> Iterator[None]:
        with transaction.atomic():
            yield

    def progress(self, fraction, message=""):
        self.said.append((fraction, message))


def import_bytes(project, content: bytes, name="rows.jsonl", *, dry_run=False, worker=None) -> ItemImport:
    """Raises ImportRefused or JobFailed as the site would show them."""
    item_import = keep_file(project=project, file_name=name, chunks=[content], dry_run=dry_run)
    import_file(item_import, worker or Worker())
    return item_import


def lines(rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def pairs(count, start=0):
    return [
        {"prompt": f"Question {n}?", "chosen": f"Answer {n}.", "rejected": f"Nonsense {n}."}
        for n in range(start, start + count)
    ]


def problems(item_import):
    return [(problem.row, problem.field, problem.message) for problem in item_import.problems.all()]


def broken() -> list[str]:
    """The names of the invariants that do not hold."""
    found = []
    for name, _, check in CHECKS:
        if callable(check):
            found += [f"{name}: {row}" for row in check()]
            continue
        with connection.cursor() as cursor:
            cursor.execute(check)
            found += [f"{name}: {row}" for row in cursor.fetchall()]
    return found
