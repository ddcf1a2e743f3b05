"""Bombs, and rows out of all measure: refused by name, in bounded memory, and what can be read is read."""

import gzip
import io
import json
import tracemalloc
import zlib
from contextlib import contextmanager

import pytest

from annotate.imports import limits
from annotate.imports.run import import_file
from annotate.services.content import text_sha256
from annotate.services.imports import ImportRefused, keep_file
from feedback_site.jobs.context import JobFailed

from .helpers import PAIR, Worker, import_bytes, lines, pairs, problems

MIB = 1 << 20
GOOD = lines([PAIR])


@contextmanager
def at_most(megabytes):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * MIB
    finally:
        tracemalloc.stop()


def packed(*chunks) -> bytes:
    """Gzip without holding what is packed."""
    out = io.BytesIO()
    with gzip.open(out, "wb", compresslevel=1) as file:
        for chunk in chunks:
            file.write(chunk)
    return out.getvalue()


def test_an_endless_line_is_named_and_reading_goes_on_behind_it(project, data_dir):
    """A gigabyte would take a minute to write; 60 MiB show the same."""

    def chunks():
        yield GOOD + b'{"prompt": "'
        for _ in range(60):
            yield b"x" * MIB
        yield b'"}\n' + lines(pairs(2))

    with at_most(48):
        found = keep_file(project=project, file_name="long.jsonl", chunks=chunks())
        import_file(found, Worker())
    [(row, field, message)] = problems(found)
    assert (row, field) == (1, "row")
    assert "8 MiB" in message
    assert (found.rows, found.created_items) == (4, 3)


def test_an_endless_element_of_a_list_is_named_and_reading_goes_on_behind_it(project):
    endless = b'{"prompt": "' + b"x" * (limits.MAX_ROW_BYTES + MIB) + b'"}'
    found = import_bytes(project, b"[" + b",".join([GOOD, endless, GOOD]) + b"]")
    assert [(row, field) for row, field, _ in problems(found)] == [(1, "row")]
    assert (found.rows, found.duplicates) == (3, 1)


def test_a_gzip_bomb_is_refused_once_it_is_out_of_all_proportion(project):
    content = packed(GOOD, *[b" " * MIB] * 100)
    assert len(content) < MIB
    with at_most(48), pytest.raises(JobFailed, match="200 times"):
        import_bytes(project, content)


def test_gzip_in_gzip_is_refused(project):
    with pytest.raises(JobFailed, match="twice"):
        import_bytes(project, packed(packed(GOOD)))


def test_what_comes_before_a_break_in_a_gzip_file_lands(project):
    squeeze = zlib.compressobj(wbits=31)
    content = (
        squeeze.compress(lines({"prompt": text_sha256(str(n))} for n in range(1000)))
        + squeeze.flush(zlib.Z_FULL_FLUSH)
        + b"\xff" * 100
    )
    with pytest.raises(JobFailed, match=r"damaged from here on.* rows before it were read"):
        import_bytes(project, content)
    found = project.imports.get()
    assert found.rows == found.created_items > 0
    assert problems(found)[0][:2] == (found.rows, "file")


def test_an_open_quotation_mark_cannot_eat_the_file(project):
    content = b'prompt,chosen,rejected\nQ,A,B\n"' + (b"x,y" * 1000 + b"\n") * 4000
    with at_most(48), pytest.raises(JobFailed, match="quotation mark is opened and not closed"):
        import_bytes(project, content)
    assert project.imports.get().created_items == 1


def test_an_open_quotation_mark_at_the_end_of_a_table_is_said_with_its_line(project):
    with pytest.raises(JobFailed, match="line 3 opens a quotation mark"):
        import_bytes(project, b'prompt,chosen,rejected\nQ,A,B\nQ2,"A,B\nQ3,A,B\n')


