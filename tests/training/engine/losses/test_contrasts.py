"""Losses that replace DPO's logistic contrast, against likelihoods in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.training.engine.losses.helpers import CHOSEN, GAP, REJECTED, assert_close, cases, complete, pair, tensors
from training.engine.losses import LOSSES, Scores


def good(side, beta, delta=0.0):
    """The probability that a completion is from the policy rather than from the reference."""
    return side.ratio**beta / (side.ratio**beta + np.exp(delta))


def preferred(beta):
    """The probability that the policy prefers the chosen completion."""
    return CHOSEN.ratio**beta / (CHOSEN.ratio**beta + REJECTED.ratio**beta)


def divergence_of_coins(one, other):
    """KL(Bern(one) ‖ Bern(other))."""
    return one * np.log(one / other) + (1 - one) * np.log((1 - one) / (1 - other))


# f'(t) of the f-divergences, as in table 1 of the paper.
DERIVATIVES = {
    "reverse_kl": lambda t, alpha: np.log(t) + 1,
    "forward_kl": lambda t, alpha: -1 / t,
    "js": lambda t, alpha: np.log(2 * t / (1 + t)),
    "alpha": lambda t, alpha: (1 - t**-alpha) / alpha,
}


def f_dpo(beta, divergence, alpha):
    derivative = DERIVATIVES[divergence]
    rewards = beta * derivative(CHOSEN.ratio, alpha), beta * derivative(REJECTED.ratio, alpha)
    return np.log(np.exp(rewards[0]) + np.exp(rewards[1])) - rewards[0]


def reward_aware_rpo(beta, gap, eta, direction):
    policy, teacher = preferred(beta), np.exp(eta * gap) / (1 + np.exp(eta * gap)) + 0 * CHOSEN.ratio
    if direction == "squared":
        return (np.log(policy / (1 - policy)) - eta * gap) ** 2
    return divergence_of_coins(*((teacher, policy) if direction == "backward" else (policy, teacher)))


def aot(beta):
    """Quantile by quantile, each loss at the pair that holds the policy's quantile."""
    margins = CHOSEN.likelihood / REJECTED.likelihood
    references = sorted(margins / (CHOSEN.ratio / REJECTED.ratio))
    found = np.empty(len(margins))
    for reference, index in zip(references, np.argsort(margins), strict=True):
        found[index] = np.log(1 + (reference / margins[index]) ** beta)
    return found


def discopop(beta, tau):
    ratio = (CHOSEN.ratio / REJECTED.ratio) ** beta
    share = ratio ** (1 / tau) / (1 + ratio ** (1 / tau))
    return (1 - share) * np.log(1 + 1 / ratio) + share / ratio


DERIVATIONS = {
    "exo": (
        lambda beta, label_smoothing: divergence_of_coins(preferred(beta), 1 - label_smoothing),
        [{"beta": 0.5, "label_smoothing": 0.2}],
    ),
    "nca": (
        lambda beta: (
            -np.log(good(CHOSEN, beta)) - (np.log(1 - good(CHOSEN, beta)) + np.log(1 - good(REJECTED, beta))) / 2
        ),
        [{"beta": 0.5}],
    ),
    "bco_pair": (
        lambda beta, delta: -np.log(good(CHOSEN, beta, delta)) - np.log(1 - good(REJECTED, beta, delta)),
        [{"beta": 0.5, "delta": 0.3}],
    ),
    "sppo_hard": (
        lambda beta: (np.log(CHOSEN.ratio) - (1 - 0.5) / beta) ** 2 + (np.log(REJECTED.ratio) - (0 - 0.5) / beta) ** 2,
        [{"beta": 0.2}],
    ),
    "apo_zero": (lambda beta: 1 - good(CHOSEN, beta) + good(REJECTED, beta), [{"beta": 0.5}]),
    "apo_down": (lambda beta: good(CHOSEN, beta) + 1 - preferred(beta), [{"beta": 0.5}]),
    "f_dpo": (
        f_dpo,
        [{"beta": 0.4, "divergence": divergence, "alpha": 0.3} for divergence in DERIVATIVES]
        + [{"divergence": "alpha", "alpha": 1.0}],
    ),
    "reward_aware_rpo": (
        reward_aware_rpo,
        [{"beta": 0.4, "gap": GAP, "eta": 0.8, "direction": one} for one in ("backward", "forward", "squared")],
    ),
    "aot": (aot, [{"beta": 0.6}]),
    "discopop": (discopop, [{"beta": 0.4, "tau": 0.3}]),
}  # fmt: skip


