"""Dataset files: Parquet, JSON and lines of it, packed or not, read alike or refused with what is wrong."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.engine.errors import EngineError
from training.engine.trees import read_trees


def test_parquet_and_jsonl_give_the_same_trees(tmp_path, write_rows, pairwise_rows, tiny_tokenizer):
    expected, _ = read_trees(write_rows(pairwise_rows), kind="pairwise", tokenizer=tiny_tokenizer, max_length=200)
    pq.write_table(pa.Table.from_pylist(pairwise_rows), tmp_path / "rows.parquet", row_group_size=5)
    trees, report = read_trees(tmp_path / "rows.parquet", kind="pairwise", tokenizer=tiny_tokenizer, max_length=200)
    assert trees == expected
    assert report.rows == report.used == 12


def test_what_nobody_asks_for_in_a_parquet_file_does_not_matter(tmp_path, tiny_tokenizer, pairwise_rows):
    table = pa.Table.from_pylist(pairwise_rows)
    table = table.append_column("time", pa.array([1] * len(pairwise_rows), pa.timestamp("ns")))
    pq.write_table(table, tmp_path / "Rows.PARQUET")
    trees, _ = read_trees(tmp_path / "Rows.PARQUET", kind="pairwise", tokenizer=tiny_tokenizer, max_length=200)
    assert len(trees) == 12


def test_two_parquet_columns_of_one_name_are_refused(tmp_path, tiny_tokenizer):
    columns = [pa.array([text]) for text in ("Is it?", "Yes.", "No.", "Maybe.")]
    table = pa.Table.from_arrays(columns, names=["prompt", "chosen", "chosen", "rejected"])
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(EngineError, match="two columns 'chosen'"):
        read_trees(tmp_path / "rows.parquet", kind="pairwise", tokenizer=tiny_tokenizer, max_length=200)


def test_a_line_that_is_not_json_is_refused_with_its_row(tmp_path, tiny_tokenizer):
    path = tmp_path / "rows.jsonl"
    for line in (
        '{"prompt": ',
        "[1]",
        "\xff",
        '{"p": ' + "[" * 100_000,
        '{"p": ' + "1" * 5000 + "}",
        r'{"chosen": "\ud800"}',
    ):
        path.write_bytes(b"\n" + line.encode("latin-1") + b"\n")
        with pytest.raises(EngineError) as refusal:
            read_trees(path, kind="pairwise", tokenizer=tiny_tokenizer, max_length=99)
        assert refusal.value.row == 0


def test_a_key_that_stands_twice_is_refused_instead_of_one_of_its_values(tmp_path, tiny_tokenizer):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "a", "chosen": "b", "chosen": "c"}\n')
    with pytest.raises(EngineError, match="'chosen' stands twice") as refusal:
        read_trees(path, kind="pairwise", tokenizer=tiny_tokenizer, max_length=99)
    assert refusal.value.row == 1
    assert "line 2" in refusal.value.message


@pytest.mark.parametrize(
    "name", ["rows.json", "rows.jsonl", "lines.json", "rows.jsonl.gz", "rows.json.gz", "bom.jsonl"]
)
def test_lists_of_objects_and_packed_files_are_read_like_lines(
    tmp_path, tiny_tokenizer, write_rows, pairwise_rows, name
):
    expected, _ = read_trees(write_rows(pairwise_rows), kind="pairwise", tokenizer=tiny_tokenizer, max_length=200)
    content = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in pairwise_rows).encode()
    if name.startswith("rows.json") and ".jsonl" not in name:
        content = json.dumps(pairwise_rows, indent=2).encode()
    if name.startswith("bom"):
        content = b"\xef\xbb\xbf" + content
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    trees, _ = read_trees(tmp_path / name, kind="pairwise", tokenizer=tiny_tokenizer, max_length=200)
    assert trees == expected


def test_a_file_that_is_missing_damaged_or_of_another_type_is_refused(tmp_path, tiny_tokenizer):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "rows.csv").write_text("a,b")
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "a"}\n' * 99)[:-12])
    (tmp_path / "plain.jsonl.gz").write_text("{}")
    for name in ("rows.parquet", "rows.csv", "nowhere.jsonl", "rows.jsonl.gz", "plain.jsonl.gz"):
        with pytest.raises(EngineError, match=name):
            read_trees(tmp_path / name, kind="pairwise", tokenizer=tiny_tokenizer, max_length=99)


def test_a_file_without_rows_says_so(write_rows, tiny_tokenizer):
    with pytest.raises(EngineError, match="has no rows"):
        read_trees(write_rows([], name="empty.jsonl"), kind="pairwise", tokenizer=tiny_tokenizer, max_length=64)
