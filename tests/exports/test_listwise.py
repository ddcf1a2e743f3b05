"""From pairs and rankings about one prompt to lists with ranks."""

import json

import pytest

from annotate.services.items import add_rows
from exports.aggregate import Candidate, Judged
from exports.listwise import listwise_rows
from exports.recipe import Recipe
from exports.writers.formats import as_trl
from tests.exports.building import build, build_again
from tests.makers import make_annotator, make_item, make_judgement, make_project, make_prompt, uids

SOFT = Recipe(aggregation="soft")
BOTH_BAD = {"both_bad": True}


def judged(*rankings, first_judgement=0):
    """An item of the completions that its rankings name; a ranking is written "a>b=c"."""
    verdicts = [ranking if isinstance(ranking, dict) else {"ranking": read(ranking)} for ranking in rankings]
    names = sorted({name for verdict in verdicts for tied in verdict.get("ranking", [["a", "b"]]) for name in tied})
    return Judged(
        key="".join(names),
        prompt_sha256="0" * 64,
        prompt=[{"role": "user", "content": "Why?"}],
        kind="pairwise" if len(names) == 2 else "listwise",
        candidates=tuple(Candidate(name, f"Answer {name}", f"model {name}") for name in names),
        verdicts=tuple(verdicts),
        judgements=tuple(range(first_judgement, first_judgement + len(verdicts))),
        annotators=("ann",) * len(verdicts),
    )


def read(ranking):
    return [list(tied.split("=")) for tied in ranking.split(">")]


def lists(*items, recipe=SOFT):
    """The rows as "a>b=c", best first."""
    found = []
    for row in listwise_rows(items, recipe):
        tiers = {}
        for name, rank in zip(row["completion_uids"], row["ranks"], strict=True):
            tiers.setdefault(rank, []).append(name)
        assert list(tiers) == list(range(len(tiers)))
        found.append(">".join("=".join(tier) for tier in tiers.values()))
    return found


def test_one_pair_is_a_list_of_two():
    (row,) = listwise_rows([judged("b>a")], Recipe())
    assert row["completions"] == ["Answer b", "Answer a"]
    assert (row["ranks"], row["scores"]) == ([0, 1], [1.0, 0.0])
    assert row["models"] == ["model b", "model a"]
    assert (row["n_judgements"], row["judgements"], row["weight"]) == (1, [0], 1.0)


def test_pairs_of_one_prompt_become_one_list():
    assert lists(judged("a>b"), judged("a>c"), judged("c>b")) == ["a>c>b"]


def test_a_ranking_is_one_vote_on_each_of_its_pairs():
    (row,) = listwise_rows([judged("a>b=c>d")], SOFT)
    assert (row["ranks"], row["scores"]) == ([0, 1, 1, 2], [1.0, 0.5, 0.5, 0.0])


def test_rankings_and_pairs_add_up():
    (row,) = listwise_rows([judged("a>b>c", "b>a>c"), judged("b>a")], SOFT)
    assert row["completion_uids"] == ["b", "a", "c"]
    assert row["scores"] == [4 / 5, 3 / 5, 0.0]


def test_completions_that_no_chain_of_comparisons_connects_are_lists_of_their_own():
    assert lists(judged("a>b"), judged("d>c")) == ["a>b", "d>c"]
    assert lists(judged("a>b"), judged("d>c"), judged("b>c")) == ["a=d>b>c"]
    first, second = listwise_rows([judged("a>b"), judged("d>c", first_judgement=1)], SOFT)
    assert (first["judgements"], second["judgements"]) == ([0], [1])
    assert first["id"] != second["id"]


def test_equal_shares_are_told_apart_by_the_votes_among_themselves():
    assert lists(judged("a>b"), judged("b>c"), judged("c>d")) == ["a>b>c>d"]
    assert lists(judged("a>b"), judged("a>c")) == ["a>b=c"]


def test_a_circle_is_a_tie_and_gives_no_row():
    assert lists(judged("a>b"), judged("b>c"), judged("c>a")) == []
    assert lists(judged("a=b")) == []
    assert lists(judged("a=b"), recipe=Recipe()) == []


def test_the_majority_decides_each_pair_and_an_even_split_is_left_out():
    votes = judged("a>b", "a>b", "b>a")
    (majority,), (soft,) = (listwise_rows([votes], recipe) for recipe in (Recipe(), SOFT))
    assert majority["scores"] == [1.0, 0.0]
    assert soft["scores"] == pytest.approx([2 / 3, 1 / 3])
    split = judged("b>c", "c>b")
    assert lists(judged("a>b"), split, recipe=Recipe()) == ["a>b"]
    assert lists(judged("a>b"), split) == ["a>c>b"]


def test_both_bad_compares_nothing():
    assert lists(judged(BOTH_BAD)) == []
    (row,) = listwise_rows([judged("a>b", BOTH_BAD)], SOFT)
    assert (row["scores"], row["n_judgements"]) == ([1.0, 0.0], 2)


