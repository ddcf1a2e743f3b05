"""What a run notices before it learns: a figure, and a cure where something is wrong."""

from dataclasses import replace

import pytest

from tests.training.engine.conftest import user
from tests.training.engine.core.helpers import random_trees
from training.engine import startchecks
from training.engine.errors import EngineError
from training.engine.losses import LOSSES
from training.engine.objectives import make_objective
from training.engine.reward import Outputs
from training.engine.startchecks import Check
from training.engine.trees import DataReport, PromptTree

CONFIG = {"batch_size": 8, "epochs": 1}


def tree(row, chosen=4, rejected=5, **targets):
    """A pair of so many tokens; its prompt is its row."""
    told = {"p": 1.0, "weight": 1.0, "margin": None} | targets
    return PromptTree(row, (row,), ((4,) * chosen, (5,) * rejected), told)


def single(row, *, prompt=None, **targets):
    return PromptTree(row, (row if prompt is None else prompt,), ((4,),), {"label": True, "weight": 1.0} | targets)


def listed(row, *ranks):
    return PromptTree(row, (row,), tuple((4, place) for place in range(len(ranks))), {"rank": ranks, "weight": 1.0})


def levels(checks):
    return {check.name: check.level for check in checks}


def the(checks, name):
    (found,) = [check for check in checks if check.name == name]
    return found


def test_length_bias_is_a_warning_only_where_there_is_evidence():
    biased = [tree(row, 9, 3) for row in range(40)]
    even = [tree(row, 3 + 6 * (row % 2), 9 - 6 * (row % 2)) for row in range(40)]
    assert levels(startchecks.shape_checks(biased, "pairwise", {}))["length_bias"] == "warning"
    assert levels(startchecks.shape_checks(even, "pairwise", {}))["length_bias"] == "ok"
    assert levels(startchecks.shape_checks(biased[:3], "pairwise", {}))["length_bias"] == "ok"


def test_uneven_labels_are_a_warning_until_the_weights_make_up_for_it():
    trees = [single(row, label=row < 30) for row in range(35)]
    config = {"desirable_weight": 1.0, "undesirable_weight": 1.0}
    assert levels(startchecks.shape_checks(trees, "binary", config))["label_balance"] == "warning"
    mended = config | {"undesirable_weight": 5.0}
    assert levels(startchecks.shape_checks(trees, "binary", mended))["label_balance"] == "ok"
    assert levels(startchecks.shape_checks(trees[:30], "binary", config))["label_balance"] == "warning"


def report(**found):
    known = {
        "file": "t",
        "kind": "pairwise",
        "rows": 10,
        "used": 7,
        "prompt_tokens": 70,
        "completions": 14,
        "ended": 14,
    }
    return DataReport(**(known | found))


def test_rows_that_were_left_out_are_said():
    found = startchecks.data_checks("train", report(dropped_too_long=2, dropped_identical=1))
    assert levels(found) == {
        "train.too_long": "warning", "train.boundary": "ok", "train.end_token": "ok", "train.begin_token": "ok",
        "train.identical": "warning",
    }  # fmt: skip
    assert "Raise max_length" in the(found, "train.too_long").message


def test_a_merged_boundary_is_said_and_no_reason_to_worry():
    found = the(startchecks.data_checks("train", report(boundary_merged=3)), "train.boundary")
    assert (found.level, found.value) == ("ok", 3)
    assert "3 of 7 rows" in found.message


def test_completions_without_an_end_and_prompts_without_a_begin_are_warnings():
    found = startchecks.data_checks("train", report(ended=7, begin_missing=7))
    assert the(found, "train.end_token").value == 0.5
    assert levels(found) | {"train.end_token": "warning", "train.begin_token": "warning"} == levels(found)


def test_an_end_token_that_other_samplers_may_not_know_is_said():
    found = the(startchecks.data_checks("train", report(ended_otherwise=14)), "train.end_token")
    assert (found.level, found.value) == ("ok", 1.0)
    assert "14 of them end with another one than the tokenizer's eos_token" in found.message
    assert "eos_token" not in the(startchecks.data_checks("train", report()), "train.end_token").message


def test_an_encoder_has_no_boundary_to_speak_of():
    assert "train.boundary" not in levels(startchecks.data_checks("train", report(prompt_tokens=0, truncated=2)))


def test_lists_of_one_text_or_without_a_choice_are_said():
    found = startchecks.data_checks(
        "train", report(kind="listwise", dropped_identical=1, dropped_tied=2, merged_completions=4)
    )
    assert the(found, "train.undecided").value == 3
    assert the(found, "train.undecided").level == "warning"


