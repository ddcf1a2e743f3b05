"""Import a whole file: batch after batch, each committed together with how far it has come."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings

from annotate.imports.ledger import Ledger
from annotate.imports.limits import BATCH_BYTES, BATCH_ROWS, MAX_PROBLEMS
from annotate.imports.plan import known_of, make_plan
from annotate.imports.problems import Problem, RowError, Unreadable
from annotate.imports.reading import Reading, reading
from annotate.imports.rows import Draft, read_row
from annotate.models import ImportProblem, ItemImport, Project
from annotate.services.items import Added, report, store
from feedback_site.jobs.context import JobFailed
from feedback_site.lib.files import resolve_below


class Context(Protocol):
    """What an import needs of whoever runs it: a job of a worker, or a command in the foreground."""

    def fenced(self) -> AbstractContextManager[None]: ...

    def progress(self, fraction: float, message: str = "") -> None: ...


@dataclass
class _Batch:
    """Rows that were read and not yet stored. `rows` counts the bad ones too."""

    rows: int = 0
    bytes: int = 0
    drafts: list[Draft] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def is_full(self) -> bool:
        return self.rows >= BATCH_ROWS or self.bytes >= BATCH_BYTES


def import_file(item_import: ItemImport, context: Context) -> dict[str, Any]:
    """Read the file of an import from where an earlier attempt stopped, and return the counts.

    Each batch is one transaction of `context.fenced()`, with the counts of the import in it, so that an attempt that is
    killed leaves whole batches and the next one goes on behind them. A dry run writes the counts and problems only; it
    begins anew, since what it has seen is lost. Raises JobFailed where the file cannot be read any further.
    """
    if item_import.dry_run:
        _begin_anew(item_import, context)
    began, before = time.monotonic(), item_import.rows
    try:
        with Ledger() as ledger, reading(_path(item_import)) as source:
            for batch in _batches(source, item_import.project, item_import.rows):
                with context.fenced():
                    _commit(item_import, batch, ledger)
                speed = (item_import.rows - before) / max(time.monotonic() - began, 1e-3)
                context.progress(source.fraction(), f"{_standing(item_import)}, {speed:,.0f} rows a second")
    except Unreadable as error:
        _name_break(item_import, str(error), context)
        raise JobFailed(_failure(item_import, str(error))) from None
    except FileNotFoundError:
        raise JobFailed("The uploaded file is no longer there. Upload it again.") from None
    return counts(item_import)


def counts(item_import: ItemImport) -> dict[str, Any]:
    return {
        "import": item_import.pk,
        "dry_run": item_import.dry_run,
        "rows": item_import.rows,
        "created": item_import.created_items,
        "judgements": item_import.created_judgements,
        "duplicates": item_import.duplicates,
        "problems": item_import.problem_count,
    }


def _path(item_import: ItemImport) -> Path:
    return resolve_below(settings.DATA_DIR, item_import.path)


def _begin_anew(item_import: ItemImport, context: Context) -> None:
    with context.fenced():
        item_import.problems.all().delete()
        for name in COUNTS:
            setattr(item_import, name, 0)
        item_import.save(update_fields=COUNTS)


COUNTS = ["rows", "created_items", "created_judgements", "duplicates", "problem_count"]


def _batches(source: Reading, project: Project, start: int) -> Iterator[_Batch]:
    """The rows from `start` on. What was read before the file breaks is handed out before Unreadable is raised."""
    batch, broken = _Batch(), None
    rows = enumerate(source.rows)
    while broken is None:
        try:
            index, (row, size) = next(rows)
        except StopIteration:
            break
        except Unreadable as error:
            broken = error
            break
        if index < start:
            continue
        _add(batch, index, row, size, project)
        if batch.is_full():
            yield batch
            batch = _Batch()
    if batch.rows:
        yield batch
    if broken is not None:
        raise broken


def _add(batch: _Batch, index: int, row: object, size: int, project: Project) -> None:
    batch.rows += 1
    batch.bytes += size
    try:
        if isinstance(row, RowError):
            raise row
        batch.drafts.append(read_row(row, index=index, project=project))
    except RowError as error:
        batch.problems.append(Problem(index, error.field, error.message))


def _commit(item_import: ItemImport, batch: _Batch, ledger: Ledger) -> None:
    """One batch and the counts that include it. Runs inside the fenced transaction."""
    if item_import.dry_run:
        added = _try(item_import.project, batch, ledger)
    else:
        added = store(project=item_import.project, drafts=batch.drafts, problems=batch.problems)
    _keep(item_import, added.problems)
    item_import.rows += batch.rows
    item_import.created_items += added.created
    item_import.created_judgements += added.judgements
    item_import.duplicates += added.duplicates
    item_import.save(update_fields=COUNTS)


def _try(project: Project, batch: _Batch, ledger: Ledger) -> Added:
    known = known_of(project, batch.drafts)
    ledger.recall(batch.drafts, known)
    plan = make_plan(batch.drafts, known)
    ledger.learn(plan)
    return report(plan, batch.problems)


def _keep(item_import: ItemImport, problems: list[Problem]) -> None:
    room = max(MAX_PROBLEMS - item_import.problem_count, 0)
    ImportProblem.objects.bulk_create(
        ImportProblem(item_import=item_import, row=problem.index, field=problem.field[:100], message=problem.message)
        for problem in problems[:room]
    )
    item_import.problem_count += len(problems)


def _name_break(item_import: ItemImport, message: str, context: Context) -> None:
    """Where the file breaks, as one problem, however often the import is tried."""
    with context.fenced():
        same = item_import.problems.filter(row=item_import.rows, field="file")
        if not same.exists():
            ImportProblem.objects.create(item_import=item_import, row=item_import.rows, field="file", message=message)
            item_import.problem_count += 1
            item_import.save(update_fields=["problem_count"])


def _failure(item_import: ItemImport, message: str) -> str:
    if not item_import.rows:
        return message
    landed = "would have landed" if item_import.dry_run else "have landed"
    return f"{message} The {item_import.rows:,} rows before it were read; the good ones {landed}."


def _standing(item_import: ItemImport) -> str:
    problems = f", {item_import.problem_count:,} with problems" if item_import.problem_count else ""
    return f"{item_import.rows:,} rows read{problems}"
