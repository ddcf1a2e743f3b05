"""What a verdict may say, for any JSON that somebody might send."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.models import Project
from annotate.tasktypes import TASK_TYPES, VerdictError, task_type
from annotate.tasktypes.shared import check_against_texts

PAIR = ["ca", "cb"]
PROJECT = Project(allow_ties=True)
STRICT = Project(allow_ties=False)
pairwise = TASK_TYPES["pairwise"].check_verdict
binary = TASK_TYPES["binary"].check_verdict

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
spans = st.builds(
    lambda uid, start, size, label: {"completion": uid, "start": start, "end": start + size, "label": f"x{label}"},
    st.sampled_from(PAIR), st.integers(0, 50), st.integers(1, 50), words,
)  # fmt: skip
shared = st.fixed_dictionaries(
    {},
    optional={
        "rationale": st.none() | words,
        "reasons": st.none() | st.lists(words, max_size=5),
        "spans": st.lists(spans, max_size=3),
        "edit": st.none()
        | st.fixed_dictionaries({"completion": st.sampled_from(PAIR), "text": words.map(lambda w: f"!{w}")}),
    },
)
rankings = st.permutations(PAIR).flatmap(lambda two: st.sampled_from([[[two[0]], [two[1]]], [two]]))
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["ranking", *PAIR]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["ranking", "strength", "both_bad", "labels", "spans", "edit", "text", *PAIR]), inner
        )
    ),
    max_leaves=12,
)


@given(rankings, shared, st.booleans(), st.none() | st.integers(1, 3))
def test_every_sensible_verdict_on_a_pair_is_taken_and_its_normal_form_is_stable(ranking, rest, both_bad, strength):
    verdict = rest | {"ranking": ranking, "both_bad": both_bad}
    if len(ranking) == 2:
        verdict["strength"] = strength
    normal = pairwise(verdict, PAIR, PROJECT)
    assert pairwise(normal, PAIR, PROJECT) == normal
    assert json.loads(json.dumps(normal)) == normal
    assert {uid for tied in normal["ranking"] for uid in tied} == set(PAIR)


@given(junk)
def test_anything_else_is_refused_with_a_field_and_a_sentence(value):
    for check in (pairwise, binary):
        normal, refused = outcome(check, value)
        if refused:
            assert refused.message.endswith(".")
            assert (refused.message + refused.field).encode()
        else:
            assert check(normal, PAIR, PROJECT) == normal
            json.dumps(normal, allow_nan=False)


def outcome(check, value):
    try:
        return check(value, PAIR, PROJECT), None
    except VerdictError as error:
        return None, error


@given(st.booleans(), shared)
def test_a_thumb_on_one_completion_is_taken(label, rest):
    rest = {key: value for key, value in rest.items() if key in {"rationale", "reasons"}}
    assert binary(rest | {"labels": {"ca": label}}, ["ca"], PROJECT)["labels"] == {"ca": label}


@pytest.mark.parametrize(
    ("verdict", "field"),
    [
        ({}, "ranking"),
        ({"ranking": None}, "ranking"),
        ({"ranking": [["ca"]]}, "ranking"),
        ({"ranking": [["ca"], ["ca"]]}, "ranking"),
        ({"ranking": [["ca"], ["cb"], ["ca"]]}, "ranking"),
        ({"ranking": [["ca"], ["cb"], []]}, "ranking"),
        ({"ranking": ["ca", "cb"]}, "ranking"),
        ({"ranking": [["A"], ["B"]]}, "ranking.0"),
        ({"ranking": [["ca", "cb"]], "strength": 1}, "strength"),
        ({"both_bad": True, "strength": 1}, "strength"),
        ({"ranking": [["ca"], ["cb"]], "strength": 0}, "strength"),
        ({"ranking": [["ca"], ["cb"]], "strength": 4}, "strength"),
        ({"ranking": [["ca"], ["cb"]], "strength": 1.0}, "strength"),
        ({"ranking": [["ca"], ["cb"]], "strength": True}, "strength"),
        ({"ranking": [["ca"], ["cb"]], "both_bad": "yes"}, "both_bad"),
        ({"ranking": [["ca"], ["cb"]], "labels": {}}, "labels"),
        ({"ranking": [["ca"], ["cb"]], "rationale": "a\x00b"}, "rationale"),
        ({"ranking": [["ca"], ["cb"]], "reasons": ["ok", 3]}, "reasons.1"),
        ({"both_bad": True, "edit": {"completion": "cz", "text": "x"}}, "edit.completion"),
        ({"both_bad": True, "edit": {"completion": "ca"}}, "edit.text"),
        ({"both_bad": True, "spans": [{"completion": "ca", "start": 3, "end": 3, "label": "x"}]}, "spans.0.end"),
        ({"both_bad": True, "spans": [{"completion": "ca", "start": 0, "end": 2, "label": " "}]}, "spans.0.label"),
        ([], ""),
    ],
)
def test_an_impossible_verdict_on_a_pair_names_its_field(verdict, field):
    with pytest.raises(VerdictError) as refused:
        pairwise(verdict, PAIR, PROJECT)
    assert refused.value.field == field


def test_ties_are_taken_only_where_the_project_allows_them():
    assert pairwise({"ranking": [["cb", "ca"]]}, PAIR, PROJECT) == {"ranking": [["ca", "cb"]]}
    with pytest.raises(VerdictError, match="ties"):
        pairwise({"ranking": [["ca", "cb"]]}, PAIR, STRICT)


def test_both_bad_needs_no_ranking_and_is_no_tie():
    assert pairwise({"both_bad": True}, PAIR, STRICT) == {"both_bad": True}
    assert pairwise({"both_bad": True, "ranking": [["cb"], ["ca"]], "strength": 1}, PAIR, STRICT)["both_bad"] is True
    assert "both_bad" not in pairwise({"both_bad": False, "ranking": [["cb"], ["ca"]]}, PAIR, STRICT)


@pytest.mark.parametrize("labels", [{}, {"ca": 1}, {"cb": True}, {"ca": True, "cb": True}, None, ["ca"]])
def test_a_thumb_is_true_or_false_for_the_one_completion(labels):
    with pytest.raises(VerdictError):
        binary({"labels": labels}, ["ca"], PROJECT)


def test_a_kind_without_a_task_type_is_refused_with_those_that_exist():
    with pytest.raises(VerdictError, match="pairwise, binary"):
        task_type("essay")


def test_spans_count_code_points_and_lie_inside_their_completion():
    span = {"completion": "ca", "start": 0, "end": 3, "label": "x"}
    check_against_texts({"spans": [span]}, {"ca": "a🙂b"})
    with pytest.raises(VerdictError, match="2 characters"):
        check_against_texts({"spans": [span]}, {"ca": "a🙂"})
