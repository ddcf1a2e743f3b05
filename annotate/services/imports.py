"""Take a file in, and start the job that imports it."""

import errno
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from django.conf import settings
from django.db import transaction

from annotate.access import job_scope
from annotate.imports.limits import HEAD_BYTES
from annotate.imports.problems import Unreadable
from annotate.imports.reading import check_head
from annotate.models import ItemImport, Project
from feedback_site.accounts.models import User
from feedback_site.jobs.services import enqueue
from feedback_site.lib.files import Written, write_chunks

KIND = "import_items"
FOLDER = "imports"


class ImportRefused(Exception):
    """A file that is not taken in, with a sentence for whoever sent it. `full`: the disk was."""

    def __init__(self, message: str, *, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


def keep_file(
    *, project: Project, file_name: str, chunks: Iterable[bytes], dry_run: bool = False, created_by: User | None = None
) -> ItemImport:
    """Write an upload below the data folder under a name of ours, and the row that stands for it.

    Raises ImportRefused for what is plainly no table of rows, for an archived project and for a full disk; nothing is
    left of it then. One transaction, after the file is on disk.
    """
    if project.archived_at is not None:
        raise ImportRefused(f"“{project.name}” is archived. Open it again in its settings, then import.")
    path = f"{FOLDER}/{secrets.token_hex(16)}"
    place = settings.DATA_DIR / path
    written = _write(place, chunks)
    try:
        return ItemImport.objects.create(
            project=project,
            file_name=_clean_name(file_name),
            path=path,
            sha256=written.sha256,
            bytes=written.bytes,
            dry_run=dry_run,
            created_by=created_by,
        )
    except BaseException:
        place.unlink(missing_ok=True)
        raise


def start_import(*, item_import: ItemImport) -> ItemImport:
    """Queue the job that reads the file. One transaction."""
    verb = "Try" if item_import.dry_run else "Import"
    with transaction.atomic():
        item_import.job = enqueue(
            kind=KIND,
            params={"import": item_import.pk},
            title=f"{verb} {item_import.file_name}",
            created_by=item_import.created_by,
            scope=job_scope(item_import.project),
        )
        item_import.save(update_fields=["job"])
    return item_import


def import_after_trial(*, trial: ItemImport, created_by: User | None) -> ItemImport:
    """Import the file of a dry run in earnest, without uploading it again. One transaction. Raises ImportRefused."""
    if not (settings.DATA_DIR / trial.path).is_file():
        raise ImportRefused("The uploaded file is no longer there. Upload it again.")
    with transaction.atomic():
        real = ItemImport.objects.create(
            project=trial.project,
            file_name=trial.file_name,
            path=trial.path,
            sha256=trial.sha256,
            bytes=trial.bytes,
            created_by=created_by,
        )
        return start_import(item_import=real)


def _write(place: Path, chunks: Iterable[bytes]) -> Written:
    try:
        return write_chunks(place, _checked(chunks))
    except Unreadable as error:
        raise ImportRefused(str(error)) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ImportRefused(
                "The disk of the server is full, so the file was not kept. "
                " Ask its operator to make room, then upload again.",
                full=True,
            ) from None
        raise


def _checked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks, once the first bytes have been found to be of a file that can be read."""
    head, checked = b"", False
    for chunk in chunks:
        if checked:
            yield chunk
            continue
        head += chunk
        if len(head) >= HEAD_BYTES:
            check_head(head[:HEAD_BYTES])
            checked = True
            yield head
    if not checked:
        check_head(head)
        yield head


def _clean_name(name: str) -> str:
    """The last part of what the browser called the file, for people to read; no path is made of it."""
    last = name.replace("\\", "/").rpartition("/")[2].encode(errors="replace").decode()
    return "".join(letter for letter in last if letter.isprintable())[:255] or "rows"
