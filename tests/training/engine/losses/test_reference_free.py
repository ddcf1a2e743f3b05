"""Losses over pairs without a reference, against likelihoods in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.engine.losses.helpers import CHOSEN, REJECTED, assert_close, cases, complete, pair, tensors
from training.engine.losses import LOSSES, Scores


def surprise(winner, loser):
    return -np.log(winner / (winner + loser))


def orpo(odds_weight):
    chosen, rejected = (side.geometric_mean / (1 - side.geometric_mean) for side in (CHOSEN, REJECTED))
    return CHOSEN.mean_nll + odds_weight * surprise(chosen, rejected)


def alpha_po(beta, alpha, gamma_beta_ratio):
    rewards = [beta * (1 - side.geometric_mean**-alpha) / alpha for side in (CHOSEN, REJECTED)]
    return np.log(1 + np.exp(rewards[1] - rewards[0] + beta * gamma_beta_ratio))


DERIVATIONS = {
    "simpo": (
        lambda beta, gamma_beta_ratio: surprise(
            CHOSEN.geometric_mean**beta, (REJECTED.geometric_mean * np.exp(gamma_beta_ratio)) ** beta
        ),
        [{"beta": 2.5, "gamma_beta_ratio": 0.1}],
    ),
    "cpo": (
        lambda beta, nll_weight: (
            surprise(CHOSEN.likelihood**beta, REJECTED.likelihood**beta) + nll_weight * CHOSEN.mean_nll
        ),
        [{"beta": 0.4, "nll_weight": 0.3}],
    ),
    "orpo": (orpo, [{"odds_weight": 0.7}]),
    "slic": (
        lambda margin, nll_weight: (
            np.maximum(0, margin - np.log(CHOSEN.likelihood / REJECTED.likelihood)) + nll_weight * CHOSEN.mean_nll
        ),
        [{"margin": 3.0, "nll_weight": 0.4}],
    ),
    "alpha_po": (alpha_po, [{"beta": 2.5, "alpha": 0.6, "gamma_beta_ratio": 0.1}]),
}  # fmt: skip


@pytest.mark.parametrize(("name", "told"), cases(DERIVATIONS))
def test_the_loss_is_what_the_likelihoods_say(name, told):
    derive, _ = DERIVATIONS[name]
    assert_close(LOSSES[name].fn(*pair(), **tensors(told)), derive(**complete(name, told)))


@pytest.mark.parametrize("name", DERIVATIONS)
def test_no_reference_is_looked_at(name):
    chosen, rejected = pair()
    bare = [Scores(side.logp, side.length) for side in (chosen, rejected)]
    assert torch.equal(LOSSES[name].fn(*bare), LOSSES[name].fn(chosen, rejected))


def test_alpha_po_tends_to_simpo():
    near = LOSSES["alpha_po"].fn(*pair(), alpha=1e-6)
    torch.testing.assert_close(near, LOSSES["simpo"].fn(*pair()), rtol=1e-4, atol=0)


def test_simpo_asks_for_a_lead_of_its_margin():
    level = Scores(torch.tensor([-6.0]).double(), torch.tensor([4.0]).double())  # -1.5 per token
    behind = Scores(torch.tensor([-4.0]).double(), torch.tensor([2.0]).double())  # -2 per token
    assert_close(LOSSES["simpo"].fn(level, behind, gamma_beta_ratio=0.5), [np.log(2)])


@pytest.mark.parametrize("mean", [-1e-8, -1e-4, -1.0, -1e4])
def test_orpo_keeps_its_digits_where_a_completion_is_almost_certain(mean):
    certain = Scores(torch.tensor([mean]), torch.ones(1))  # float32
    even = Scores(torch.tensor([float(np.log(0.5))]), torch.ones(1))  # odds of one
    odds = np.exp(np.float64(mean)) / -np.expm1(np.float64(mean))
    expected = -mean - 0.1 * (np.log(odds / (1 + odds)) if odds else mean)
    assert LOSSES["orpo"].fn(certain, even).item() == pytest.approx(expected, rel=1e-5)
