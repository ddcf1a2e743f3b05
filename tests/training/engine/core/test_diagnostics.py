"""The figures beside the loss, and the warning about chosen completions that become unlikely."""

from __future__ import annotations

import math

import pytest
import torch

from training.engine.diagnostics import (
    displacement,
    displacement_message,
    label_sums,
    pair_sums,
    policy_sums,
    rank_sums,
)
from training.engine.losses import Scores


def means(sums):
    return {name: float(value) / count for name, (value, count) in sums.items()}


def test_pairs_have_rewards_a_margin_and_an_accuracy_that_leaves_out_the_undecided():
    chosen = torch.tensor([2.0, 0.0, 5.0, 1.0, 2.0], requires_grad=True)
    rejected = torch.tensor([1.0, 3.0, 0.0, 1.0, 2.0])
    sums = pair_sums(chosen, rejected, torch.tensor([1.0, 0.2, 0.5, 1.0, 0.2]))
    # right, right (the other side is better), undecided, and equal rewards, which are wrong whichever side is better
    assert means(sums) == pytest.approx(
        {"chosen_reward": 2.0, "rejected_reward": 1.4, "margin": 0.6, "accuracy": 2 / 4}
    )
    assert not any(value.requires_grad for value, _ in sums.values())


def test_labels_are_told_apart_by_the_border():
    sums = label_sums(torch.tensor([1.0, 3.0, 0.0]), torch.tensor([True, True, False]), torch.tensor(2.0))
    assert means(sums) == pytest.approx({"chosen_reward": 2.0, "rejected_reward": 0.0, "accuracy": 2 / 3})


def test_lists_count_the_ordered_pairs_within_a_list_and_no_others():
    values = torch.tensor([3.0, 1.0, 2.0, 0.0, 9.0])
    group = torch.tensor([0, 0, 0, 1, 1])
    rank = torch.tensor([0, 1, 1, 0, 1])
    found = means(rank_sums(values, group, rank))
    assert found == pytest.approx({"chosen_reward": 1.5, "rejected_reward": 4.0, "accuracy": 2 / 3})


def test_a_policy_that_is_its_reference_has_moved_nowhere():
    logp, length = torch.tensor([-10.0, -6.0]), torch.tensor([5.0, 2.0])
    found = means(policy_sums(Scores(logp, length, logp)))
    assert (found["kl"], found["chosen_shift"]) == (0.0, 0.0)
    assert found["chosen_nll"] == pytest.approx(16 / 7)


def test_the_distance_of_a_policy_that_hardly_moved_is_small_and_never_negative():
    moved = torch.linspace(-1e-3, 1e-3, 101)
    for ratio in moved:
        kl = means(policy_sums(Scores(ratio.reshape(1), torch.ones(1), torch.zeros(1))))["kl"]
        assert kl == pytest.approx(float(ratio.double().square()) / 2, rel=1e-3, abs=1e-12)


def test_the_distance_is_k3_of_the_log_ratio_per_token_weighed_by_tokens():
    length = torch.tensor([4.0, 1.0])
    chosen = Scores(torch.tensor([-8.0, -1.0]), length, torch.tensor([-10.0, -1.0]))
    rejected = Scores(torch.tensor([-6.0]), torch.tensor([2.0]), torch.tensor([-5.0]))
    found = means(policy_sums(chosen, rejected))
    expected = (4 * (math.exp(0.5) - 0.5 - 1) + 2 * (math.exp(-0.5) + 0.5 - 1)) / 7
    assert found["kl"] == pytest.approx(expected, rel=1e-5)
    assert found["chosen_shift"] == pytest.approx(2 / 5)
    assert found["rejected_shift"] == pytest.approx(-1 / 2)


@pytest.mark.parametrize(("logp", "reference"), [(-1e4, -1.0), (-1.0, -1e4)])
def test_however_far_apart_the_distance_is_finite(logp, reference):
    apart = Scores(torch.tensor([logp]), torch.tensor([1.0]), torch.tensor([reference]))
    assert math.isfinite(means(policy_sums(apart))["kl"])


def test_the_distance_is_the_divergence_when_the_reference_wrote_the_completions():
    reference, policy = torch.tensor([0.7, 0.3]), torch.tensor([0.4, 0.6])
    # One token each, as often as the reference writes it.
    drawn = torch.tensor([0] * 7 + [1] * 3)
    scores = Scores(policy.log()[drawn], torch.ones(10), reference.log()[drawn])
    divergence = float((reference * (reference / policy).log()).sum())
    assert means(policy_sums(scores))["kl"] == pytest.approx(divergence, rel=1e-5)


def test_without_a_reference_only_the_log_probs_are_said():
    assert set(policy_sums(Scores(torch.tensor([-1.0]), torch.tensor([1.0])))) == {"chosen_logp", "chosen_nll"}


def course(fall: float, gain: float, *, steps: int = 40, name: str = "chosen_shift", noise: float = 0.0):
    """A run in which the chosen completions lose `fall` nats per token and the accuracy gains `gain`."""
    sign = -1 if name == "chosen_nll" else 1
    return [
        {
            name: sign * (-fall * n / (steps - 1) + noise * (-1) ** n),
            "accuracy": 0.5 + gain * n / (steps - 1),
        }
        for n in range(steps)
    ]


def test_chosen_completions_that_fall_while_the_accuracy_rises_are_displaced():
    for name in ("chosen_shift", "chosen_nll"):
        fall = displacement(course(0.5, 0.4, name=name))
        assert fall == pytest.approx(0.5, abs=0.06)
        assert "0.4" in displacement_message(fall)


@pytest.mark.parametrize(
    "steps",
    [
        course(0.05, 0.4),  # too little to matter
        course(0.5, -0.1),  # the accuracy falls as well: a run that fails is another matter
        course(-0.5, 0.4),  # they became likelier
        course(0.15, 0.4, noise=1.0, name="chosen_nll"),  # batches differ more than the beginning and the end
        course(0.5, 0.4, steps=4),  # too short to tell
        [{"loss": 1.0}] * 40,
    ],
)
def test_otherwise_there_is_no_warning(steps):
    assert displacement(steps) is None
