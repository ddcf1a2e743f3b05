"""What lists add to a step: values of policies and reward models, what is drawn, and the figures beside the loss."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from statistics import fmean, stdev

import pytest
import torch
from transformers import LlamaForCausalLM

from tests.training.engine.core.helpers import gradients, random_trees
from training.engine.batch import make_batch
from training.engine.errors import EngineError
from training.engine.losses import LOSSES
from training.engine.modelfiles import load_reward
from training.engine.objectives import Examples, make_objective
from training.engine.scorer import score, values
from training.engine.trainer import Settings, Trainer
from training.engine.trees import PromptTree

POLICY_METHODS = ["plackett_luce", "infonca", "nca_list", "exo_list", "rnce", "mc_po"]


def ranked_trees():
    """Six prompts of two to four completions; some ranks tie, one completion is unranked, one prompt has rewards."""
    ranks = [(0, 1, 2), (1, 0), (0, 0, 1, 1), (2, 0, 1), (0, -1, 1), (1, 0)]
    trees = [random_trees(6, len(rank), seed=n)[n] for n, rank in enumerate(ranks)]
    return [
        replace(tree, targets={"rank": rank, "rewards": (3.0, 1.0, 0.5) if n == 3 else None, "weight": 1.0 + n % 2})
        for n, (tree, rank) in enumerate(zip(trees, ranks, strict=True))
    ]


def batch_of(trees):
    return make_batch(trees, layout="tree", pad_id=0)


def reference_of(model, trees):
    with torch.no_grad():
        return score(model, batch_of(trees)).logp + torch.linspace(-1, 1, sum(len(t.completions) for t in trees))


def contribute(objective, model, trees, reference=None, step=3):
    return objective(model, batch_of(trees), reference=reference, baseline=None, step=step)


@pytest.mark.parametrize("method", POLICY_METHODS)
def test_a_policys_values_are_beta_times_its_log_ratios(method, tiny_policy):
    trees = ranked_trees()[:1]
    reference = reference_of(tiny_policy, trees)
    objective = make_objective(method, {"beta": 0.3, "seed": 5})
    found = contribute(objective, tiny_policy, trees, reference)
    u = 0.3 * (score(tiny_policy, batch_of(trees)).logp - reference)
    drawn = {"noise": objective.noise(trees, 3, u)} if method in ("rnce", "mc_po") else {}
    expected = LOSSES[method].fn(u, torch.tensor([0, 0, 0]), torch.tensor([0, 1, 2]), **drawn)
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("method", POLICY_METHODS)
def test_neither_micro_batches_nor_the_order_of_rows_change_a_step(method, tiny_policy):
    trees = ranked_trees()
    objective = make_objective(method, {"beta": 0.5})
    counts = [len(tree.completions) for tree in trees]
    parts = reference_of(tiny_policy, trees).split(counts)
    steps = []
    for cut in ([[0, 1, 2, 3, 4, 5]], [[5, 2], [0], [4, 1, 3]]):
        loss = 0.0
        for indices in cut:
            reference = torch.cat([parts[index] for index in indices])
            one = contribute(objective, tiny_policy, [trees[index] for index in indices], reference).loss
            one.backward()
            loss += one.item()
        steps.append((loss, gradients(tiny_policy)))
    assert steps[0][0] == pytest.approx(steps[1][0], rel=1e-5)
    for name, gradient in steps[0][1].items():
        torch.testing.assert_close(gradient, steps[1][1][name], rtol=1e-3, atol=1e-5)


def test_what_is_drawn_depends_on_seed_step_row_and_completion_alone():
    trees, like = ranked_trees(), torch.zeros(0)
    objective = make_objective("mc_po", {"seed": 1})
    whole = objective.noise(trees, 7, like)
    assert len(set(whole.tolist())) == len(whole) == 17
    assert torch.equal(make_objective("mc_po", {"seed": 1}).noise(trees[2:4], 7, like), whole[5:12])
    assert not torch.equal(objective.noise(trees, 8, like), whole)
    assert not torch.equal(make_objective("mc_po", {"seed": 2}).noise(trees, 7, like), whole)
    assert make_objective("plackett_luce").noise(trees, 7, like) is None


def test_what_is_drawn_is_standard_gumbel_noise():
    trees = [PromptTree(row, (1,), ((2,),) * 4, {}) for row in range(2500)]
    noise = make_objective("rnce").noise(trees, 0, torch.zeros(0, dtype=torch.float64))
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.05)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, rel=0.05)


@pytest.mark.parametrize("method", POLICY_METHODS)
def test_the_first_loss_is_known(method, tiny_policy):
    trees = ranked_trees()
    with torch.no_grad():
        reference = score(tiny_policy, batch_of(trees)).logp
    objective = make_objective(method)
    found = contribute(objective, tiny_policy, trees, reference).loss.item() / sum(map(objective.weight, trees))
    assert objective.first_loss(trees) == pytest.approx(found, rel=1e-5)


def test_the_first_loss_of_a_full_list_is_the_logarithm_of_its_orders():
    tree = ranked_trees()[0]
    assert make_objective("plackett_luce").first_loss([tree]) == pytest.approx(math.log(6))
    assert make_objective("rnce").first_loss([tree]) == pytest.approx(math.log(3))
    assert make_objective("mc_po").first_loss([tree]) == pytest.approx(math.log(2))
    assert make_objective("nca_list").first_loss([tree]) == pytest.approx(2 * math.log(2))
    assert make_objective("all_pairs").first_loss([tree]) is None
    assert make_objective("plackett_luce", {"trains": "reward"}).first_loss([tree]) is None
    assert make_objective("plackett_luce", {"plus": "0.5*sft"}).first_loss([tree]) is None


@pytest.mark.parametrize(("method", "config"), [("all_pairs", {}), ("plackett_luce", {"trains": "reward"})])
def test_a_reward_models_values_are_what_it_gives(method, config, tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir, device="cpu", seed=0)
    trees = ranked_trees()
    objective = make_objective(method, config)
    assert not objective.needs_reference
    found = contribute(objective, model, trees)
    counts = torch.tensor([len(tree.completions) for tree in trees])
    group = torch.arange(6).repeat_interleave(counts)
    rank = torch.tensor([place for tree in trees for place in tree.targets["rank"]])
    rewards = values(model, batch_of(trees))
    losses = LOSSES[method].fn(rewards, group, rank)
    assert found.loss.item() == pytest.approx((losses * torch.tensor([1.0, 2.0] * 3)).sum().item(), rel=1e-5)
    assert found.loss.requires_grad
    torch.testing.assert_close(found.record.reward, rewards.detach())
    assert found.sums["reward"] == (pytest.approx(rewards.sum().item(), rel=1e-4), 17.0)


def test_sft_beside_a_list_imitates_its_best(tiny_policy):
    trees = ranked_trees()[:3]
    reference = reference_of(tiny_policy, trees)
    alone, both = (make_objective("infonca", {"plus": plus}) for plus in ("", "0.5*sft"))
    added = contribute(both, tiny_policy, trees, reference).loss - contribute(alone, tiny_policy, trees, reference).loss
    scores = score(tiny_policy, batch_of(trees))
    nll = -scores.mean_logp
    expected = 0.5 * (nll[0] + 2 * nll[4] + (nll[5] + nll[6]) / 2)
    assert added.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_figures_beside_the_loss(tiny_policy):
    trees = [
        replace(tree, targets={"rank": rank, "rewards": None, "weight": 1.0})
        for tree, rank in zip(random_trees(2, 3), [(0, 1, -1), (1, 0, 0)], strict=True)
    ]
    with torch.no_grad():
        logp = score(tiny_policy, batch_of(trees)).logp
    u = torch.tensor([1.0, 2.0, 0.5, -1.0, 4.0, -2.0])
    sums = contribute(make_objective("plackett_luce", {"beta": 2.0}), tiny_policy, trees, logp - u / 2).sums
    means = {name: float(value) / count for name, (value, count) in sums.items()}
    # In order: of the first list 1 > 0.5 and 2 > 0.5 but not 1 > 2, of the second 4 > -1 but not -2 > -1.
    assert means["accuracy"] == pytest.approx(3 / 5)
    assert means["top_accuracy"] == pytest.approx(1 / 2)
    assert means["margin"] == pytest.approx(((1 - 0.5) + (1 - -1)) / 2, rel=1e-4)
    assert means["chosen_reward"] == pytest.approx((1 + 4 - 2) / 3, rel=1e-4)
    assert means["rejected_reward"] == pytest.approx((0.5 - 1) / 2, rel=1e-4)
    assert means["chosen_logp"] == pytest.approx(logp[[0, 4, 5]].mean().item(), rel=1e-5)


def test_a_reward_model_takes_no_sft_beside_its_lists():
    with pytest.raises(EngineError, match="sft cannot be added"):
        make_objective("plackett_luce", {"trains": "reward", "plus": "0.5*sft"})


def test_a_reward_model_needs_no_reference_whatever_is_added():
    assert not make_objective("all_pairs", {"plus": "0.5*plackett_luce"}).needs_reference
    assert make_objective("infonca", {"plus": "0.5*plackett_luce"}).needs_reference


STYLE, ANSWERS, SUBJECTS, END = 10, 11, 15, 3


def needles(count, seed):
    """Prompts on one of four subjects, of whose sixteen answers one is right (reward 1, all others 0).

    One wrong answer has the right one's style and another subject's content: a policy that learns the style over-rates
    it. The other fourteen are tokens at random, easily told apart.
    """
    draw = random.Random(seed)

    def noise(tokens):
        return tuple(draw.randrange(20, 400) for _ in range(tokens))

    trees = []
    for row in range(count):
        subject = draw.randrange(4)
        other = (subject + draw.randrange(1, 4)) % 4
        styled = [(STYLE, ANSWERS + which, END) for which in (subject, other)]
        targets = {"rank": (0,) + (1,) * 15, "rewards": None, "weight": 1.0}
        easy = [(*noise(2), END) for _ in range(14)]
        trees.append(PromptTree(row, (*noise(3), SUBJECTS + subject), (*styled, *easy), targets))
    return trees


def reward_after(method, seed, folder):
    """The known reward that a policy expects on held-out prompts, choosing among their answers, after 40 steps."""
    model = LlamaForCausalLM.from_pretrained(folder, attn_implementation="sdpa").eval()
    trees = needles(320, seed)
    with torch.no_grad():
        reference = [score(model, batch_of([tree])).logp for tree in trees]
    Trainer(
        model=model,
        objective=make_objective(method, {"negatives": 1, "beta": 1.0, "seed": seed}),
        examples=Examples(trees, reference=reference),
        settings=Settings(seed=seed, batch_size=8, learning_rate=2e-3, warmup=0.0, layout="tree"),
        pad_id=0,
    ).train()
    with torch.no_grad():
        logp = score(model, batch_of(needles(48, seed + 1000))).logp
    return logp.view(48, 16).softmax(1)[:, 0].mean().item()


def test_hard_negatives_teach_more_than_random_ones_in_the_same_steps(tiny_policy_dir):
    at_random, hard = (
        [reward_after(method, seed, tiny_policy_dir) for seed in range(4)] for method in ("rnce", "mc_po")
    )
    gains = [other - one for one, other in zip(at_random, hard, strict=True)]
    assert min(gains) > 0
    assert fmean(gains) > max(0.05, 2 * stdev(gains) / len(gains) ** 0.5)
