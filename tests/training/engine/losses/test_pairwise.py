"""DPO and what changes its labels, margin or lengths, against likelihoods in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.engine.losses.helpers import (
    CHOSEN,
    GAP,
    OFFSET,
    REJECTED,
    SHARED,
    P,
    assert_close,
    cases,
    complete,
    pair,
    tensors,
)  # fmt: skip
from training.engine.losses import LOSSES, Scores


def surprise(winner, loser):
    """-log of the probability that the winner is drawn, in proportion to these weights."""
    return -np.log(winner / (winner + loser))


def dpo(beta):
    return surprise(CHOSEN.ratio**beta, REJECTED.ratio**beta)


def flipped(beta):
    return surprise(REJECTED.ratio**beta, CHOSEN.ratio**beta)


def robust(beta, label_smoothing):
    """The losses of both labels whose expectation over flips is the loss of the clean label."""
    right, wrong = 1 - label_smoothing, label_smoothing
    return np.linalg.solve([[right, wrong], [wrong, right]], [dpo(beta), flipped(beta)])[0]


def by_length(beta, alpha):
    return surprise(
        CHOSEN.ratio**beta * np.exp(alpha * CHOSEN.length), REJECTED.ratio**beta * np.exp(alpha * REJECTED.length)
    )


def per_token(side):
    return side.ratio ** (1 / side.length)


def weight_of_a_pair():
    return np.minimum(CHOSEN.certainty_weight() * REJECTED.certainty_weight(), 1)


DERIVATIONS = {
    "dpo": (lambda beta: dpo(beta), [{"beta": 0.7}]),
    "cdpo": (
        lambda beta, label_smoothing: (1 - label_smoothing) * dpo(beta) + label_smoothing * flipped(beta),
        [{"beta": 0.4, "label_smoothing": 0.25}],
    ),
    "robust_dpo": (robust, [{"beta": 0.4, "label_smoothing": 0.3}]),
    "soft_dpo": (lambda beta, p: p * dpo(beta) + (1 - p) * flipped(beta), [{"beta": 0.3, "p": P}, {"p": 0.75}]),
    "odpo": (
        lambda beta, offset: surprise(CHOSEN.ratio**beta, REJECTED.ratio**beta * np.exp(offset)),
        [{"beta": 0.3, "offset": OFFSET}, {"offset": 0.5}],
    ),
    "hinge": (lambda beta: np.maximum(0, 1 - np.log((CHOSEN.ratio / REJECTED.ratio) ** beta)), [{"beta": 1.5}]),
    # The paper's other form: τh is regressed to one half.
    "ipo": (lambda tau: (tau * np.log(CHOSEN.ratio / REJECTED.ratio) - 0.5) ** 2 / tau**2, [{"tau": 0.4}]),
    "ipo_norm": (
        lambda tau: (tau * np.log(per_token(CHOSEN) / per_token(REJECTED)) - 0.5) ** 2 / tau**2, [{"tau": 0.4}]
    ),
    "dpo_norm": (lambda beta: surprise(per_token(CHOSEN) ** beta, per_token(REJECTED) ** beta), [{"beta": 0.8}]),
    "r_dpo": (by_length, [{"beta": 0.3, "alpha": 0.2}]),
    "ld_dpo": (
        lambda beta, ld_alpha: surprise(
            CHOSEN.tail_weighted(SHARED, ld_alpha) ** beta, REJECTED.tail_weighted(SHARED, ld_alpha) ** beta
        ),
        [{"beta": 0.6, "ld_alpha": 0.2}, {"ld_alpha": 0.0}],
    ),
    "rpo": (lambda beta, nll_weight: dpo(beta) + nll_weight * CHOSEN.mean_nll, [{"beta": 0.3, "nll_weight": 0.2}]),
    "wpo": (lambda beta: weight_of_a_pair() * dpo(beta), [{"beta": 0.5}]),
    "tr_dpo": (dpo, [{"beta": 0.7}]),
    "paft": (lambda beta: dpo(beta) + CHOSEN.mean_nll, [{"beta": 0.7}]),
}  # fmt: skip


@pytest.mark.parametrize(("name", "told"), cases(DERIVATIONS))
def test_the_loss_is_what_the_likelihoods_say(name, told):
    derive, _ = DERIVATIONS[name]
    assert_close(LOSSES[name].fn(*pair(), **tensors(told)), derive(**complete(name, told)))


def test_dpo_by_hand():
    # h_w = 0.5, h_l = -1, β = 0.1: ln(1 + e^-0.15).
    one = Scores(torch.tensor([-12.5]), torch.ones(1), torch.tensor([-13.0]))
    other = Scores(torch.tensor([-11.0]), torch.ones(1), torch.tensor([-10.0]))
    assert LOSSES["dpo"].fn(one, other).item() == pytest.approx(0.620957, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cdpo", {"label_smoothing": 0.0}),
        ("robust_dpo", {"label_smoothing": 0.0}),
        ("soft_dpo", {"p": 1.0}),
        ("odpo", {"offset": 0.0}),
        ("r_dpo", {"alpha": 0.0}),
        ("ld_dpo", {"ld_alpha": 1.0}),
        ("f_dpo", {"divergence": "reverse_kl"}),
        ("rpo", {"nll_weight": 0.0}),
        ("tr_dpo", {}),
    ],
)
def test_at_its_neutral_setting_a_variant_is_dpo(name, told):
    assert_close(LOSSES[name].fn(*pair(), beta=0.3, **told), dpo(0.3))


def test_a_soft_label_of_one_minus_epsilon_is_conservative_dpo():
    soft = LOSSES["soft_dpo"].fn(*pair(), p=torch.full((6,), 0.85).double())
    torch.testing.assert_close(soft, LOSSES["cdpo"].fn(*pair(), label_smoothing=0.15), rtol=1e-7, atol=0)


def test_robust_dpo_is_on_average_the_clean_loss_when_that_share_of_labels_is_flipped():
    chosen, rejected = pair()
    kept = LOSSES["robust_dpo"].fn(chosen, rejected, label_smoothing=0.2)
    turned = LOSSES["robust_dpo"].fn(rejected, chosen, label_smoothing=0.2)
    torch.testing.assert_close(0.8 * kept + 0.2 * turned, LOSSES["dpo"].fn(chosen, rejected), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("name", "told", "best"),
    [
        ("cdpo", {"beta": 1.0, "label_smoothing": 0.2}, np.log(4)),  # logit(0.8)
        ("soft_dpo", {"beta": 1.0, "p": 0.9}, np.log(9)),
        ("ipo", {"tau": 0.25}, 2.0),
        ("reward_aware_rpo", {"beta": 1.0, "gap": 1.5, "eta": 2.0}, 3.0),
        ("reward_aware_rpo", {"beta": 1.0, "gap": 1.5, "eta": 2.0, "direction": "forward"}, 3.0),
        ("reward_aware_rpo", {"beta": 1.0, "gap": 1.5, "eta": 2.0, "direction": "squared"}, 3.0),
        ("exo", {"beta": 1.0, "label_smoothing": 0.2}, np.log(4)),
    ],
)
def test_the_minimum_is_at_the_margin_that_the_docstring_promises(name, told, best):
    margin = torch.tensor([best - 0.5, best, best + 0.5], dtype=torch.float64, requires_grad=True)
    zero, length = torch.zeros(3).double(), torch.ones(3)
    losses = LOSSES[name].fn(Scores(margin, length, zero), Scores(zero, length, zero), **told)
    below, at, above = torch.autograd.grad(losses.sum(), margin)[0].tolist()
    assert below < -1e-3
    assert at == pytest.approx(0, abs=1e-12)
    assert above > 1e-3


def test_the_weights_of_wpo_are_at_most_one_and_pass_no_gradient():
    certainty = torch.tensor([0.4, -0.2], requires_grad=True)
    logp = torch.tensor([-1.0, -2.0], requires_grad=True)
    side = Scores(logp, torch.ones(2), torch.zeros(2), certainty=certainty)
    losses = LOSSES["wpo"].fn(side, Scores(torch.zeros(2), torch.ones(2), torch.zeros(2), certainty=torch.zeros(2)))
    plain = LOSSES["dpo"].fn(side, Scores(torch.zeros(2), torch.ones(2), torch.zeros(2)))
    assert torch.allclose(losses / plain, torch.tensor([1.0, np.exp(-0.2)]).float())
    losses.sum().backward()
    assert certainty.grad is None
    assert (logp.grad < 0).all()


def test_paft_imitates_what_its_other_adapter_says_of_the_chosen_completions():
    chosen, rejected = pair()
    found = LOSSES["paft"].fn(chosen, rejected, demonstrations=rejected)
    assert_close(found, dpo(0.1) + REJECTED.mean_nll)


@pytest.mark.parametrize(("name", "column"), [("soft_dpo", "p"), ("odpo", "offset"), ("reward_aware_rpo", "gap")])
def test_what_pairs_bring_one_by_one_is_as_long_as_they_are(name, column):
    for other in (torch.full((6, 1), 0.5), torch.full((5,), 0.5)):
        with pytest.raises(ValueError, match=rf"^{column} must be one number or of shape \[6\]"):
            LOSSES[name].fn(*pair(), **{column: other})
    numbers = (torch.full((6,), 0.5).double(), torch.tensor(0.5), 0.5)
    found = [LOSSES[name].fn(*pair(), **{column: one}) for one in numbers]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[1], found[2])


@pytest.mark.parametrize("name", ["ld_dpo", "wpo"])
def test_a_loss_that_needs_more_than_sums_says_what_is_missing(name):
    full = pair()
    for side in (0, 1):
        sides = list(full)
        sides[side] = Scores(full[side].logp, full[side].length, full[side].ref_logp)
        with pytest.raises(ValueError, match=r"prefix_logp|certainty"):
            LOSSES[name].fn(*sides)


def test_the_gap_of_a_pair_follows_its_teacher():
    found = LOSSES["reward_aware_rpo"].fn(*pair(), beta=0.2, gap=torch.tensor(GAP), direction="squared")
    assert_close(found, (np.log((CHOSEN.ratio / REJECTED.ratio) ** 0.2) - GAP) ** 2)
