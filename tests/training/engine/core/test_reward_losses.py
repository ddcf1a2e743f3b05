"""Losses of reward models against float64 derivations in numpy, written from the formulas, and their properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.engine.losses import LOSSES
from training.engine.losses.reward import davidson_log_probs, rao_kupper_log_probs

CHOSEN = np.array([0.3, -1.2, 2.5, 0.0, 4.0])
REJECTED = np.array([-0.4, 0.9, 2.25, 0.0, -3.0])
MARGIN = np.array([0.0, 1.0, 2.0 / 3.0, 0.0, 1.0])
P = np.array([1.0, 0.8, 0.5, 0.65, 0.9])
TIE = np.array([0.0, 0.3, 1.0, 0.5, 0.2])

PAIRS = ("bradley_terry", "davidson", "rao_kupper", "preference_model")
TIES = {"davidson": davidson_log_probs, "rao_kupper": rao_kupper_log_probs}


def sigma(x):
    return 1.0 / (1.0 + np.exp(-x))


def tensor(values, dtype=torch.float64, grad=False):
    return torch.tensor(values, dtype=dtype, requires_grad=grad)


def call(name, chosen, rejected, dtype=torch.float64, **kwargs):
    """The loss of pairs with every extra that a row can carry."""
    extras = [tensor(MARGIN[: len(chosen)], dtype), tensor(P[: len(chosen)], dtype)]
    if name in TIES:
        extras.append(tensor(TIE[: len(chosen)], dtype))
    return LOSSES[name].fn(chosen, rejected, *extras, **kwargs)


def assert_close(found, expected):
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-12, atol=1e-13)


def outcome_cross_entropy(win, tie, loss):
    """-Σ share·log P of the three outcomes; p counts a tie as half a win."""
    shares = P - TIE / 2, TIE, 1 - P - TIE / 2
    return -sum(
        np.where(share > 1e-12, share * np.log(chance), 0)
        for share, chance in zip(shares, (win, tie, loss), strict=True)
    )


def test_bradley_terry_is_the_cross_entropy_of_a_logistic_model_with_margin_and_centring():
    gap = CHOSEN - REJECTED - MARGIN
    expected = -P * np.log(sigma(gap)) - (1 - P) * np.log(1 - sigma(gap)) + 0.05 * (CHOSEN + REJECTED) ** 2
    assert_close(call("bradley_terry", tensor(CHOSEN), tensor(REJECTED), centre=0.05), expected)


def test_davidson_shares_out_three_outcomes_in_proportion():
    strength, other = np.exp(CHOSEN - MARGIN), np.exp(REJECTED)
    tied = 0.7 * np.sqrt(strength * other)
    total = strength + other + tied
    expected = outcome_cross_entropy(strength / total, tied / total, other / total) + 0.05 * (CHOSEN + REJECTED) ** 2
    assert_close(call("davidson", tensor(CHOSEN), tensor(REJECTED), tie_odds=0.7, centre=0.05), expected)


def test_rao_kupper_calls_a_tie_what_lies_below_the_threshold():
    strength, other, theta = np.exp(CHOSEN - MARGIN), np.exp(REJECTED), 1.7
    win, loss = strength / (strength + theta * other), other / (other + theta * strength)
    tied = (theta**2 - 1) * strength * other / ((strength + theta * other) * (other + theta * strength))
    expected = outcome_cross_entropy(win, tied, loss) + 0.05 * (CHOSEN + REJECTED) ** 2
    assert_close(call("rao_kupper", tensor(CHOSEN), tensor(REJECTED), tie_odds=0.7, centre=0.05), expected)


def test_a_preference_model_is_judged_by_half_the_difference_of_both_orders():
    logit = (CHOSEN - REJECTED) / 2 - MARGIN
    expected = -P * np.log(sigma(logit)) - (1 - P) * np.log(sigma(-logit))
    assert_close(call("preference_model", tensor(CHOSEN), tensor(REJECTED)), expected)


def test_regression_averages_the_squared_errors_of_what_was_rated():
    nan = math.nan
    values = tensor([[1.0, 2.0], [3.0, 5.0], [0.5, -1.0]], grad=True)
    ratings = tensor([[2.0, 4.0], [nan, 4.0], [nan, nan]])
    found = LOSSES["regression"].fn(values, ratings)
    assert_close(found, [(1.0 + 4.0) / 2, 1.0, 0.0])
    found.sum().backward()
    assert values.grad.tolist() == [[-1.0, -2.0], [0.0, 2.0], [0.0, 0.0]]
    assert_close(LOSSES["regression"].fn(tensor([0.25, 0.5]), tensor([1.0, nan])), [0.5625, 0.0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bradley_terry", math.log(2)),
        ("preference_model", math.log(2)),
        # Equals win, tie and lose equally often where the odds of a tie are one.
        ("davidson", math.log(3)),
        ("rao_kupper", math.log(3)),
    ],
)
def test_equal_rewards_say_nothing_about_the_pair(name, expected):
    zero = torch.zeros(3, dtype=torch.float64)
    assert_close(LOSSES[name].fn(zero, zero), [expected] * 3)


@settings(max_examples=60, deadline=None)
@given(gap=st.floats(-30, 30), odds=st.floats(1e-3, 50), name=st.sampled_from(sorted(TIES)))
def test_win_tie_and_loss_are_all_there_is(gap, odds, name):
    win, tie, loss = TIES[name](tensor([gap]), odds).exp()[0].tolist()
    assert win + tie + loss == pytest.approx(1.0, abs=1e-12)
    # Seen from the other side, a win is a loss and a tie the same tie.
    assert TIES[name](tensor([-gap]), odds).exp()[0].tolist() == pytest.approx([loss, tie, win])


@pytest.mark.parametrize("name", sorted(TIES))
@pytest.mark.parametrize("odds", [0.1, 1.0, 4.0])
def test_the_odds_of_a_tie_are_ties_per_win_between_equals(name, odds):
    win, tie, loss = TIES[name](tensor([0.0]), odds).exp()[0].tolist()
    assert win == pytest.approx(loss)
    assert tie / win == pytest.approx(odds)


@pytest.mark.parametrize("name", sorted(TIES))
def test_without_ties_these_models_are_bradley_terry(name):
    gap = tensor([-3.0, 0.5, 2.0])
    win, _, loss = TIES[name](gap, 1e-9).exp().unbind(-1)
    torch.testing.assert_close(win, torch.sigmoid(gap), atol=1e-8, rtol=0)
    torch.testing.assert_close(loss, torch.sigmoid(-gap), atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", sorted(TIES))
def test_pairs_without_a_tie_are_bradley_terry_at_odds_of_exactly_zero(name):
    chosen = tensor(CHOSEN, grad=True)
    found = LOSSES[name].fn(chosen, tensor(REJECTED), tensor(MARGIN), tensor(P), tie_odds=0.0)
    expected = LOSSES["bradley_terry"].fn(tensor(CHOSEN), tensor(REJECTED), tensor(MARGIN), tensor(P))
    assert_close(found, expected)
    found.sum().backward()
    assert torch.isfinite(chosen.grad).all()


@pytest.mark.parametrize("name", PAIRS)
def test_gradients_are_the_derivatives(name):
    chosen, rejected = tensor(CHOSEN, grad=True), tensor(REJECTED, grad=True)
    assert torch.autograd.gradcheck(lambda a, b: call(name, a, b), (chosen, rejected))


@pytest.mark.parametrize("name", sorted(TIES))
def test_the_odds_of_a_tie_have_a_gradient_too(name):
    odds = tensor(0.7, grad=True)
    assert torch.autograd.gradcheck(lambda x: call(name, tensor(CHOSEN), tensor(REJECTED), tie_odds=x), (odds,))


def test_regression_has_the_derivatives_of_a_square():
    ratings = tensor([[2.0, math.nan], [1.0, 3.0]])
    values = tensor([[0.5, 1.0], [2.0, -1.0]], grad=True)
    assert torch.autograd.gradcheck(lambda x: LOSSES["regression"].fn(x, ratings), (values,))


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("gap", [1e4, -1e4])
def test_values_and_gradients_stay_finite_ten_thousand_apart(name, gap):
    chosen = torch.full((5,), gap / 2, requires_grad=True)
    odds = torch.tensor(0.5, requires_grad=True)
    found = call(
        name, chosen, torch.full((5,), -gap / 2), torch.float32, **({"tie_odds": odds} if name in TIES else {})
    )
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(chosen.grad).all()
    assert odds.grad is None or torch.isfinite(odds.grad)


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_do_not_influence_each_other(name):
    order = torch.tensor([3, 0, 4, 2, 1])
    extras = [tensor(MARGIN), tensor(P)] + ([tensor(TIE)] if name in TIES else [])
    whole = LOSSES[name].fn(tensor(CHOSEN), tensor(REJECTED), *extras)
    permuted = LOSSES[name].fn(tensor(CHOSEN)[order], tensor(REJECTED)[order], *(extra[order] for extra in extras))
    assert torch.equal(permuted, whole[order])


@pytest.mark.parametrize("name", PAIRS)
def test_a_step_down_the_loss_raises_the_chosen_completion(name):
    chosen, rejected = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    LOSSES[name].fn(chosen, rejected).sum().backward()
    assert chosen.grad < 0 < rejected.grad


def test_a_tie_pulls_rewards_together():
    for name in TIES:
        chosen = torch.tensor([2.0], requires_grad=True)
        LOSSES[name].fn(chosen, torch.zeros(1), None, torch.tensor([0.5]), torch.tensor([1.0]), centre=0.0).backward()
        assert chosen.grad > 0
