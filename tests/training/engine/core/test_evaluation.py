"""Held-out figures: calibration, length and slices, by hand and out of one pass over a split."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from tests.training.engine.core.helpers import random_trees
from training.engine.batch import Batch
from training.engine.evaluation import aspects, calibration, evaluate, slices, spearman, wilson_interval
from training.engine.modelfiles import load_policy, load_reward
from training.engine.objectives import Examples, make_objective
from training.engine.passes import Passes
from training.engine.trees import PromptTree


def sigma(x):
    return 1 / (1 + np.exp(-x))


def outcomes(scale, count=20_000):
    """Differences that a model claims and who won, where the truth is `scale` times smaller or larger."""
    draw = np.random.default_rng(5)
    gaps = draw.normal(0, 2, count)
    return sigma(gaps), (draw.random(count) < sigma(scale * gaps)).astype(float)


def test_a_calibrated_model_has_a_small_error_and_an_overconfident_one_a_large_one():
    assert calibration(*outcomes(1.0))["ece"] < 0.015
    assert calibration(*outcomes(0.25))["ece"] > 0.1  # claims four times the differences there are
    assert calibration(*outcomes(4.0))["ece"] > 0.1  # and one that is too modest


def test_calibration_by_hand():
    # Bins of the confidence .92 (bin 8: .9 to .95) and .6 (bin 2): both .92 are about the preferred completion.
    probability, p = np.array([0.92, 0.08, 0.6, 0.4]), np.array([1.0, 0.0, 0.0, 0.5])
    found = calibration(probability, p)
    assert found["ece"] == pytest.approx((2 * abs(0.92 - 1.0) + 2 * abs(0.6 - 0.25)) / 4)
    assert found["brier"] == pytest.approx((0.08**2 + 0.08**2 + 0.6**2 + 0.1**2) / 4)


def test_a_coin_is_calibrated_and_has_a_brier_score_of_one_quarter():
    found = calibration(np.full(4, 0.5), np.array([1.0, 0.0, 1.0, 0.0]))
    assert found == {"ece": 0.0, "brier": 0.25}


def test_certainty_lands_in_the_last_bin():
    assert calibration(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == {"ece": 0.0, "brier": 0.0}


def test_calibration_does_not_ask_which_completion_comes_first():
    probability, p = outcomes(0.5, 500)
    assert calibration(1 - probability, 1 - p) == pytest.approx(calibration(probability, p))


def test_spearman_shares_ranks_between_equals():
    draw = np.random.default_rng(1)
    left, right = draw.integers(0, 6, 200).astype(float), draw.integers(0, 6, 200).astype(float)
    assert spearman(left, right) == pytest.approx(stats.spearmanr(left, right).statistic)
    assert spearman(left, np.exp(left)) == pytest.approx(1.0)
    assert spearman(left, np.zeros(200)) is None


def test_slices_follow_the_preferred_completion_and_the_columns():
    probability = np.array([0.9, 0.2, 0.8, 0.3, 0.6, 0.7])
    p = np.array([1.0, 1.0, 0.8, 0.0, 0.5, 1.0])
    gaps = np.array([3.0, -2.0, 0.0, 4.0, 1.0, 5.0])
    names = [["slice:code", "group:a"], [], ["slice:code"], ["slice:chat"], ["slice:chat"], ["group:a"]]
    found = slices(probability, p, gaps, names, range(6))
    assert {name: (one["n"], one["accuracy"]) for name, one in found.items()} == {
        "chosen_longer": (2, 1.0),
        "chosen_shorter": (2, 0.5),  # the fourth pair prefers the second completion, which is the shorter one
        "equal_length": (1, 1.0),
        "slice:code": (2, 1.0),
        "slice:chat": (1, 1.0),  # the fifth pair is undecided
        "group:a": (2, 1.0),
    }
    low, high = wilson_interval(1, 2)
    assert (found["chosen_shorter"]["accuracy_low"], found["chosen_shorter"]["accuracy_high"]) == (low, high)


def test_the_interval_of_a_slice_counts_an_example_once():
    probability, p = np.array([0.9, 0.8, 0.3, 0.9]), np.ones(4)
    found = slices(probability, p, np.full(4, np.nan), [["slice:a"]] * 4, [0, 0, 0, 1])
    assert found.keys() == {"slice:a"}  # completions by themselves are neither longer nor shorter
    assert (found["slice:a"]["n"], found["slice:a"]["accuracy"]) == (4, 0.75)
    assert (found["slice:a"]["accuracy_low"], found["slice:a"]["accuracy_high"]) == wilson_interval(1.5, 2)


def pairs(count=14):
    return [
        PromptTree(
            tree.row,
            tree.prompt,
            tree.completions,
            {"p": (1.0, 0.2, 0.5)[tree.row % 3], "weight": 1.0, "slice": "even" if tree.row % 2 == 0 else None},
        )
        for tree in random_trees(count, 2, seed=11)
    ]


def passes(model, objective, **settings):
    return Passes(model, objective, layout="tree", dtype="float32", pad_id=0, **settings)


def test_a_reward_model_is_evaluated_in_one_pass_however_it_is_cut(tiny_policy_dir, monkeypatch):
    model, _ = load_reward(tiny_policy_dir)
    trees = pairs()
    seen = []
    forward = type(model).forward

    def counted(self, batch: Batch, **kwargs):
        seen.extend(tree.row for tree in batch.trees)
        return forward(self, batch, **kwargs)

    monkeypatch.setattr(type(model), "forward", counted)
    runner = passes(model, make_objective("bradley_terry"))
    whole = evaluate(runner, Examples(trees))
    assert sorted(seen) == list(range(14))
    parts = evaluate(passes(model, runner.objective, token_budget=60), Examples(trees))
    for name in ("ece", "brier", "length_correlation", "accuracy"):
        assert parts[name] == pytest.approx(whole[name], abs=1e-5), name
    assert parts["slices"].keys() == whole["slices"].keys() >= {"chosen_longer", "chosen_shorter", "slice:even"}
    assert whole["decided"] == sum(tree.targets["p"] != 0.5 for tree in trees)
    assert sum(whole["slices"][name]["n"] for name in whole["slices"] if name != "slice:even") == whole["decided"]


def test_the_figures_are_those_of_the_model_s_own_values(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    trees = pairs()
    runner = passes(model, make_objective("bradley_terry"))
    with torch.no_grad():
        values = model(runner.batch(trees)).double().numpy()
    found = evaluate(runner, Examples(trees))
    lengths = [len(completion) for tree in trees for completion in tree.completions]
    assert found["length_correlation"] == pytest.approx(stats.spearmanr(values, lengths).statistic, abs=1e-5)
    p = np.array([tree.targets["p"] for tree in trees])
    expected = float(((sigma(values[0::2] - values[1::2]) - p) ** 2).mean())
    assert found["brier"] == pytest.approx(expected, abs=1e-6)


def test_a_policy_is_judged_by_its_implicit_rewards(tiny_policy_dir):
    model, _ = load_policy(tiny_policy_dir)
    trees = pairs()
    runner = passes(model, make_objective("dpo", {"beta": 0.5}))
    with torch.no_grad():
        logp = runner.logps(trees)
    shift = torch.linspace(-2, 2, len(logp))
    reference = list((logp - shift).split(2))
    found = evaluate(runner, Examples(trees, reference))
    p = torch.tensor([tree.targets["p"] for tree in trees])
    gap = 0.5 * (shift[0::2] - shift[1::2])
    assert found["brier"] == pytest.approx(float((torch.sigmoid(gap) - p).square().mean()), abs=1e-4)
    assert {"ece", "length_correlation", "slices"} <= found.keys()


@pytest.mark.parametrize(
    ("method", "beta", "reward"),
    [
        ("dpo_norm", 5.0, lambda logp, shift, length: shift / length),
        ("simpo", 2.0, lambda logp, shift, length: logp / length),
        ("cpo", 0.1, lambda logp, shift, length: logp),
    ],
)
def test_a_policy_is_judged_by_what_its_loss_ranks_by(tiny_policy_dir, method, beta, reward):
    model, _ = load_policy(tiny_policy_dir)
    trees = pairs()
    runner = passes(model, make_objective(method))
    with torch.no_grad():
        logp = runner.logps(trees)
    shift = torch.linspace(-2, 2, len(logp))
    reference = list((logp - shift).split(2)) if runner.objective.needs_reference else None
    length = torch.tensor([len(completion) for tree in trees for completion in tree.completions])
    found = evaluate(runner, Examples(trees, reference))
    worth = beta * reward(logp, shift, length)
    assert found["margin"] == pytest.approx(float((worth[0::2] - worth[1::2]).mean()), abs=1e-4)
    p = torch.tensor([tree.targets["p"] for tree in trees])
    brier = (torch.sigmoid(worth[0::2] - worth[1::2]) - p).square().mean()
    assert found["brier"] == pytest.approx(float(brier), abs=1e-4)
    assert found["length_correlation"] == pytest.approx(stats.spearmanr(worth, length).statistic, abs=1e-4)


def test_demonstrations_have_no_figures_of_pairs(tiny_policy_dir):
    model, _ = load_policy(tiny_policy_dir)
    trees = [PromptTree(one.row, one.prompt, one.completions, {"weight": 1.0}) for one in random_trees(4, 1)]
    found = evaluate(passes(model, make_objective("sft")), Examples(trees))
    assert math.isfinite(found["loss"])
    assert not {"ece", "brier", "slices", "length_correlation"} & found.keys()


def test_the_margin_of_lists_counts_each_list_once_however_many_are_best(tiny_policy_dir):
    model, _ = load_policy(tiny_policy_dir)
    trees = [
        PromptTree(tree.row, tree.prompt, tree.completions, {"weight": 1.0, "rank": rank, "rewards": None})
        for tree, rank in zip(random_trees(2, 3), [(0, 1, 1), (0, 0, 1)], strict=True)
    ]
    runner = passes(model, make_objective("plackett_luce", {"beta": 1.0}))
    u = torch.tensor([3.0, 1.0, 0.0, 1.0, 0.0, -1.0])
    with torch.no_grad():
        reference = list((runner.logps(trees) - u).split(3))
    found = evaluate(runner, Examples(trees, reference))
    assert found["margin"] == pytest.approx(((3 - 0.5) + (0.5 - -1)) / 2, abs=1e-4)


def test_the_interval_of_lists_counts_each_list_once(tiny_policy_dir):
    model, _ = load_policy(tiny_policy_dir)
    targets = {"weight": 1.0, "rank": (0, 1, 2, 3), "rewards": None}
    trees = [PromptTree(tree.row, tree.prompt, tree.completions, targets) for tree in random_trees(6, completions=4)]
    passes = Passes(model, make_objective("plackett_luce"), layout="padded", dtype="float32", pad_id=0)
    reference = [passes.logps([tree]) - torch.tensor([0.3, 0.2, 0.1, 0.0]) for tree in trees]
    figures = evaluate(passes, Examples(trees, reference))
    assert figures["decided"] == 36
    assert (figures["accuracy_low"], figures["accuracy_high"]) == wilson_interval(6 * figures["accuracy"], 6)


@pytest.mark.parametrize("trains", ["policy", "reward"])
def test_lists_are_held_against_all_their_pairs(tiny_policy_dir, trains):
    ranks = [(1, 0, 0, -1), (0, 1, -1, -1), (0, 1, 2, 3)]
    trees = [
        PromptTree(tree.row, tree.prompt, tree.completions, {"weight": 1.0, "rank": rank, "rewards": None})
        for tree, rank in zip(random_trees(3, 4, seed=5), ranks, strict=True)
    ]
    model, _ = load_policy(tiny_policy_dir) if trains == "policy" else load_reward(tiny_policy_dir)
    objective = make_objective("plackett_luce", {"trains": trains, "beta": 1.0})
    runner = passes(model, objective, token_budget=70)
    values = torch.tensor([0.3, 1.2, -0.4, 0.9, 2.0, 0.1, 0.2, -0.3, 0.5, 0.7, -0.6, -1.0])
    with torch.no_grad():
        if trains == "policy":
            reference = list((runner.logps(trees) - values).split(4))
        else:
            reference, values = None, model(runner.batch(trees))
    found = evaluate(runner, Examples(trees, reference))
    # By hand: what was not ranked is behind what was, and not compared among itself; equal ranks are half a win.
    expected, right, compared = [], 0, []
    for number, rank in enumerate(ranks):
        place = [one if one >= 0 else 9 for one in rank]
        for i in range(4):
            for j in range(i + 1, 4):
                if place[i] == place[j] == 9:
                    continue
                chance = sigma(float(values[4 * number + i] - values[4 * number + j]))
                p = 0.5 if place[i] == place[j] else float(place[i] < place[j])
                expected.append((chance - p) ** 2)
                if p != 0.5:
                    compared.append(len(trees[number].completions[i]) - len(trees[number].completions[j]))
                    right += (chance > 0.5) == (p > 0.5)
    assert len(expected) == 6 + 5 + 6
    assert found["brier"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert 0 <= found["ece"] < 1
    assert found["decided"] == len(compared) == 16
    assert found["accuracy"] == pytest.approx(right / 16)
    by_length = [found["slices"].get(name) for name in ("chosen_longer", "chosen_shorter", "equal_length")]
    assert sum(one["n"] for one in by_length if one) == 16
    assert sum(one["n"] * one["accuracy"] for one in by_length if one) == pytest.approx(right)


def test_ratings_are_compared_aspect_by_aspect():
    ratings = [{"care": 1.0, "wit": 3.0}, {"care": 2.0}, None, {"care": 4.0}]
    trees = [PromptTree(row, (1,), ((2,),), {"ratings": one}) for row, one in enumerate(ratings)]
    predicted = {"care": np.array([1.5, 2.0, 9.0, 2.0]), "wit": np.array([1.0, 5.0, 5.0, 5.0]), "tact": np.zeros(4)}
    found = aspects(predicted, trees)
    assert found.keys() == {"care", "wit"}
    assert found["care"]["n"] == 3
    assert found["care"]["rmse"] == pytest.approx(math.sqrt((0.5**2 + 0 + 2**2) / 3))
    assert found["care"]["correlation"] == pytest.approx(stats.spearmanr([1.5, 2, 2], [1, 2, 4]).statistic)
    assert found["wit"] == {"n": 1, "rmse": 2.0}
