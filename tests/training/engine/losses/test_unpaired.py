"""Losses over single completions, against likelihoods in float64, and the running mean that BCO is measured against."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.engine.losses.helpers import CHOSEN, SHARED, assert_close, cases, complete
from training.engine.baselines import RunningMean, new_baseline
from training.engine.losses import LOSSES, Scores

UP = np.array([True, False, True, False, False, True])
BASELINE = 0.4


def good(beta, border):
    """The probability of a thumb up: the share of the completion's weight beside that of the border."""
    return CHOSEN.ratio**beta / (CHOSEN.ratio**beta + border)


def kto(beta, desirable_weight, undesirable_weight):
    """λ_y - v(x, y) with the paper's value function."""
    up = good(beta, np.exp(beta * BASELINE))
    weight = np.where(UP, desirable_weight, undesirable_weight)
    return weight - weight * np.where(UP, up, 1 - up)


def bco(beta):
    up = good(beta, np.exp(BASELINE))
    return -np.log(np.where(UP, up, 1 - up))


DERIVATIONS = {
    "kto": (kto, [{"beta": 0.3, "desirable_weight": 1.5, "undesirable_weight": 0.75}]),
    "bco": (bco, [{"beta": 0.5}]),
    "apo_zero_unpaired": (lambda beta: np.where(UP, 1 - good(beta, 1), good(beta, 1)), [{"beta": 0.5}]),
    # (2/β) log(1 + ratio^β), the paper's other form.
    "npo": (lambda beta: np.where(UP, 0, 2 / beta * np.log(1 + CHOSEN.ratio**beta)), [{"beta": 0.5}]),
}


@pytest.mark.parametrize(("name", "told"), cases(DERIVATIONS))
def test_the_loss_is_what_the_likelihoods_say(name, told):
    derive, _ = DERIVATIONS[name]
    found = LOSSES[name].fn(
        CHOSEN.scores(SHARED), torch.tensor(UP), torch.tensor(BASELINE, dtype=torch.float64), **told
    )
    assert_close(found, derive(**complete(name, told)))


IMITATIONS = ("sft", "conditional_sft")


@pytest.mark.parametrize("name", IMITATIONS)
def test_imitation_is_the_negative_log_likelihood(name):
    assert_close(LOSSES[name].fn(CHOSEN.scores(SHARED)), -np.log(CHOSEN.likelihood))
    by_hand = Scores(torch.log(torch.tensor([0.5 * 0.25, 0.125]).double()), torch.tensor([2, 1]))
    assert_close(LOSSES[name].fn(by_hand), np.full(2, 3 * np.log(2)))


@pytest.mark.parametrize("name", ["kto", "bco"])
def test_no_gradient_flows_into_the_baseline(name):
    logp = torch.zeros(2, requires_grad=True)
    baseline = torch.tensor(0.25, requires_grad=True)
    LOSSES[name].fn(Scores(logp, torch.ones(2), torch.zeros(2)), torch.tensor([True, False]), baseline).sum().backward()
    assert baseline.grad is None
    assert logp.grad[0] < 0 < logp.grad[1]


def test_kto_is_half_of_each_weight_at_the_baseline():
    at = Scores(torch.tensor([1.0, 1.0]), torch.ones(2), torch.tensor([0.75, 0.75]))
    losses = LOSSES["kto"].fn(
        at, torch.tensor([True, False]), torch.tensor(0.25), desirable_weight=3.0, undesirable_weight=1.0
    )
    assert losses.tolist() == [1.5, 0.5]


def test_npo_ignores_thumbs_up():
    logp = torch.tensor([-3.0, -3.0], requires_grad=True)
    losses = LOSSES["npo"].fn(Scores(logp, torch.ones(2), torch.zeros(2)), torch.tensor([True, False]), torch.zeros(()))
    losses.sum().backward()
    assert losses[0] == 0 < losses[1]
    assert logp.grad[0] == 0 < logp.grad[1]


def test_the_border_of_bco_is_half_the_sum_of_the_two_means_however_uneven_the_labels():
    baseline = RunningMean()
    for _ in range(400):  # until the beginning is forgotten
        baseline.after_step({"chosen_reward": 3.0, "rejected_reward": -1.0, "reward": 2.9})
    assert baseline.current().item() == pytest.approx(1.0)


def test_a_step_without_one_label_moves_the_mean_of_the_other_only():
    baseline = RunningMean()
    baseline.after_step({"chosen_reward": 2.0, "rejected_reward": -4.0})
    assert baseline.value == pytest.approx(RunningMean.RATE * (2.0 - 4.0) / 2)
    before = baseline.rejected
    baseline.after_step({"chosen_reward": 2.0})
    assert baseline.rejected == before
    assert baseline.chosen == pytest.approx(2.0 * (1 - (1 - RunningMean.RATE) ** 2))


def test_the_running_mean_survives_a_checkpoint():
    baseline, other = RunningMean(), RunningMean()
    baseline.after_step({"chosen_reward": 1.3, "rejected_reward": 0.2})
    other.load_state_dict(baseline.state_dict())
    for one in (baseline, other):
        one.after_step({"chosen_reward": 0.7})
    assert other.state_dict() == baseline.state_dict()
    assert not other.current().requires_grad


def test_methods_that_are_measured_against_nothing_keep_a_border_of_zero():
    baseline = new_baseline(LOSSES["npo"])
    baseline.after_step({"chosen_reward": 5.0, "rejected_reward": 5.0})
    assert baseline.current().item() == 0
