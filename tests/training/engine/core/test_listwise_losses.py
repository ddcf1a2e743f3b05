"""Losses over lists against float64 derivations in numpy, prompt by prompt and completion by completion."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from training.engine.losses import LOSSES, Scores

# Three prompts of two, four and three completions, interleaved; a tie in the second, one unranked there and in the
# third, which is shorter.
GROUP = [1, 0, 2, 1, 1, 0, 2, 1, 2]
RANK = [0, 1, 0, 1, 1, 0, -1, -1, 1]
VALUES = [0.7, -1.2, 2.5, 0.1, -0.4, 0.3, 1.9, 0.6, -3.0]
REWARDS = [3.0, 0.5, 1.0, 2.0, 2.5, 1.5, -1.0, 0.0, 0.25]
NOISE = [0.2, 1.0, -0.3, 0.9, -0.5, 0.4, 2.0, 0.8, 1.1]

METHODS = ["plackett_luce", "all_pairs", "infonca", "nca_list", "exo_list", "rnce", "mc_po"]
BY_REWARDS = ["infonca", "nca_list", "exo_list"]
BY_DRAWING = ["rnce", "mc_po"]


def call(name, values=VALUES, group=GROUP, rank=RANK, *, dtype=torch.float64, **settings):
    """The losses [G]; methods that draw get NOISE unless told otherwise."""
    if not isinstance(values, torch.Tensor):
        values = torch.tensor(values, dtype=dtype)
    if name in BY_DRAWING:
        settings = {"noise": NOISE, **settings}
    tensors = {key: torch.tensor(value, dtype=dtype) for key, value in settings.items() if isinstance(value, list)}
    return LOSSES[name].fn(values, torch.tensor(group), torch.tensor(rank), **settings | tensors)


def prompts(*columns):
    """The completions of one prompt after the other: a value of each column, unranked ones behind all others."""
    for number in sorted(set(GROUP)):
        yield [
            SimpleNamespace(rank=math.inf if rank < 0 else rank, ranked=rank >= 0, u=value, more=more)
            for group, rank, value, *more in zip(GROUP, RANK, VALUES, *columns, strict=True)
            if group == number
        ]


def assert_close(found, expected):
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-13)


def softmax(values):
    weights = np.exp(np.array(values))
    return weights / weights.sum()


def test_plackett_luce_is_the_product_of_choices_from_what_is_left():
    expected = []
    for completions in prompts():
        likelihood = 1.0
        for one in completions:
            if one.ranked:
                left = sum(math.exp(other.u) for other in completions if other.rank >= one.rank)
                likelihood *= math.exp(one.u) / left
        expected.append(-math.log(likelihood))
    assert_close(call("plackett_luce"), expected)


def test_plackett_luce_gives_all_orders_of_a_prompt_a_probability_of_one_together():
    values = [0.4, -1.0, 2.0]
    losses = [
        call("plackett_luce", values, [0, 0, 0], list(order)).item() for order in itertools.permutations(range(3))
    ]
    assert sum(math.exp(-loss) for loss in losses) == pytest.approx(1)


def test_plackett_luce_of_the_first_place_alone_is_a_softmax():
    assert_close(
        call("plackett_luce", [0.4, -1.0, 2.0], [0, 0, 0], [-1, 0, -1]), [-np.log(softmax([0.4, -1.0, 2.0])[1])]
    )


def test_plackett_luce_draws_tied_completions_together():
    values = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    call("plackett_luce", values, [0, 0], [0, 0]).sum().backward()
    assert values.grad[0] > 0 > values.grad[1]
    values = torch.tensor([0.5, 0.5], dtype=torch.float64, requires_grad=True)
    call("plackett_luce", values, [0, 0], [0, 0]).sum().backward()
    assert values.grad.abs().max() < 1e-15


def test_all_pairs_is_the_mean_over_the_pairs_of_which_one_is_better():
    expected = []
    for completions in prompts():
        chances = [
            1 / (1 + math.exp(worse.u - better.u))
            for better, worse in itertools.permutations(completions, 2)
            if better.rank < worse.rank
        ]
        expected.append(-sum(map(math.log, chances)) / len(chances))
    assert_close(call("all_pairs"), expected)
    assert call("all_pairs", [1.0, 2.0], [0, 0], [3, 3]).item() == 0


def borda(completions):
    """The share of the others that each is ranked before, ties half."""
    return [
        sum((one.rank < other.rank) + (one.rank == other.rank) / 2 for other in completions if other is not one)
        / (len(completions) - 1)
        for one in completions
    ]


@pytest.mark.parametrize("rewards", [REWARDS, None])
@pytest.mark.parametrize("name", BY_REWARDS)
def test_losses_by_rewards(name, rewards):
    scale = 0.3
    expected = []
    for completions in prompts(REWARDS):
        worth = borda(completions) if rewards is None else [one.more[0] for one in completions]
        target, policy = softmax(np.array(worth) / scale), softmax([one.u for one in completions])
        u = np.array([one.u for one in completions])
        expected.append(
            {
                "infonca": -(target * np.log(policy)).sum(),
                "nca_list": (target * np.log1p(np.exp(-u)) + np.log1p(np.exp(u)) / len(u)).sum(),
                "exo_list": (policy * np.log(policy / target)).sum(),
            }[name]
        )
    setting = {"beta_r" if name == "exo_list" else "alpha": scale}
    assert_close(call(name, rewards=rewards, **setting), expected)


@pytest.mark.parametrize("name", BY_REWARDS)
def test_a_prompt_without_rewards_among_others_is_taken_by_its_ranks(name):
    without = [math.nan if group == 1 else reward for group, reward in zip(GROUP, REWARDS, strict=True)]
    mixed = call(name, rewards=without)
    assert_close(mixed[1], call(name)[1])
    assert_close(mixed[[0, 2]], call(name, rewards=REWARDS)[[0, 2]])


@pytest.mark.parametrize("negatives", [0, 1, 2, 5])
@pytest.mark.parametrize("name", BY_DRAWING)
def test_the_best_against_those_drawn(name, negatives):
    expected = []
    for completions in prompts(NOISE):
        best = min(completions, key=lambda one: one.rank)
        worse = [one for one in completions if one.rank > best.rank]
        hardness = {"rnce": lambda one: one.more[0], "mc_po": lambda one: one.u + one.more[0]}[name]
        drawn = sorted(worse, key=hardness, reverse=True)[: negatives or None]
        share = math.exp(best.u) / sum(math.exp(one.u) for one in [best, *drawn])
        expected.append(-math.log(share))
    assert_close(call(name, negatives=negatives), expected)


@pytest.mark.parametrize("name", BY_DRAWING)
def test_of_several_best_the_mean_is_taken(name):
    values, worse = [1.0, 2.0, -0.5], math.exp(-0.5)
    losses = [-math.log(math.exp(u) / (math.exp(u) + worse)) for u in values[:2]]
    assert_close(call(name, values, [0, 0, 0], [0, 0, 1], noise=[0.0, 0.0, 0.0]), [sum(losses) / 2])


@pytest.mark.parametrize("name", METHODS)
def test_numbers_of_prompts_with_a_gap_are_refused(name):
    # The numbers of prompts in a table, say: every loss of a prompt that is not there would count in the mean.
    with pytest.raises(ValueError, match="group must number the prompts 0, 1, … without a gap, but 1 has no"):
        call(name, group=[number * 2 for number in GROUP])


@pytest.mark.parametrize(
    ("values", "group", "rank"),
    [
        ([1.0, 2.0], [0, 0], [0, 1, 2]),
        ([1.0, 2.0], [0], [0, 1]),
        ([[1.0, 2.0]], [[0, 0]], [[0, 1]]),
        ([], [], []),
    ],
)
def test_lists_of_other_shapes_are_refused(values, group, rank):
    columns = torch.tensor(values), torch.tensor(group, dtype=torch.long), torch.tensor(rank, dtype=torch.long)
    with pytest.raises(ValueError, match=r"values, group and rank must be \[N\] alike"):
        LOSSES["plackett_luce"].fn(*columns)


@pytest.mark.parametrize("name", METHODS)
def test_groups_and_ranks_may_be_short_integers(name):
    group, rank = (torch.tensor(column, dtype=torch.int32) for column in (GROUP, RANK))
    settings = {"noise": torch.tensor(NOISE, dtype=torch.float64)} if name in BY_DRAWING else {}
    assert_close(LOSSES[name].fn(torch.tensor(VALUES, dtype=torch.float64), group, rank, **settings), call(name))


@pytest.mark.parametrize("name", METHODS)
def test_a_completion_alone_says_nothing_and_disturbs_nobody(name):
    values = torch.tensor([0.7, 2.5, -1.2], dtype=torch.float64, requires_grad=True)
    drawn = {"noise": [0.0, 0.0, 0.0]} if name in BY_DRAWING else {}
    found = call(name, values, [0, 1, 1], [0, 1, 0], **drawn)
    if name == "nca_list":  # which judges it by itself
        assert found[0].item() == pytest.approx(math.log1p(math.exp(-0.7)) + math.log1p(math.exp(0.7)))
    else:
        assert found[0].item() == pytest.approx(0, abs=1e-15)
    assert torch.isfinite(torch.autograd.grad(found.sum(), values)[0]).all()
    assert found[1] > 0


def pairs():
    """Prompts of two, the best one first, and the same as the two sides of pairs."""
    u = torch.tensor([0.3, -1.2, 2.5, 0.0, -40.0, 3.0], dtype=torch.float64)
    group, rank = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1] * 3)
    beta, zero = 0.2, torch.zeros(3, dtype=torch.float64)
    sides = [Scores(u[side::2] / beta, torch.ones(3), zero) for side in (0, 1)]
    return u, group, rank, beta, sides


@pytest.mark.parametrize(
    ("name", "told"), [("plackett_luce", {}), ("rnce", {"negatives": 1}), ("mc_po", {"negatives": 1})]
)
def test_lists_of_two_are_dpo(name, told):
    u, group, rank, beta, sides = pairs()
    assert_close(LOSSES[name].fn(u, group, rank, **told), LOSSES["dpo"].fn(*sides, beta=beta))


def test_all_pairs_of_two_is_bradley_terry():
    u, group, rank, _, _ = pairs()
    assert_close(LOSSES["all_pairs"].fn(u, group, rank), LOSSES["bradley_terry"].fn(u[0::2], u[1::2], centre=0.0))


def test_nca_of_two_with_a_certain_target_is_nca_of_pairs():
    u, group, rank, beta, sides = pairs()
    assert_close(LOSSES["nca_list"].fn(u, group, rank, alpha=1e-3), LOSSES["nca"].fn(*sides, beta=beta))


def test_exo_of_two_is_exo_of_pairs_when_the_target_is_the_smoothed_label():
    u, group, rank, beta, sides = pairs()
    smoothed = torch.tensor([0.9, 0.1] * 3, dtype=torch.float64).log()
    found = LOSSES["exo_list"].fn(u, group, rank, beta_r=1.0, rewards=smoothed)
    assert_close(found, LOSSES["exo"].fn(*sides, beta=beta, label_smoothing=0.1))


def test_infonca_is_least_where_the_policy_agrees_with_the_rewards():
    rewards = torch.tensor(REWARDS, dtype=torch.float64)
    values = (rewards / 0.25 + 7).requires_grad_()
    for name in ("infonca", "exo_list"):
        (gradient,) = torch.autograd.grad(call(name, values, rewards=REWARDS).sum(), values)
        assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_the_derivatives(name):
    values = torch.tensor(VALUES, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: call(name, values), values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", METHODS)
def test_values_and_gradients_stay_finite_at_ten_thousand(name, dtype):
    for sign in (1, -1):
        values = torch.tensor([sign * 1e4 * (-1) ** n for n in range(9)], dtype=dtype, requires_grad=True)
        losses = call(name, values, dtype=dtype)
        losses.sum().backward()
        assert torch.isfinite(losses).all()
        assert torch.isfinite(values.grad).all()


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_completions_and_prompts_does_not_matter(name):
    order = np.random.default_rng(0).permutation(9)
    shuffled = [list(np.array(column)[order]) for column in (VALUES, GROUP, RANK, NOISE, REWARDS)]
    more = {"noise": shuffled[3]} if name in BY_DRAWING else {"rewards": shuffled[4]} if name in BY_REWARDS else {}
    plain = {"rewards": REWARDS} if name in BY_REWARDS else {}
    expected = call(name, **plain)
    assert_close(call(name, *shuffled[:3], **more), expected)
    renamed = [2 - group for group in GROUP]
    assert_close(call(name, VALUES, renamed, RANK, **plain), expected.flip(0))


@pytest.mark.parametrize("name", METHODS)
def test_prompts_do_not_influence_each_other(name):
    whole = call(name)
    for number in range(3):
        own = [n for n in range(9) if GROUP[n] == number]
        values, rank, noise = ([column[n] for n in own] for column in (VALUES, RANK, NOISE))
        settings = {"noise": noise} if name in BY_DRAWING else {}
        assert_close(call(name, values, [0] * len(own), rank, **settings), whole[number : number + 1])


@pytest.mark.parametrize("name", [name for name in METHODS if name != "nca_list"])
def test_only_differences_within_a_prompt_count(name):
    shifted = [value + 5.0 * (group + 1) for value, group in zip(VALUES, GROUP, strict=True)]
    assert_close(call(name, shifted), call(name))


def share_drawn(name, values, rounds=4000):
    """How often each of the worse completions of one prompt is the only negative, by the loss that it gives."""
    torch.manual_seed(0)
    count = len(values)
    group = torch.arange(rounds).repeat_interleave(count)
    rank = torch.arange(count).clamp(max=1).repeat(rounds)
    u = torch.tensor(values, dtype=torch.float64)
    losses = LOSSES[name].fn(u.repeat(rounds), group, rank, negatives=1)
    single = torch.logaddexp(u[0], u[1:]) - u[0]
    drawn = (losses[:, None] - single[None]).abs() < 1e-12
    assert bool((drawn.sum(1) == 1).all())
    return drawn.sum(0).numpy()


def assert_distributed(counts, shares):
    """Pearson's χ² with three degrees of freedom stays below its 0.999 quantile."""
    expected = counts.sum() * np.array(shares)
    assert ((counts - expected) ** 2 / expected).sum() < 16.27


def test_mc_po_draws_by_the_softmax_of_the_policy_and_rnce_uniformly():
    values = [3.0, 1.0, -0.5, 0.2, 0.9]
    assert_distributed(share_drawn("mc_po", values), softmax(values[1:]))
    assert_distributed(share_drawn("rnce", values), [0.25] * 4)


def test_mc_po_draws_others_when_the_policy_has_changed():
    before, after = share_drawn("mc_po", [0.0, 3.0, -3.0]), share_drawn("mc_po", [0.0, -3.0, 3.0])
    assert before[0] > 3900 < after[1]


def test_mc_po_passes_no_gradient_through_the_draw():
    values = torch.tensor([1.0, 0.5, -8.0], dtype=torch.float64, requires_grad=True)
    call("mc_po", values, [0, 0, 0], [0, 1, 1], noise=[0.0, 0.0, 0.0]).sum().backward()
    assert values.grad[2] == 0
    assert values.grad[0] == -values.grad[1] != 0
