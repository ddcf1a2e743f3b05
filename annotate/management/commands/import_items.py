"""`manage.py import_items PROJECT FILE`: what the import page does, in the foreground."""

from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from annotate.access import check_role
from annotate.imports.run import counts, import_file
from annotate.models import ItemImport, Project
from annotate.services.imports import ImportRefused, keep_file
from feedback_site.accounts.models import User
from feedback_site.jobs.context import JobFailed
from feedback_site.lib.files import chunks_of

SHOWN = 20
SOME_REFUSED = 2


class Foreground:
    """Runs an import without a job: there is nobody to fence off, and progress goes to the terminal."""

    def __init__(self, command: "Command") -> None:
        self._command = command

    @contextmanager
    def fenced(self) -> Iterator[None]:
        with transaction.atomic():
            yield

    def progress(self, fraction: float, message: str = "") -> None:
        self._command.show_progress(f"{fraction:4.0%}  {message}")


class Command(BaseCommand):
    help = (
        "Import rows from a JSONL, JSON, CSV or Parquet file, packed with gzip or not. Exit code 0: every row landed or"
        " was there; 2: some were refused and the others landed; 1: the file could not be read to its end."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="the project's slug, as in its address")
        parser.add_argument("file", type=Path)
        parser.add_argument("--dry-run", action="store_true", help="say what would happen and write nothing")
        parser.add_argument("--as", dest="user", default="", metavar="USER", help="whose import it is in the history")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            slugs = ", ".join(Project.objects.values_list("slug", flat=True)[:10]) or "none yet"
            raise CommandError(f"There is no project “{options['project']}”. There are: {slugs}.")
        user = self._user(options["user"], project)
        item_import = self._keep(project, options["file"], options["dry_run"], user)
        try:
            import_file(item_import, Foreground(self))
        except KeyboardInterrupt:
            self._say_counts(item_import, "Stopped")
            raise CommandError("What had landed stays. Run the same command again to add the rest.") from None
        except JobFailed as failure:
            self._say_counts(item_import, "Failed")
            raise CommandError(str(failure)) from None
        self._say_counts(item_import, "Tried" if item_import.dry_run else "Done")
        if item_import.problem_count:
            raise SystemExit(SOME_REFUSED)

    def show_progress(self, line: str) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"\r\x1b[K{line}", ending="")
            self.stderr.flush()

    def _user(self, name: str, project: Project) -> User | None:
        if not name:
            return None
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is nobody called “{name}”.")
        try:
            check_role(user, project, "manage")
        except Exception:
            raise CommandError(f"“{name}” may not import into “{project.name}”: owners and managers may.") from None
        return user

    def _keep(self, project: Project, path: Path, dry_run: bool, user: User | None) -> ItemImport:
        try:
            with path.open("rb") as file:
                return keep_file(
                    project=project, file_name=path.name, chunks=chunks_of(file), dry_run=dry_run, created_by=user
                )
        except ImportRefused as refused:
            raise CommandError(f"{path}: {refused}") from None
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from None

    def _say_counts(self, item_import: ItemImport, how: str) -> None:
        self.show_progress("")
        count = counts(item_import)
        would = " (a dry run: nothing was written)" if item_import.dry_run else ""
        self.stdout.write(
            f"{how}{would}: {count['rows']:,} rows, {count['created']:,} new items or prompts,"
            f" {count['judgements']:,} judgements, {count['duplicates']:,} there already,"
            f" {count['problems']:,} refused."
        )
        for problem in item_import.problems.all()[:SHOWN]:
            self.stdout.write(f"  row {problem.row}, {problem.field}: {problem.message}")
        if count["problems"] > SHOWN:
            self.stdout.write(f"  … and {count['problems'] - SHOWN:,} more, on the import page.")
