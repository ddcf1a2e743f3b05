"""What a reward model's outputs stand for: aspects, groups of annotators, odds of a tie, rewards of tokens."""

from __future__ import annotations

import pytest
import torch

from tests.training.engine.core.helpers import gradients, random_trees
from training.engine.batch import make_batch, micro_batches
from training.engine.errors import EngineError
from training.engine.losses import LOSSES
from training.engine.modelfiles import load_reward
from training.engine.objectives import Examples, make_objective
from training.engine.passes import Passes
from training.engine.reward import Outputs, prepare
from training.engine.trees import PromptTree

PLAIN = {"heads": 1, "laplace": 0.0}


def trees_with(targets, completions):
    trees = random_trees(len(targets), completions, seed=2)
    return [
        PromptTree(tree.row, tree.prompt, tree.completions, {"weight": 1.0, **own})
        for tree, own in zip(trees, targets, strict=True)
    ]


def batch_of(trees, layout="tree"):
    return make_batch(trees, layout=layout, pad_id=0)


def contribution(objective, model, trees):
    return objective(model, batch_of(trees), reference=None, baseline=None, step=0)


RATED = [
    {"ratings": {"helpfulness": 4.0, "safety": 1.0}},
    {"ratings": {"helpfulness": 2.0}},
    {"ratings": None, "label": True},
]


