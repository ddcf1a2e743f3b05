"""One set of rows in every kind of file, and files that are none of them."""

import gzip
import io
import json
import pickle
import zipfile

import pytest

from annotate.models import Item, Judgement
from annotate.services.imports import ImportRefused
from feedback_site.jobs.context import JobFailed

from .helpers import import_bytes, lines, problems

ROWS = [
    {
        "prompt": f'Say "hi", {n};\tsay it — twice\nor 日本',
        "completions": [{"text": f"Hi {n}. \\ [", "model": "a"}, {"text": "Hi } ,hi", "model": "b"}],
        "ranking": [[1], [0]],
        "annotator": f"w{n % 2}",
        "note": "x",
    }
    for n in range(7)
]
BOM = b"\xef\xbb\xbf"


def as_csv(delimiter=","):
    import csv

    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(ROWS[0])
    writer.writerows(
        [json.dumps(value) if isinstance(value, list) else value for value in row.values()] for row in ROWS
    )
    return out.getvalue().encode()


def as_parquet(rows=ROWS, **options):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out, **options)
    return out.getvalue()


FILES = {
    "jsonl": lambda: lines(ROWS),
    "jsonl with bom, blank lines and crlf": lambda: BOM + lines(ROWS).replace(b"\n", b"\r\n\r\n"),
    "jsonl without last line end": lambda: lines(ROWS).rstrip(),
    "jsonl.gz": lambda: gzip.compress(lines(ROWS)),
    "two gzip members": lambda: gzip.compress(lines(ROWS[:3])) + gzip.compress(lines(ROWS[3:])),
    "json": lambda: json.dumps(ROWS).encode(),
    "pretty json with bom": lambda: BOM + b"\n " + json.dumps(ROWS, indent=4, ensure_ascii=False).encode() + b"\n",
    "json.gz": lambda: gzip.compress(json.dumps(ROWS).encode()),
    "json object with one list": lambda: json.dumps({"version": [1], "data": ROWS, "n": {"a": [2]}}, indent=1).encode(),
    "json object on one line": lambda: json.dumps({"data": ROWS}).encode(),
    "pretty json objects": lambda: "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(),
    "csv": as_csv,
    "csv with bom and crlf": lambda: BOM + as_csv(),
    "csv with semicolons": lambda: as_csv(";"),
    "tsv.gz": lambda: gzip.compress(as_csv("\t")),
    "parquet": as_parquet,
    "parquet, small row groups": lambda: as_parquet(row_group_size=2, compression="zstd"),
    "parquet.gz": lambda: gzip.compress(as_parquet()),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_same_rows_arrive_from_every_kind_of_file_whatever_its_name(project, kind):
    found = import_bytes(project, FILES[kind](), "no-ending")
    assert problems(found) == []
    assert (found.rows, found.created_items, found.created_judgements) == (7, 7, 7)
    prompts = set(Item.objects.values_list("prompt__messages__0__content", flat=True))
    assert prompts == {row["prompt"] for row in ROWS}
    assert set(Item.objects.values_list("metadata__note", flat=True)) == {"x"}
    assert set(Judgement.objects.values_list("annotator__name", flat=True)) == {"w0", "w1"}


def as_zip(name):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, "x" * 100)
    return out.getvalue()


NO_TABLES = {
    "": "empty",
    " \n ": "blank",
    "<!DOCTYPE html><html>": "web page",
    "<?xml version='1.0'?><rows/>": "XML",
    "Dear all,\nplease find": "neither JSON nor CSV",
    "a,b,c\n1,2,3": "neither JSON nor CSV",
    "null": "neither JSON nor CSV",
    as_zip("rows.jsonl"): "zip archive",
    as_zip("xl/workbook.xml"): "Excel",
    pickle.dumps([{"prompt": "x"}]): "pickle",
    b"\xd0\xcf\x11\xe0" + b"\0" * 600: "old Excel",
    b"%PDF-1.7": "PDF",
    b"\x28\xb5\x2f\xfd abc": "zstd",
    b"BZh91AY": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x89PNG\r\n": "image",
    b"SQLite format 3\0": "SQLite",
    "prompt\nx".encode("utf-16"): "UTF-16",
    b"\x01\x02\x00\x03": "binary",
    b"a" * 257 + b"ustar": "tar",
}


@pytest.mark.parametrize("content", NO_TABLES, ids=list(NO_TABLES.values()))
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_no_table_of_rows_is_refused_by_its_name(project, data_dir, content, packed):
    raw = content if isinstance(content, bytes) else content.encode()
    with pytest.raises((ImportRefused, JobFailed), match=NO_TABLES[content]):
        import_bytes(project, gzip.compress(raw) if packed else raw, "rows.jsonl")
    assert packed or list((data_dir / "imports").iterdir()) == []
    assert not Item.objects.exists()


def test_a_csv_is_checked_by_its_header_and_each_row_by_its_columns(project):
    rows = b'Prompt , chosen,rejected,strength\nQ,A,B,2\nQ2,A\n\nQ3,A,B,high\nQ4,"A"x,B,1\nQ5,A,B,\n'
    found = import_bytes(project, rows)
    assert [(row, field) for row, field, _ in problems(found)] == [(1, "row"), (2, "strength"), (3, "row")]
    assert found.created_items == 2


@pytest.mark.parametrize(
    ("header", "says"),
    [("prompt,prompt", "Two columns"), ("prompt," + ",".join(f"c{n}" for n in range(300)), "301 columns")],
)
def test_a_csv_with_a_bad_header_is_refused(project, header, says):
    with pytest.raises(JobFailed, match=says):
        import_bytes(project, f"{header}\nx,y\n".encode())


@pytest.mark.parametrize(
    "content",
    [b"[]", b"prompt,chosen,rejected\n", gzip.compress(b"[\n]")],
    ids=["list", "header alone", "packed"],
)
def test_a_file_without_rows_is_refused(project, content):
    with pytest.raises(JobFailed, match="no rows"):
        import_bytes(project, content)


def test_a_parquet_file_without_rows_is_refused(project):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS).slice(0, 0), out)
    with pytest.raises(JobFailed, match="no rows"):
        import_bytes(project, out.getvalue())


def test_parquet_values_become_what_json_would_say(project):
    import datetime
    import decimal

    rows = [
        {
            "prompt": [{"role": "user", "content": "Q"}],
            "completions": ["A", "B"],
            "when": datetime.datetime(2024, 1, 2, 3, 4, tzinfo=datetime.UTC),
            "price": decimal.Decimal("1.50"),
            "score": float("nan"),
            "nothing": None,
        },
    ]
    found = import_bytes(project, as_parquet(rows))
    assert problems(found) == []
    assert Item.objects.get().metadata == {"when": "2024-01-02T03:04:00+00:00", "price": "1.50"}


def test_a_parquet_row_with_bytes_is_named_by_its_column(project):
    rows = [{"prompt": "Q", "image": b"\x00\x01"}, {"prompt": "Q2", "image": None}]
    found = import_bytes(project, as_parquet(rows))
    assert [(row, field) for row, field, _ in problems(found)] == [(0, "image")]
    assert found.created_items == 1