def test_rows_that_repeat_others_are_counted():
    assert the(startchecks.shape_checks([tree(1), tree(1), tree(2)], "pairwise", {}), "duplicates").level == "warning"
    distinct = [tree(row) for row in range(20)]
    assert the(startchecks.shape_checks([*distinct, tree(1)], "pairwise", {}), "duplicates") == Check(
        "duplicates", "ok", "1 of 21 rows repeat another one, token by token.", 1
    )


def test_rows_that_weigh_nothing_are_said_and_nothing_else_is_refused():
    silent = [tree(row, weight=float(row > 1)) for row in range(4)]
    assert the(startchecks.shape_checks(silent, "pairwise", {}), "weights") == Check(
        "weights", "warning", "2 of 4 rows weigh 0 and teach nothing.", 2
    )
    with pytest.raises(EngineError, match="2 of 2 rows weigh 0"):
        startchecks.refuse(startchecks.shape_checks(silent[:2], "pairwise", {}))
    assert levels(startchecks.shape_checks(silent[2:], "pairwise", {}))["weights"] == "ok"


def test_many_ties_are_a_warning_in_pairs_and_in_lists():
    pairs = [tree(row, tie=0.8 if row % 2 else 0.0) for row in range(4)]
    assert the(startchecks.shape_checks(pairs, "pairwise", {}), "ties") == Check(
        "ties", "warning", "40% of the comparisons are ties. Methods for pairs learn little from them; davidson and "
        "rao_kupper model ties.", pytest.approx(0.4),
    )  # fmt: skip
    lists = [listed(0, 0, 1, 2), listed(1, 0, 1, 1)]
    found = the(startchecks.shape_checks(lists, "listwise", {}), "ties")
    assert (found.level, found.value) == ("ok", pytest.approx(1 / 6))


def test_plackett_luce_wants_another_learning_rate_for_a_reward_model():
    method, lists = LOSSES["plackett_luce"], [listed(0, 0, 1, 2)]
    config = CONFIG | {"learning_rate": method.learning_rate, "trains": "reward"}
    found = the(startchecks.method_checks(method, lists, config), "learning_rate")
    assert (found.level, found.field) == ("warning", "config.learning_rate")
    assert "1e-05" in found.message
    assert levels(startchecks.method_checks(method, lists, config | {"learning_rate": 1e-5}))["learning_rate"] == "ok"
    assert not startchecks.method_checks(method, lists, config | {"trains": "policy"})


def test_a_split_without_a_baseline_is_refused_in_training_only():
    assert startchecks.no_baseline("train").level == "refused"
    held_out = startchecks.no_baseline("test")
    assert (held_out.name, held_out.level) == ("test.baseline", "warning")
    assert "In test no answer fits" in held_out.message


def test_a_baseline_wants_a_few_completions_per_step_and_several_prompts():
    kto = LOSSES["kto"]
    many = [single(row) for row in range(8)]
    assert set(levels(startchecks.method_checks(kto, many, CONFIG)).values()) == {"ok"}
    assert levels(startchecks.method_checks(kto, many, CONFIG | {"batch_size": 2}))["baseline_batch"] == "warning"
    assert levels(startchecks.method_checks(kto, many[:3], CONFIG))["baseline_prompts"] == "warning"
    alone = [single(row, prompt=1) for row in range(8)]
    found = startchecks.method_checks(kto, alone, CONFIG)
    with pytest.raises(EngineError, match="same prompt") as refusal:
        startchecks.refuse(found)
    assert refusal.value.field == "data.train"
    assert startchecks.method_checks(LOSSES["bco"], alone, CONFIG) == []


def test_a_reference_that_never_gets_to_move_is_a_warning():
    trees = [tree(row) for row in range(20)]
    slow, quick = (startchecks.method_checks(LOSSES["tr_dpo"], trees, CONFIG | {"sync_steps": n}) for n in (3, 2))
    assert levels(slow) == {"moving_reference": "warning"}
    assert "about 3" in slow[0].message
    assert levels(quick) == {"moving_reference": "ok"}


def test_ratings_that_never_differ_teach_nothing():
    def check(*ratings, labels=(None, None)):
        trees = [single(row, ratings=one, label=labels[row]) for row, one in enumerate(ratings)]
        return the(startchecks.method_checks(LOSSES["regression"], trees, CONFIG), "ratings")

    assert check({"helpful": 4.0}, {"helpful": 4.0}).level == "refused"
    half = check({"helpful": 4.0, "honest": 1.0}, {"helpful": 4.0, "honest": 2.0})
    assert (half.level, half.value) == ("warning", 1)
    assert "helpful" in half.message
    assert check({"helpful": 4.0}, {"helpful": 2.0}).level == "ok"
    assert check(None, None, labels=(True, False)).level == "ok"  # a thumb is a rating of 0 or 1
    assert check(None, None, labels=(True, True)).level == "refused"