@pytest.mark.parametrize(("name", "told"), cases(DERIVATIONS))
def test_the_loss_is_what_the_likelihoods_say(name, told):
    derive, _ = DERIVATIONS[name]
    assert_close(LOSSES[name].fn(*pair(), **tensors(told)), derive(**complete(name, told)))


def at_margin(name, *margins, **told):
    """Losses and their slopes where h_w is the margin and h_l is 0."""
    margin = torch.tensor(margins, dtype=torch.float64, requires_grad=True)
    zero, length = torch.zeros_like(margin).detach(), torch.ones(len(margins))
    losses = LOSSES[name].fn(Scores(margin, length, zero), Scores(zero, length, zero), **told)
    return losses.tolist(), torch.autograd.grad(losses.sum(), margin)[0].tolist()


def test_the_alpha_divergence_tends_to_the_reverse_kl():
    near = LOSSES["f_dpo"].fn(*pair(), divergence="alpha", alpha=0.01)
    torch.testing.assert_close(near, LOSSES["dpo"].fn(*pair()), rtol=0.02, atol=0)


def test_the_alpha_divergence_of_order_one_is_the_forward_kl():
    one, other = (LOSSES["f_dpo"].fn(*pair(), divergence=word, alpha=1.0, beta=0.3) for word in ("alpha", "forward_kl"))
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_exo_hardly_pulls_where_the_policy_is_far_on_the_wrong_side():
    _, (wrong, undecided) = at_margin("exo", -4.0, 0.0, beta=5.0)
    _, (pulled, _) = at_margin("dpo", -4.0, 0.0, beta=5.0)
    assert abs(wrong) < 1e-5 < 1 < abs(undecided)
    assert pulled == pytest.approx(-5, rel=1e-6)  # where DPO pulls with all its β


def test_discopop_is_logistic_where_the_pair_is_wrong_and_exponential_where_it_is_right():
    (wrong, right), _ = at_margin("discopop", -2.0, 2.0, beta=1.0)
    assert wrong == pytest.approx(math.log(1 + math.exp(2)), rel=1e-9)
    assert right == pytest.approx(math.exp(-2), rel=1e-9)


def test_discopop_pulls_the_wrong_way_around_zero():
    # The stationary points that the paper finds at β = τ = .05: a minimum at -2.3714 and a maximum at 1.44012.
    _, slopes = at_margin("discopop", -2.3714, -2.5, -2.2, 0.0, 1.44012, 1.3, 1.6, beta=0.05, tau=0.05)
    assert slopes[0] == pytest.approx(0, abs=1e-5)
    assert slopes[1] < 0 < slopes[2]
    assert slopes[3] > 0
    assert slopes[4] == pytest.approx(0, abs=1e-5)
    assert slopes[5] > 0 > slopes[6]


def test_nca_raises_the_chosen_completion_to_ln_two_and_no_further():
    _, slopes = at_margin("nca", math.log(2) - 0.1, math.log(2), math.log(2) + 0.1, beta=1.0)
    assert slopes[0] < -1e-3
    assert slopes[1] == pytest.approx(0, abs=1e-12)
    assert slopes[2] > 1e-3


def test_apo_is_bounded_and_its_pull_vanishes_in_both_tails():
    for name in ("apo_zero", "apo_down"):
        losses, slopes = at_margin(name, -1e3, 1e3)
        assert all(0 <= loss <= 2 for loss in losses)
        assert slopes == pytest.approx([0, 0], abs=1e-12)


def test_a_word_that_is_no_choice_is_refused():
    with pytest.raises(ValueError, match="reverse_kl, forward_kl, js or alpha"):
        LOSSES["f_dpo"].fn(*pair(), divergence="kl")
    with pytest.raises(ValueError, match="backward, forward or squared"):
        LOSSES["reward_aware_rpo"].fn(*pair(), direction="sideways")
