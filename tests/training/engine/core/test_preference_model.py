"""Preference models read both completions at once, in both orders, and answer the same whatever the order."""

from __future__ import annotations

import pytest
import torch

from tests.training.engine.core.helpers import random_trees
from training.engine.batch import make_batch
from training.engine.errors import EngineError
from training.engine.evaluation import evaluate
from training.engine.losses import LOSSES
from training.engine.modelfiles import load_reward
from training.engine.objectives import Examples, make_objective
from training.engine.passes import Passes
from training.engine.reward import pair_tree, pair_trees, preference, read_pairs_together
from training.engine.trees import DataReport, PromptTree

SEPARATOR = (3,)


def preference_model(folder):
    model, tokenizer = load_reward(folder)
    read_pairs_together(model, LOSSES["preference_model"], tokenizer)
    return model


def swapped(tree):
    return PromptTree(tree.row, tree.prompt, tree.completions[::-1], tree.targets)


def pairs(count=4, seed=6):
    return [
        PromptTree(one.row, one.prompt, one.completions, {"p": 1.0, "weight": 1.0, "margin": None})
        for one in random_trees(count, 2, seed=seed)
    ]


def test_a_pair_is_read_in_both_orders_with_a_separator_between():
    tree = PromptTree(5, (1, 2), ((7, 8, 9), (6,)), {"p": 0.8})
    read = pair_tree(tree, SEPARATOR)
    assert read.prompt == (1, 2)
    assert read.completions == ((7, 8, 9, 3, 6), (6, 3, 7, 8, 9))
    assert read.targets == {"p": 0.8, "lengths": (3, 1)}


def test_pairs_that_are_too_long_together_are_dropped_and_counted():
    trees = [PromptTree(row, (1,), ((5,) * row, (6,) * row), {}) for row in (1, 2, 3)]
    report = DataReport(file="rows.jsonl", kind="pairwise", rows=3, used=3, max_length=6)
    assert [tree.row for tree in pair_trees(trees, SEPARATOR, report)] == [1, 2]
    assert (report.used, report.dropped_too_long, report.rows_too_long) == (2, 1, [3])
    with pytest.raises(EngineError, match="max_length"):
        pair_trees(trees[2:], SEPARATOR, report)


@pytest.mark.parametrize("layout", ["tree", "packed", "padded"])
def test_the_answer_does_not_depend_on_the_order(tiny_policy_dir, layout):
    model = preference_model(tiny_policy_dir)
    for tree in pairs():
        here = preference(model, tree, layout=layout, pad_id=0)
        there = preference(model, swapped(tree), layout=layout, pad_id=0)
        torch.testing.assert_close(here[0, 1], there[1, 0], atol=1e-6, rtol=0)
        torch.testing.assert_close(here + here.T, torch.ones(2, 2))
        assert (here[0, 1] - 0.5).abs() > 1e-3


def test_the_probability_is_that_of_half_the_difference_of_the_two_readings(tiny_policy_dir):
    model = preference_model(tiny_policy_dir)
    tree = random_trees(1, 3, seed=4)[0]
    found = preference(model, tree, layout="tree", pad_id=0)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        pair = PromptTree(0, tree.prompt, (tree.completions[i], tree.completions[j]), {})
        with torch.no_grad():
            first, second = model(make_batch([pair_tree(pair, SEPARATOR)], layout="tree", pad_id=0))
        torch.testing.assert_close(found[i, j], torch.sigmoid((first - second) / 2), atol=1e-5, rtol=0)
    assert found.diagonal().tolist() == [0.5] * 3


def test_other_reward_models_prefer_what_they_value_more(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    tree = random_trees(1, 4, seed=4)[0]
    with torch.no_grad():
        values = model(make_batch([tree], layout="tree", pad_id=0))
    found = preference(model, tree, layout="tree", pad_id=0)
    torch.testing.assert_close(found, torch.sigmoid(values[:, None] - values[None, :]))


def test_its_held_out_figures_do_not_depend_on_the_order_and_know_the_lengths(tiny_policy_dir):
    model = preference_model(tiny_policy_dir)
    passes = Passes(model, make_objective("preference_model"), layout="tree", dtype="float32", pad_id=0)
    trees = pairs(9)
    found = evaluate(passes, Examples([pair_tree(tree, SEPARATOR) for tree in trees]))
    probability = torch.stack([preference(model, tree, layout="tree", pad_id=0)[0, 1] for tree in trees])
    assert found["brier"] == pytest.approx(float((probability - 1).square().mean()), abs=1e-5)
    assert found["accuracy"] == pytest.approx(float((probability > 0.5).float().mean()))
    longer = sum(len(tree.completions[0]) > len(tree.completions[1]) for tree in trees)
    assert found["slices"]["chosen_longer"]["n"] == longer
    turned = [
        PromptTree(one.row, one.prompt, one.completions, {**one.targets, "p": 0.0}) for one in map(swapped, trees)
    ]
    again = evaluate(passes, Examples([pair_tree(tree, SEPARATOR) for tree in turned]))
    for name in ("accuracy", "brier", "ece", "loss"):
        assert again[name] == pytest.approx(found[name], abs=1e-5), name


def test_a_model_that_reads_pairs_otherwise_than_the_method_is_refused(tiny_policy_dir):
    single, _ = load_reward(tiny_policy_dir)
    both = preference_model(tiny_policy_dir)
    batch = make_batch(pairs(), layout="tree", pad_id=0)
    for method, model in (("preference_model", single), ("bradley_terry", both)):
        with pytest.raises(ValueError, match="do not go together"):
            make_objective(method)(model, batch, reference=None, baseline=None, step=0)


def test_a_preference_model_cannot_value_single_completions(tiny_policy_dir):
    model = preference_model(tiny_policy_dir)
    with pytest.raises(EngineError, match="two completions at once") as refusal:
        read_pairs_together(model, LOSSES["bradley_terry"], None)
    assert refusal.value.field == "model"
