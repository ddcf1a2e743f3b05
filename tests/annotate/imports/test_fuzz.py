"""Whatever comes: no exception but a refusal with a sentence, and every problem has a row, a field and a cure."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from annotate.imports.problems import RowError, Unreadable
from annotate.imports.reading import reading
from annotate.imports.rows import KNOWN_KEYS, read_row
from annotate.models import Project
from annotate.services.content import canonical_json
from annotate.services.items import add_rows

from .helpers import broken
from .test_kinds_of_files import FILES

KINDS = [Project(kind=kind) for kind in Project.Kind.values]
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)
texts = st.sampled_from(["A", "B", "C", "", " ", "\n\nHuman: Q\n\nAssistant: A", "\n\nHuman: Q\n\nAssistant: B"])
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "x"]), "content": texts}), max_size=3
)
rankings = st.lists(st.lists(st.integers(-1, 3), max_size=3), max_size=3)
likely = st.fixed_dictionaries(
    {},
    optional={
        "prompt": texts | messages | values,
        "chosen": texts | messages | values,
        "rejected": texts | messages | values,
        "completions": st.lists(texts | st.fixed_dictionaries({"text": texts, "model": texts}), max_size=4) | values,
        "completion": texts | values,
        "ranking": rankings | values,
        "label": st.booleans() | values,
        "strength": st.integers(0, 4) | values,
        "both_bad": st.booleans(),
        "annotator": texts | values,
        "reasons": values,
        "rationale": values,
        "seconds": st.floats() | values,
        "id": values,
        "metadata": values,
        "other": values,
    },
)
rows = likely | values | st.dictionaries(st.sampled_from(sorted(KNOWN_KEYS)), values, max_size=5)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def check_problem(field, message):
    assert field
    assert message.endswith((".", "?", ")"))
    (field + message).encode()
    assert "\x00" not in field + message


def outcomes(content, path):
    """Reads as an import does. Fails for any error that is not told as a problem with its field and its cure."""
    path.write_bytes(content)
    try:
        with reading(path) as source:
            for index, (row, size) in enumerate(source.rows):
                assert size >= 0
                assert 0 <= source.fraction() <= 1
                for project in KINDS:
                    try:
                        if isinstance(row, RowError):
                            raise row
                        read_row(row, index=index, project=project)
                    except RowError as error:
                        check_problem(error.field, error.message)
    except Unreadable as error:
        check_problem("file", str(error))


STARTS = [
    b"",
    b"[",
    b"{",
    b'{"data": [{',
    b"prompt,chosen,rejected\n",
    b"prompt\n",
    b"PAR1",
    b"\x1f\x8b\x08",
    b"\xef\xbb\xbf{",
]


@FEW
@given(st.sampled_from(STARTS), st.binary(max_size=300))
@example(b"", b"\x1f\x8b")
@example(b"[", b"]" * 50)
@example(b"{", b"{" * 5000)
@example(b'{"data": [{', b"}" * 50 + b"]" * 50)
def test_any_bytes(tmp_path, start, content):
    outcomes(start + content, tmp_path / "a")
    outcomes(gzip.compress(start + content), tmp_path / "b")


@FEW
@given(st.data(), st.sampled_from(sorted(FILES)))
def test_good_files_with_some_bytes_changed_or_cut_off(tmp_path, data, kind):
    content = bytearray(good_file(kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(content)))
    outcomes(bytes(content), tmp_path / "whole")
    outcomes(bytes(content[:cut]), tmp_path / "cut")


def good_file(kind, made={}):  # noqa: B006 - made once for all examples
    return made.setdefault(kind, FILES[kind]())


@FEW
@given(st.lists(rows, max_size=6))
def test_any_rows_of_any_values(tmp_path, given_rows):
    """`json.dumps` writes NaN and half surrogates as people's programs do."""
    outcomes("\n".join(json.dumps(row) for row in given_rows).encode(), tmp_path / "lines")
    outcomes(json.dumps(given_rows).encode(), tmp_path / "list")


@pytest.mark.django_db
@settings(FEW, max_examples=40)
@given(st.lists(likely, min_size=1, max_size=8))
def test_what_can_be_read_can_be_stored_and_is_then_there(project, given_rows):
    first = add_rows(project=project, rows=given_rows)
    again = add_rows(project=project, rows=given_rows)
    for problem in first.problems:
        check_problem(problem.field, problem.message)
    assert again.problems == first.problems
    assert (again.created, again.judgements) == (0, 0)
    assert again.duplicates == len(given_rows) - len(first.problems)
    assert broken() == []


@FEW
@given(values)
def test_canonical_json_is_one_spelling(value):
    try:
        text = canonical_json(value)
    except ValueError:
        return
    assert canonical_json(json.loads(text)) == text