BAD_LINES = {
    b'{"prompt": "x", "prompt": "y"}': ("prompt", "twice"),
    b'{"prompt": "x", "score": NaN}': ("row", "NaN"),
    b'{"prompt": "x", "score": -Infinity}': ("row", "Infinity"),
    b'{"prompt": "x", "score": 1e999}': ("score", "finite"),
    b'{"prompt": "x", "n": ' + b"9" * 5000 + b"}": ("row", "number"),
    b'{"prompt": "\\u0000"}': ("prompt", "NUL"),
    b'{"prompt": "\x00"}': ("row", "JSON"),
    b'{"prompt": "\\ud83d"}': ("prompt", "surrogate"),
    b'{"prompt": "caf\xe9"}': ("row", "UTF-8"),
    b'{"prompt": "x", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": ("row", "nested"),
    b'{"prompt": "x", "deep": ' + b"[" * 200 + b"]" * 200 + b"}": ("deep", "nested"),
    b'{"prompt": "x"': ("row", "JSON"),
    b'{"prompt": "x"} {"prompt": "y"}': ("row", "JSON"),
    json.dumps({f"k{n}": n for n in range(300)}).encode(): ("row", "300 keys"),
    b'"text"': ("row", "object"),
    b"\xff\xfe\xfd": ("row", "UTF-8"),
}


@pytest.mark.parametrize("bad", BAD_LINES, ids=lambda line: repr(line[:30]))
@pytest.mark.parametrize("shape", ["lines", "list"])
def test_a_bad_row_is_named_and_its_neighbours_land(project, bad, shape):
    if shape == "list" and bad in (b'{"prompt": "x"', b"\xff\xfe\xfd"):
        pytest.skip("without a closing bracket its neighbours are part of it")
    before, after = lines(pairs(1)), lines(pairs(1, start=1))
    listed = b"[" + b",".join([before, bad, after]) + b"]"
    content = before + bad + b"\n" + after if shape == "lines" else listed
    found = import_bytes(project, content)
    [(row, field, message)] = problems(found)
    wanted, says = BAD_LINES[bad]
    assert (row, field) == (1, wanted)
    assert says in message
    assert found.created_items == 2


def test_bad_utf_8_in_a_table_is_named_by_its_column(project):
    found = import_bytes(project, b"prompt,chosen,rejected\nQ,caf\xe9,B\nQ,A,B\n")
    assert [(row, field) for row, field, _ in problems(found)] == [(0, "chosen")]
    assert found.created_items == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[" + GOOD, "not closed"),
        (b"[" + GOOD + b"] trailing", "follows the end"),
        (b'{"data": [' + GOOD + b'], "more": [' + GOOD + b"]}", "more than one list"),
        (b'{"data": [' + GOOD + b'], "more": 1', "not closed properly"),
        (b'{\n"prompt": "x"\n}\n{\n"prompt": "y"', "not closed"),
    ],
)
def test_a_break_in_json_is_said_and_what_came_before_it_lands(project, content, says):
    with pytest.raises(JobFailed, match=says) as failed:
        import_bytes(project, content)
    found = project.imports.get()
    assert found.created_items >= ("closed" not in says)
    assert problems(found)[-1][1] == "file"
    assert "Traceback" not in str(failed.value)


def test_a_parquet_bomb_is_refused_by_its_footer(project, monkeypatch):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    monkeypatch.setattr("annotate.imports.parquetfiles.MAX_ROW_GROUP", MIB)
    out = io.BytesIO()
    texts = ["x" * MIB + str(n) for n in range(4)]
    pq.write_table(pa.table({"prompt": texts}), out, compression="zstd", use_dictionary=False)
    assert len(out.getvalue()) < MIB
    with pytest.raises(JobFailed, match="smaller row groups"):
        import_bytes(project, out.getvalue())


@pytest.mark.parametrize("columns", [{"other": ["x"]}, {f"c{n}": ["x"] for n in range(300)}])
def test_a_parquet_table_of_something_else_is_refused(project, columns):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    with pytest.raises(JobFailed, match="column"):
        import_bytes(project, out.getvalue())


def test_only_so_many_problems_are_kept_and_all_are_counted(project, monkeypatch):
    monkeypatch.setattr("annotate.imports.run.MAX_PROBLEMS", 5)
    monkeypatch.setattr("annotate.imports.run.BATCH_ROWS", 4)
    found = import_bytes(project, b'{"x": 1}\n' * 11)
    assert (found.problem_count, found.problems.count()) == (11, 5)


def test_a_full_disk_is_said_and_leaves_nothing(project, data_dir):
    def chunks():
        yield GOOD * 1000
        raise OSError(28, "No space left on device")

    with pytest.raises(ImportRefused, match="disk of the server is full") as refused:
        keep_file(project=project, file_name="rows", chunks=chunks())
    assert refused.value.full
    assert list((data_dir / "imports").iterdir()) == []
    assert not project.imports.exists()