def test_the_same_statements_in_another_order_give_the_same_list():
    items = [judged("a>b"), judged("c>b", "b=c"), judged("a>d")]
    forward, backward = (list(listwise_rows(order, SOFT)) for order in (items, items[::-1]))
    assert forward == backward


def test_a_list_becomes_its_untied_pairs_for_trl():
    (row,) = listwise_rows([judged("a>b=c")], SOFT)
    pairs = [json.loads(line) for line in as_trl(iter([row]))]
    assert [(pair["chosen"][0]["content"], pair["rejected"][0]["content"]) for pair in pairs] == [
        ("Answer a", "Answer b"),
        ("Answer a", "Answer c"),
    ]


def rows(version, data_dir):
    return [json.loads(line) for line in (data_dir / version.folder / "data.jsonl").read_text().splitlines()]


@pytest.mark.django_db(transaction=True)
def test_imported_pairs_of_four_completions_build_a_list_of_four(project, data_dir):
    import pyarrow.parquet as pq

    order = ["best", "good", "fair", "poor"]
    pairs = [
        {"prompt": f"Question {n}?", "chosen": f"A {order[i]} one.", "rejected": f"A {order[j]} one.", "annotator": "x"}
        for n in range(6)
        for i in range(4)
        for j in range(i + 1, 4)
    ]
    assert add_rows(project=project, rows=pairs).judgements == 36
    version = build(project, "listwise", "lists", validation=0.0, test=0.0)
    found = rows(version, data_dir)
    assert len(found) == 6
    assert version.counts["rows"]["train"] == 6
    for row in found:
        assert row["completions"] == [f"A {word} one." for word in order]
        assert row["ranks"] == [0, 1, 2, 3]
        assert row["scores"] == pytest.approx([1, 2 / 3, 1 / 3, 0])
        assert row["n_judgements"] == 6
    assert pq.read_table(data_dir / version.folder / "train.parquet").to_pylist() == found
    assert build_again(version.dataset).sha256 == version.sha256


@pytest.mark.django_db(transaction=True)
def test_a_listwise_project_builds_lists_from_rankings(alice, data_dir):
    project = make_project("ranked", owner=alice, kind="listwise")
    answers = {"prompt": "Which?", "completions": ["One.", "Two.", "Three."]}
    rankings = [[[2], [0, 1]], [[2], [0], [1]]]
    added = add_rows(
        project=project, rows=[answers | {"ranking": found, "annotator": f"x{n}"} for n, found in enumerate(rankings)]
    )
    assert (added.judgements, added.problems) == (2, [])
    (row,) = rows(build(project, "listwise", "lists", aggregation="soft"), data_dir)
    assert row["completions"] == ["Three.", "One.", "Two."]
    assert row["scores"] == [1.0, 3 / 8, 1 / 8]


@pytest.mark.django_db(transaction=True)
def test_items_with_too_few_judgements_stay_out_of_the_list(project, data_dir):
    ann, ben = make_annotator(project, "ann"), make_annotator(project, "ben")
    prompt = make_prompt(project, "Why?")
    twice, once = (make_item(project, texts, prompt=prompt, overlap=2) for texts in (["A.", "B."], ["C.", "D."]))
    for item, annotators in ((twice, (ann, ben)), (once, (ann,))):
        better, worse = uids(item)
        for annotator in annotators:
            make_judgement(item, annotator, {"ranking": [[better], [worse]]})
    assert len(rows(build(project, "listwise", "all"), data_dir)) == 2
    (row,) = rows(build(project, "listwise", "twice", min_judgements=2), data_dir)
    assert row["completions"] == ["A.", "B."]


@pytest.mark.django_db(transaction=True)
def test_page_and_downloads_show_lists(three_pairs, alice, api_for, client_for):
    version = build(three_pairs, "listwise", "lists", validation=0.0, test=0.0)
    page = client_for(alice).get(f"/datasets/{version.dataset_id}/versions/1/").content.decode()
    assert "Rank 1" in page
    assert "won 1.00 of its votes" in page
    files = f"/api/v1/datasets/{version.dataset_id}/versions/1/files"
    for name, lines in (("jsonl", 1), ("csv", 2), ("trl", 3), ("trl_text", 3)):
        answer = api_for(alice).get(f"{files}/{name}/")
        assert len(b"".join(answer.streaming_content).decode().splitlines()) == lines, name


@pytest.fixture
def three_pairs(project):
    """Three completions of one prompt, judged in three pairs."""
    pairs = [("Best.", "Fair."), ("Fair.", "Poor."), ("Best.", "Poor.")]
    rows = [{"prompt": "Why?", "chosen": chosen, "rejected": rejected} for chosen, rejected in pairs]
    assert add_rows(project=project, rows=rows).problems == []
    return project