def test_every_rated_aspect_gets_an_output_that_begins_at_its_mean(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    prepare(model, LOSSES["regression"], PLAIN, trees_with(RATED, 1))
    assert model.outputs == Outputs.aspects(["helpfulness", "safety"])
    assert model.head.bias.tolist() == [3.0, 1.0]


def test_missing_aspects_are_left_out_of_the_loss(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    trees = trees_with(RATED, 1)
    prepare(model, LOSSES["regression"], PLAIN, trees)
    found = contribution(make_objective("regression"), model, trees)
    with torch.no_grad():
        each = model(batch_of(trees), each=True)
    expected = ((each[0, 0] - 4) ** 2 + (each[0, 1] - 1) ** 2) / 2 + (each[1, 0] - 2) ** 2
    torch.testing.assert_close(found.loss.detach(), expected)
    torch.testing.assert_close(model(batch_of(trees)).detach(), each.mean(1))
    found.loss.backward()
    assert torch.isfinite(model.head.weight.grad).all()


def test_thumbs_are_regressed_as_zero_and_one(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    trees = trees_with([{"label": True}, {"label": False}, {"label": True}], 1)
    prepare(model, LOSSES["regression"], PLAIN, trees)
    assert model.outputs == Outputs()
    found = contribution(make_objective("regression"), model, trees)
    with torch.no_grad():
        values = model(batch_of(trees))
    torch.testing.assert_close(found.loss.detach(), (values - torch.tensor([1.0, 0.0, 1.0])).square().sum())


GROUPS = [
    {"p": 1.0, "group": "experts"},
    {"p": 1.0, "group": "crowd"},
    {"p": 1.0, "group": "crowd", "weight": 2.0},
    {"p": 1.0, "group": None},
]


def test_groups_of_annotators_differ_by_an_offset_and_share_the_rest(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    trees = trees_with(GROUPS, 2)
    prepare(model, LOSSES["bradley_terry"], PLAIN, trees)
    assert model.outputs == Outputs("groups", ("crowd", "experts"), (0.75, 0.25))
    with torch.no_grad():
        each = model(batch_of(trees), each=True)
        assert torch.equal(each[:, 0], each[:, 1])  # nothing is known about the groups yet
        model.head.weight[1:].normal_(generator=torch.Generator().manual_seed(0))
        each = model(batch_of(trees), each=True)
        torch.testing.assert_close(model(batch_of(trees)), 0.75 * each[:, 0] + 0.25 * each[:, 1])
        found = contribution(make_objective("bradley_terry", {"centre": 0.0}), model, trees)
    mean = each @ torch.tensor([0.75, 0.25])
    own = torch.stack([each[0:2, 1], each[2:4, 0], each[4:6, 0], mean[6:8]])
    losses = torch.nn.functional.softplus(own[:, 1] - own[:, 0])
    torch.testing.assert_close(found.loss, (losses * torch.tensor([1.0, 1.0, 2.0, 1.0])).sum())


def test_rows_of_one_group_need_no_groups(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    prepare(model, LOSSES["bradley_terry"], PLAIN, trees_with(GROUPS[1:3], 2))
    assert model.outputs == Outputs()


def test_an_ensemble_of_groups_or_aspects_is_refused(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    for method, rows, completions in (("bradley_terry", GROUPS, 2), ("regression", RATED, 1)):
        with pytest.raises(EngineError, match="heads") as refusal:
            prepare(model, LOSSES[method], {"heads": 3, "laplace": 0.0}, trees_with(rows, completions))
        assert refusal.value.field == "config.heads"


def test_laplace_is_refused_where_there_are_no_pairs(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    with pytest.raises(EngineError, match="pairs") as refusal:
        prepare(model, LOSSES["regression"], {"heads": 1, "laplace": 1.0}, trees_with(RATED, 1))
    assert refusal.value.field == "config.laplace"


def test_a_head_that_fits_is_trained_on_and_any_other_begins_anew(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    prepare(model, LOSSES["bradley_terry"], {"heads": 3, "laplace": 0.0}, trees_with(GROUPS[:1], 2))
    before = model.head
    prepare(model, LOSSES["davidson"], {"heads": 3, "laplace": 0.0}, trees_with(GROUPS[:1], 2))
    assert model.head is before
    prepare(model, LOSSES["davidson"], PLAIN, trees_with(GROUPS[:1], 2))
    assert model.head.weight.shape == (1, 64)


@pytest.mark.parametrize("method", ["davidson", "rao_kupper"])
def test_a_model_learns_how_often_equals_tie(tiny_policy_dir, method):
    model, _ = load_reward(tiny_policy_dir)
    rows = [{"p": 0.5, "tie": 1.0}] * 3 + [{"p": 1.0, "tie": 0.0}]
    trees = trees_with(rows, 2)
    # Equal completions, so that only the odds can explain the outcomes: three ties to one decision of two sides.
    trees = [PromptTree(one.row, one.prompt, (one.completions[0],) * 2, one.targets) for one in trees]
    prepare(model, LOSSES[method], PLAIN, trees)
    assert model.tie_odds.item() == pytest.approx(6.0)  # a guess that happens to be right where all are equals
    model.learn_ties(method, 0.5)
    objective = make_objective(method, {"centre": 0.0})
    optimiser = torch.optim.Adam([model.scaled_log_tie_odds], lr=2e-3)
    for _ in range(150):
        optimiser.zero_grad()
        found = contribution(objective, model, trees)
        found.loss.backward()
        optimiser.step()
    # P(tie) = ν / (ν + 2) = 3/4 at ν = 6.
    assert model.tie_odds.item() == pytest.approx(6.0, rel=0.02)
    assert float(found.sums["tie_odds"][0]) == pytest.approx(6.0, rel=0.02)
    torch.testing.assert_close(found.record.probability, torch.full((4,), 0.5))


def test_ties_that_a_majority_has_settled_are_no_ties(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    losses = []
    for tie in (0.0, 0.4):
        trees = trees_with([{"p": 1.0, "tie": tie}], 2)
        prepare(model, LOSSES["davidson"], PLAIN, trees)
        losses.append(contribution(make_objective("davidson"), model, trees).loss.item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("layout", ["tree", "padded"])
def test_token_rewards_add_up_to_the_mean_that_is_the_value(tiny_policy_dir, layout):
    model, _ = load_reward(tiny_policy_dir, pooling="tokens")
    trees = random_trees(4, 3, seed=8)
    batch = batch_of(trees, layout)
    with torch.no_grad():
        found, tokens = model(batch), model.token_values(batch)
        expected = []
        for tree in trees:
            for completion in tree.completions:
                ids = torch.tensor([[*tree.prompt, *completion]])
                states = model.backbone(input_ids=ids).last_hidden_state[0, len(tree.prompt) :]
                expected.append(model.head(states)[:, 0])
    torch.testing.assert_close(tokens, torch.cat(expected), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found, torch.stack([each.mean() for each in expected]), atol=1e-5, rtol=1e-5)


def test_tokens_have_no_reward_where_only_the_last_state_is_read(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    with pytest.raises(ValueError, match="tokens"):
        model.token_values(batch_of(random_trees(1, 1)))


def test_token_rewards_are_refused_for_trees_without_a_boundary(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir, pooling="tokens")
    whole = [PromptTree(0, (), ((2, 9, 10, 3),), {})]
    with pytest.raises(EngineError, match="mean") as refusal:
        model(batch_of(whole, "padded"))
    assert refusal.value.field == "config.pooling"


def test_outputs_that_make_no_sense_are_refused():
    for wrong in (("value", ("a", "a"), (0.5, 0.5)), ("ensemble", ("0", "1"), (0.5, 0.6)), ("other", ("a",), (1.0,))):
        with pytest.raises(ValueError, match="share"):
            Outputs(*wrong)


def test_the_gradient_does_not_depend_on_how_a_step_is_cut(tiny_policy_dir):
    rows = [{"p": 1.0, "tie": 0.0}, {"p": 0.5, "tie": 0.6}, {"p": 0.8, "tie": 0.2}] * 3
    trees = trees_with(rows, 2)
    for method, config in (("davidson", PLAIN), ("rao_kupper", {"heads": 3, "laplace": 0.0})):
        found = []
        for layout, budget in (("tree", 10_000), ("tree", 50), ("padded", 80)):
            model, _ = load_reward(tiny_policy_dir)
            prepare(model, LOSSES[method], config, trees)
            passes = Passes(model, make_objective(method), layout=layout, dtype="float32", pad_id=0)
            cut = micro_batches(trees, range(len(trees)), layout=layout, token_budget=budget)
            passes.over(Examples(trees), cut, backward=True)
            found.append(gradients(model))
        for other in found[1:]:
            assert other.keys() == found[0].keys() >= {"head.weight", "scaled_log_tie_odds"}
            for name, gradient in found[0].items():
                atol = 1e-5 * float(gradient.abs().max()) + 1e-7
                torch.testing.assert_close(other[name], gradient, rtol=1e-4, atol=atol, msg=name)
