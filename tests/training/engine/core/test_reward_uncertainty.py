"""How sure a reward model is: ensembles on bootstrapped rows, and the Laplace approximation of the last layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.engine.core.helpers import gradients, random_trees
from training.engine.batch import make_batch
from training.engine.losses import LOSSES
from training.engine.modelfiles import load_reward
from training.engine.objectives import make_objective
from training.engine.reward import Laplace, Outputs, bootstrap_weights, fit_laplace, pair_tree
from training.engine.reward.laplace import feature_differences
from training.engine.trees import PromptTree


def pairs(count, seed=3):
    return [
        PromptTree(
            tree.row,
            tree.prompt,
            tree.completions,
            {"p": 1.0, "weight": 1.0 + tree.row % 2, "margin": 0.5 if tree.row % 3 == 0 else None},
        )
        for tree in random_trees(count, 2, seed=seed)
    ]


def batch_of(trees):
    return make_batch(trees, layout="tree", pad_id=0)


def laplace_of(model, trees, prior=2.0):
    return fit_laplace(model, trees, prior=prior, layout="tree", pad_id=0, token_budget=200)


def ensemble(folder, heads=4, seed=0):
    model, _ = load_reward(folder, seed=seed)
    model.reset_head(Outputs.ensemble(heads))
    return model


def test_the_bootstrap_draws_poisson_counts_with_mean_and_variance_one():
    counts = np.array([bootstrap_weights(7, row, 5) for row in range(3000)])
    assert counts.mean() == pytest.approx(1.0, abs=0.03)
    assert counts.var() == pytest.approx(1.0, abs=0.06)
    assert (counts == 0).mean() == pytest.approx(np.exp(-1), abs=0.02)
    assert abs(np.corrcoef(counts.T)[0, 1]) < 0.06


def test_the_bootstrap_depends_on_seed_row_and_head_only():
    assert bootstrap_weights(1, 4, 3) == bootstrap_weights(1, 4, 8)[:3]
    drawn = {tuple(bootstrap_weights(seed, row, 12)) for seed, row in ((0, 0), (0, 1), (1, 0))}
    assert len(drawn) == 3


def test_an_ensemble_s_value_is_its_mean_and_its_uncertainty_the_spread(tiny_policy_dir):
    model = ensemble(tiny_policy_dir)
    batch = batch_of(pairs(4))
    with torch.no_grad():
        each = model(batch, each=True)
        assert each.shape == (8, 4)
        torch.testing.assert_close(model(batch), each.mean(1))
        torch.testing.assert_close(model.uncertainty(batch), each.std(1))
    assert (each.std(1) > 0.01).all()  # heads begin differently


def test_each_head_learns_from_its_own_draw_of_the_rows(tiny_policy_dir):
    model = ensemble(tiny_policy_dir)
    objective = make_objective("bradley_terry", {"centre": 0.0})
    trees = pairs(5)
    found = objective(model, batch_of(trees), reference=None, baseline=None, step=0)
    found.loss.backward()
    got = gradients(model)["head.weight"]
    with torch.no_grad():
        features = model.features(batch_of(trees)).double()
    for head in range(4):
        # By hand: Σ times·weight·(σ(Δ) - 1)·φ over the pairs, over the number of heads.
        weights, expected = model.head.weight[head].double(), torch.zeros(64).double()
        for index, tree in enumerate(trees):
            phi = features[2 * index] - features[2 * index + 1]
            gap = weights @ phi - (tree.targets["margin"] or 0.0)
            times = bootstrap_weights(model.seed, tree.row, 4)[head]
            expected += times * tree.targets["weight"] * (torch.sigmoid(gap) - 1) * phi / 4
        torch.testing.assert_close(got[head].double(), expected.detach(), rtol=1e-4, atol=1e-5)


def test_what_an_ensemble_is_judged_by_is_its_mean(tiny_policy_dir):
    model = ensemble(tiny_policy_dir)
    trees = pairs(5)
    objective = make_objective("bradley_terry", {"centre": 0.0})
    with torch.no_grad():
        found = objective(model, batch_of(trees), reference=None, baseline=None, step=0)
        values = model(batch_of(trees))
    gap = values[0::2] - values[1::2] - torch.tensor([tree.targets["margin"] or 0.0 for tree in trees])
    weight = torch.tensor([tree.targets["weight"] for tree in trees])
    torch.testing.assert_close(found.loss, (weight * torch.nn.functional.softplus(-gap)).sum())


def test_a_single_head_has_no_disagreement_to_tell(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    with pytest.raises(ValueError, match="heads"):
        model.uncertainty(batch_of(pairs(1)))


def test_the_laplace_precision_is_the_curvature_of_the_posterior(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    trees = pairs(9)
    with torch.no_grad():
        phi = feature_differences(model, batch_of(trees)).double().numpy()
    weights = model.head.weight.detach().double().numpy()[0]
    expected = 2.0 * np.eye(64)
    for row, tree in zip(phi, trees, strict=True):
        chance = 1 / (1 + np.exp(-(row @ weights - (tree.targets["margin"] or 0.0))))
        expected += tree.targets["weight"] * chance * (1 - chance) * np.outer(row, row)
    found = laplace_of(model, trees)
    np.testing.assert_allclose(found.precision.numpy(), expected, rtol=1e-4, atol=1e-4)
    difference = np.random.default_rng(0).normal(size=(6, 64))
    variance = np.einsum("bd,de,be->b", difference, np.linalg.inv(found.precision.numpy()), difference)
    np.testing.assert_allclose(found.variance(torch.tensor(difference)).numpy(), variance, rtol=1e-9)


def test_more_pairs_make_a_model_surer_of_every_difference(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    few, many = laplace_of(model, pairs(6)), laplace_of(model, pairs(60))
    with torch.no_grad():
        fresh = feature_differences(model, batch_of(pairs(12, seed=9)))
    assert (many.variance(fresh) < few.variance(fresh)).all()
    without = Laplace(2.0 * torch.eye(64, dtype=torch.float64))
    assert (few.variance(fresh) <= without.variance(fresh)).all()
    torch.testing.assert_close(without.variance(fresh), fresh.double().square().sum(1) / 2)


def test_the_variance_of_a_difference_ignores_what_both_sides_share(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    laplace = laplace_of(model, pairs(6))
    tree = pairs(1)[0]
    same = PromptTree(0, tree.prompt, (tree.completions[0],) * 2, tree.targets)
    with torch.no_grad():
        assert laplace.variance(feature_differences(model, batch_of([same]))).item() < 1e-9


def uncertainty_of(model, method, trees):
    with torch.no_grad():
        found = make_objective(method)(model, batch_of(trees), reference=None, baseline=None, step=0)
    value, count = found.sums["uncertainty"]
    return float(value) / count


def test_heads_disagree_where_they_see_another_difference_not_another_level(tiny_policy_dir):
    model = ensemble(tiny_policy_dir)
    trees = pairs(5)
    with torch.no_grad():
        model.head.bias += torch.tensor([50.0, -50.0, 7.0, 0.0])  # which no pair can tell
        each = model(batch_of(trees), each=True)
    spread = (each[0::2] - each[1::2]).std(-1).mean()
    assert uncertainty_of(model, "bradley_terry", trees) == pytest.approx(float(spread), rel=1e-4)
    lists = [
        PromptTree(one.row, one.prompt, one.completions, {"weight": 1.0, "rank": (0, 1, 2), "rewards": None})
        for one in random_trees(4, 3)
    ]
    with torch.no_grad():
        each = model(batch_of(lists), each=True).unflatten(0, (4, 3))
    spread = (each - each.mean(1, keepdim=True)).std(-1).mean()
    assert uncertainty_of(model, "all_pairs", lists) == pytest.approx(float(spread), rel=1e-4)


def test_heads_of_a_preference_model_disagree_about_its_logit(tiny_policy_dir):
    model = ensemble(tiny_policy_dir)
    model.separator = (3,)
    trees = [pair_tree(tree, (3,)) for tree in pairs(5)]
    with torch.no_grad():
        each = model(batch_of(trees), each=True)
    spread = ((each[0::2] - each[1::2]) / 2).std(-1).mean()
    assert uncertainty_of(model, "preference_model", trees) == pytest.approx(float(spread), rel=1e-4)


@pytest.mark.parametrize("kind", ["ensemble", "groups", "preference"])
def test_whatever_the_head_is_the_precision_is_the_hessian_of_its_likelihood(tiny_policy_dir, kind):
    model = ensemble(tiny_policy_dir)
    trees = pairs(7)
    if kind == "groups":
        model.reset_head(Outputs.groups({"a": 3.0, "b": 1.0}))
        with torch.no_grad():
            model.head.weight[1:].normal_(generator=torch.Generator().manual_seed(0), std=0.1)
    if kind == "preference":
        model.separator = (3,)
        trees = [pair_tree(tree, (3,)) for tree in trees]
    with torch.no_grad():
        features = model.features(batch_of(trees)).double()
        direction = model.outputs.combine(model.outputs.compose(model.head.weight.T)).double()
    margin, weight = (
        torch.tensor([tree.targets[name] or 0.0 for tree in trees]).double() for name in ("margin", "weight")
    )
    loss, settings = ("preference_model", {}) if kind == "preference" else ("bradley_terry", {"centre": 0.0})

    def posterior(weights):
        values = features @ weights
        losses = LOSSES[loss].fn(values[0::2], values[1::2], margin, **settings)
        return (weight * losses).sum() + 2.0 / 2 * weights.square().sum()

    hessian = torch.autograd.functional.hessian(posterior, direction)
    torch.testing.assert_close(laplace_of(model, trees).precision, hessian, rtol=1e-4, atol=1e-4)