def test_a_thumb_teaches_nothing_beside_ratings_by_aspect():
    trees = [single(row, ratings={"wit": float(row)} if row < 3 else None) for row in range(5)]
    found = the(startchecks.method_checks(LOSSES["regression"], trees, CONFIG), "ratings")
    assert (found.level, found.value) == ("warning", 2)
    assert "2 of 5 rows" in found.message
    # Their labels do not save ratings that are always the same.
    same = [single(row, ratings={"wit": 1.0} if row < 3 else None, label=row % 2 == 0) for row in range(5)]
    assert the(startchecks.method_checks(LOSSES["regression"], same, CONFIG), "ratings").level == "refused"


def test_a_head_that_is_lost_is_a_warning():
    groups = Outputs.groups({"crowd": 1.0, "experts": 1.0})
    kept = startchecks.head_check(groups, Outputs.groups({"crowd": 3.0, "experts": 1.0}))
    assert (kept.level, kept.value) == ("ok", 1.0)
    lost = startchecks.head_check(groups, Outputs())
    assert lost.level == "warning"
    assert "groups (crowd, experts)" in lost.message
    assert "value (value)" in lost.message


def test_prompts_on_both_sides_are_a_warning_and_whole_rows_are_told_apart(write_rows):
    train = write_rows([{"prompt": user("Hello?"), "completion": "a"}], "train.jsonl")
    rows = [{"prompt": user("Hello?"), "completion": text} for text in ("a", "b")]
    found = startchecks.overlap_check(
        train, write_rows([*rows, {"prompt": user("New?"), "completion": "a"}], "test.jsonl"), "test", kind="binary"
    )
    assert (found.level, found.value) == ("warning", 2)
    assert "2 of 3 prompts of test are also trained on, 1 of them with the same answers" in found.message


def test_a_pair_turned_round_is_the_same_row(write_rows):
    pair = {"prompt": user("Hello?"), "chosen": "a", "rejected": "b"}
    train = write_rows([pair], "train.jsonl")
    turned = write_rows([pair | {"chosen": "b", "rejected": "a"}], "test.jsonl")
    found = startchecks.overlap_check(train, turned, "test", kind="pairwise")
    assert "1 of them with the same answers" in found.message


def test_the_same_row_in_another_form_overlaps_as_well(write_rows):
    texts = write_rows([{"prompt": "Hello?", "completions": ["a", "b"]}], "train.jsonl")
    messages = [{"role": "assistant", "content": text} for text in ("b", "a")]
    other = write_rows([{"completions": [[*user("Hello?"), one] for one in messages]}], "test.jsonl")
    found = startchecks.overlap_check(texts, other, "test", kind="listwise")
    assert "1 of 1 prompts of test are also trained on, 1 of them with the same answers" in found.message


def test_a_first_loss_that_cannot_be_is_refused():
    assert startchecks.first_loss_check(0.69316, 0.693147, dtype="float32").level == "ok"
    for loss in (0.7, float("nan")):
        with pytest.raises(EngineError, match="first loss"):
            startchecks.first_loss_check(loss, 0.693147, dtype="float32")


def test_a_first_loss_may_be_off_by_what_a_steep_loss_makes_of_rounding():
    trees = random_trees(4, completions=2)
    trees = [replace(tree, targets={"weight": 1.0, "p": 1.0, "margin": None}) for tree in trees]
    slopes = {name: make_objective(name).first_slope(trees) for name in ("dpo", "ipo", "sppo_hard")}
    assert slopes == pytest.approx({"dpo": 0.1, "ipo": 20.0, "sppo_hard": 2000.0}, rel=1e-2)  # of both sides together
    assert startchecks.first_loss_check(25.03, 25.0, dtype="float32", slope=slopes["ipo"]).level == "ok"
    with pytest.raises(EngineError, match="first loss"):
        startchecks.first_loss_check(25.1, 25.0, dtype="float32", slope=slopes["ipo"])


def test_arithmetic_that_the_machine_only_imitates_is_a_warning_with_its_cure():
    assert startchecks.arithmetic_check(native=True).level == "ok"
    imitated = startchecks.arithmetic_check(native=False)
    assert (imitated.level, imitated.field) == ("warning", "config.dtype")
    assert "Set dtype to float32" in imitated.message


def test_displacement_is_looked_at_when_the_run_is_over():
    falling = [{"chosen_shift": -n / 20, "accuracy": n / 40} for n in range(40)]
    steady = [one | {"chosen_shift": 0.0} for one in falling]
    assert levels(startchecks.end_checks(falling)) == {"displacement": "warning"}
    assert levels(startchecks.end_checks(steady)) == {"displacement": "ok"}
    assert startchecks.end_checks([{"loss": 1.0}]) == []
