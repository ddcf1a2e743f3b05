from exports.aggregate import Candidate, Judged, binary_rows, by_group, count_votes, demonstration_rows, pairwise_rows
from exports.recipe import Recipe

A, B = Candidate("a", "Answer A", "m1"), Candidate("b", "Answer B", "m2")


def judged(*verdicts, kind="pairwise", candidates=(A, B), annotators=()):
    return Judged(
        key="k",
        prompt_sha256="0" * 64,
        prompt=[{"role": "user", "content": "Why?"}],
        kind=kind,
        candidates=candidates,
        verdicts=tuple(verdicts),
        judgements=tuple(range(len(verdicts))),
        annotators=annotators or tuple(f"w{n}" for n in range(len(verdicts))),
    )


def better(winner, loser, **more):
    return {"ranking": [[winner], [loser]], **more}


TIE = {"ranking": [["a", "b"]]}
BOTH_BAD = {"both_bad": True}
SOFT = Recipe(aggregation="soft")


def test_a_single_judgement_becomes_a_certain_pair():
    (row,) = pairwise_rows(judged(better("b", "a")), Recipe())
    assert (row["chosen"], row["rejected"], row["p"]) == ("Answer B", "Answer A", 1.0)
    assert row["margin"] is None


def test_the_majority_decides_and_an_even_split_is_left_out():
    (row,) = pairwise_rows(judged(better("a", "b"), better("a", "b"), better("b", "a")), Recipe())
    assert (row["chosen"], row["p"], row["votes_chosen"], row["votes_rejected"]) == ("Answer A", 1.0, 2, 1)
    assert list(pairwise_rows(judged(better("a", "b"), better("b", "a")), Recipe())) == []


def test_soft_labels_count_a_tie_as_half_a_vote_each():
    (row,) = pairwise_rows(judged(better("b", "a"), better("b", "a"), TIE, TIE), SOFT)
    assert (row["chosen"], row["p"], row["votes_tie"]) == ("Answer B", 0.75, 2)


def test_an_even_split_is_kept_as_a_soft_label_of_one_half():
    (row,) = pairwise_rows(judged(TIE), SOFT)
    assert row["p"] == 0.5


def test_both_bad_is_no_tie():
    assert list(pairwise_rows(judged(BOTH_BAD), SOFT)) == []
    (row,) = pairwise_rows(judged(BOTH_BAD, better("a", "b")), SOFT)
    assert (row["p"], row["votes_both_bad"], row["votes_tie"]) == (1.0, 1, 0)


def test_strength_becomes_a_margin_towards_the_chosen_side():
    (row,) = pairwise_rows(judged(better("b", "a", strength=3), better("b", "a", strength=1)), Recipe())
    assert row["margin"] == 2 / 3
    votes = count_votes(judged(better("a", "b", strength=2), better("b", "a", strength=1), TIE))
    assert abs(votes.strength - 1 / 3) < 1e-12


def test_thumbs_are_counted_by_completion():
    up, down = {"labels": {"a": True}}, {"labels": {"a": False}}
    (row,) = binary_rows(judged(up, up, down, kind="binary", candidates=(A,)), SOFT)
    assert (row["label"], row["votes_up"], row["votes_down"]) == (True, 2, 1)
    assert list(binary_rows(judged(up, down, kind="binary", candidates=(A,)), Recipe())) == []


def test_a_pair_becomes_a_thumb_up_and_a_thumb_down():
    rows = {row["completion"]: row["label"] for row in binary_rows(judged(better("b", "a")), Recipe())}
    assert rows == {"Answer B": True, "Answer A": False}
    assert [row["label"] for row in binary_rows(judged(BOTH_BAD), Recipe())] == [False, False]
    assert list(binary_rows(judged(TIE), Recipe())) == []


def test_corrections_and_by_choice_preferred_completions_become_demonstrations():
    verdict = better("b", "a", edit={"completion": "a", "text": "Answer A, corrected"})
    (row,) = demonstration_rows(judged(verdict), Recipe())
    assert (row["completion"], row["origin"]) == ("Answer A, corrected", "edit")
    recipe = Recipe(demonstrations=("edits", "chosen"))
    assert [row["origin"] for row in demonstration_rows(judged(verdict), recipe)] == ["edit", "chosen"]


def test_an_item_becomes_a_row_for_each_group_that_judged_it_and_one_for_the_others():
    verdicts = (better("b", "a"), better("a", "b"), better("b", "a"), better("a", "b"))
    item = judged(*verdicts, annotators=("kim", "w1", "lee", "stranger"))
    recipe = Recipe(groups={"experts": ("kim", "lee"), "crowd": ("w1",), "absent": ("zoe",)})
    rows = [row for part in by_group(item, recipe) for row in pairwise_rows(part, recipe)]
    assert [(row["group"], row["chosen"], row["judgements"]) for row in rows] == [
        ("experts", "Answer B", [0, 2]),
        ("crowd", "Answer A", [1]),
        (None, "Answer A", [3]),
    ]
    assert [row["id"] for row in rows] == ["k:experts", "k:crowd", "k"]


def test_an_item_stays_whole_where_the_recipe_has_no_groups():
    item = judged(better("b", "a"), TIE)
    assert list(by_group(item, Recipe())) == [item]
