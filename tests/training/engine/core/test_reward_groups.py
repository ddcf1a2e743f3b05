"""Groups of annotators: each has its own reward, learns from its own rows and is judged by them."""

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
from training.engine.reward import Outputs, prepare
from training.engine.trees import PromptTree

PLAIN = {"heads": 1, "laplace": 0.0}


def rows(groups, completions, **targets):
    """A tree for each group, every third with the opposite label."""
    return [
        PromptTree(
            tree.row,
            tree.prompt,
            tree.completions,
            {"weight": 1.0, "p": 1.0, "label": tree.row % 3 > 0, "group": group, **targets},
        )
        for tree, group in zip(random_trees(len(groups), completions, seed=2), groups, strict=True)
    ]


def opposed(folder):
    """A model of two groups, of which one wants the opposite of the other."""
    model, _ = load_reward(folder)
    model.reset_head(Outputs.groups({"crowd": 3.0, "experts": 1.0}))
    with torch.no_grad():
        model.head.weight[1], model.head.weight[2] = 0.5 * model.head.weight[0], -3.0 * model.head.weight[0]
    return model


def figures(model, method, trees):
    runner = Passes(model, make_objective(method), layout="tree", dtype="float32", pad_id=0)
    return evaluate(runner, Examples(trees))


def test_a_row_moves_the_shared_reward_and_that_of_its_own_group_only(tiny_policy_dir):
    model = opposed(tiny_policy_dir)
    objective = make_objective("bradley_terry", {"centre": 0.0})
    trees = rows(["experts"] * 3, 2)
    objective(model, make_batch(trees, layout="tree", pad_id=0), reference=None, baseline=None, step=0).loss.backward()
    shared, crowd, experts = model.head.weight.grad
    assert torch.equal(crowd, torch.zeros(64))
    assert torch.equal(shared, experts)
    assert experts.abs().max() > 0


def test_held_out_rows_are_judged_by_the_reward_of_their_own_group(tiny_policy_dir):
    model = opposed(tiny_policy_dir)
    groups = ["crowd", "experts", None, "strangers"] * 5
    trees = rows(groups, 2)
    found = figures(model, "bradley_terry", trees)
    with torch.no_grad():
        batch = make_batch(trees, layout="tree", pad_id=0)
        each, mean = model(batch, each=True), model(batch)
    column = {"crowd": each[:, 0], "experts": each[:, 1]}
    gaps = torch.stack(
        [(own[2 * row] - own[2 * row + 1]) for row, group in enumerate(groups) for own in (column.get(group, mean),)]
    )
    assert found["accuracy"] == pytest.approx(float((gaps > 0).float().mean()))
    assert found["brier"] == pytest.approx(float((gaps.sigmoid() - 1).square().mean()), abs=1e-5)
    assert found["margin"] == pytest.approx(float(gaps.mean()), abs=1e-5)
    # The level that normalises is that of the value, which needs no group.
    assert found["reward"] == pytest.approx(float(mean.mean()), abs=1e-5)
    right = [float(gap > 0) for gap, group in zip(gaps, groups, strict=True) if group == "experts"]
    assert found["slices"]["group:experts"]["accuracy"] == pytest.approx(sum(right) / 5)
    crowd = [float(gap > 0) for gap, group in zip(gaps, groups, strict=True) if group == "crowd"]
    assert found["slices"]["group:crowd"]["accuracy"] == pytest.approx(sum(crowd) / 5)


def test_thumbs_of_groups_are_regressed_by_group(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    trees = rows(["crowd", "experts"] * 3, 1)
    prepare(model, LOSSES["regression"], PLAIN, trees)
    assert model.outputs == Outputs.groups({"crowd": 3.0, "experts": 3.0})
    # Four of six are up; the groups share that, and differ in nothing yet.
    assert model.head.bias.tolist() == pytest.approx([4 / 6, 0.0, 0.0])
    model = opposed(tiny_policy_dir)
    found = figures(model, "regression", trees)
    with torch.no_grad():
        each = model(make_batch(trees, layout="tree", pad_id=0), each=True)
    own = torch.stack([each[row, row % 2] for row in range(6)])
    up = torch.tensor([tree.targets["label"] for tree in trees])
    assert found["loss"] == pytest.approx(float((own - up.float()).square().mean()), abs=1e-5)
    assert found["accuracy"] == pytest.approx(float(((own > 0.5) == up).float().mean()))
    assert found["brier"] == pytest.approx(float((own.clamp(0, 1) - up.float()).square().mean()), abs=1e-5)
    assert found["slices"].keys() == {"group:crowd", "group:experts"}


def test_held_out_rows_without_a_thumb_say_nothing_about_thumbs(tiny_policy_dir):
    model = opposed(tiny_policy_dir)
    found = figures(model, "regression", rows(["crowd", "experts"], 1, label=None, ratings={"wit": 2.0}))
    assert found["n"] == 2
    assert not {"accuracy", "ece", "brier", "slices"} & found.keys()


def test_ratings_by_aspect_and_groups_do_not_go_together(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    with pytest.raises(EngineError, match="group") as refusal:
        prepare(model, LOSSES["regression"], PLAIN, rows(["a", "b"], 1, ratings={"wit": 2.0}))
    assert refusal.value.field == "data.train"
