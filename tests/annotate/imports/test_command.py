"""`manage.py import_items`: the same verb in the foreground."""

import pytest
from django.core.management import CommandError, call_command

from annotate.models import Item, ItemImport
from feedback_site.jobs.models import Job

from .helpers import lines, pairs


@pytest.fixture
def rows(tmp_path):
    def write(rows):
        path = tmp_path / "rows.jsonl"
        path.write_bytes(rows if isinstance(rows, bytes) else lines(rows))
        return str(path)

    return write


def test_a_file_is_imported_in_the_foreground(project, alice, rows, capsys):
    call_command("import_items", "answers", rows(pairs(3)), "--as", "alice")
    assert "Done: 3 rows, 3 new items or prompts, 3 judgements" in capsys.readouterr().out
    kept = ItemImport.objects.get()
    assert (kept.created_by, kept.job, kept.created_items) == (alice, None, 3)
    assert not Job.objects.exists()


def test_refused_rows_are_named_and_tell_by_the_exit_code(project, rows, capsys):
    with pytest.raises(SystemExit) as ended:
        call_command("import_items", "answers", rows([*pairs(2), {"x": 1}]))
    assert ended.value.code == 2
    assert "row 2, row: The row has neither" in capsys.readouterr().out
    assert Item.objects.count() == 2


def test_a_dry_run_says_so(project, rows, capsys):
    call_command("import_items", "answers", rows(pairs(3)), "--dry-run")
    assert "nothing was written" in capsys.readouterr().out
    assert not Item.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere", "rows"], "There is no project “nowhere”. There are: answers"),
        (["answers", "missing.jsonl"], "No such file"),
        (["answers", "/"], "Is a directory"),
        (["answers", "rows", "--as", "nobody"], "nobody called “nobody”"),
        (["answers", "rows", "--as", "bob"], "owners and managers may"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(project, arguments, says):
    with pytest.raises(CommandError, match=says):
        call_command("import_items", *arguments)


def test_a_file_that_breaks_off_fails(project, rows):
    with pytest.raises(CommandError, match="not closed"):
        call_command("import_items", "answers", rows(b"[" + lines(pairs(1)) + b","))
    assert Item.objects.count() == 1
