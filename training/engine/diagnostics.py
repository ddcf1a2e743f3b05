"""Figures to watch while a run learns: pure functions over what a batch's scores say, and one warning made of them.

Each returns sums, ``{name: (Σ value, count)}``, that the trainer adds up over a step and divides at its end; none keeps
a gradient. Names that they share mean the same for every method:

- ``chosen_reward``, ``rejected_reward``, ``margin``: what the method calls a reward, such as β·(log π - log π_ref);
- ``accuracy``: share of pairs, labels or ordered pairs of a list that the model puts right;
- ``chosen_logp``, ``rejected_logp``: nats per completion; ``chosen_nll``, ``rejected_nll``: minus nats per token;
- ``chosen_shift``, ``rejected_shift``: log π - log π_ref, nats per token;
- ``kl``: how far the policy is from its reference, nats per token, on the data's own completions.

Standard library only until a sum is computed: the web process makes the same warning from a run's figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, variance
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.losses.scores import Scores

Sums = dict[str, tuple["Tensor", float]]

# At 0.1 nats per token less, an answer of a hundred tokens is e^10 times less likely than before. What DPO loses
# normally, at its usual learning rate and over one epoch, is less than that.
DISPLACED = 0.1
# The mean of so many steps at either end is compared, because single batches differ.
SHARE_OF_STEPS, FEWEST_STEPS = 0.1, 3


def total(values: Tensor) -> tuple[Tensor, float]:
    """(Σ value, count), without gradient."""
    return values.detach().sum(), float(values.numel())


def pair_sums(chosen: Tensor, rejected: Tensor, p: Tensor) -> Sums:
    """Rewards, margin and accuracy of pairs from the rewards [B] of both sides and ``p`` [B], the probability that the
    chosen one is better. A pair on which the annotators were exactly split has no right order and is left out of the
    accuracy; equal rewards are wrong."""
    margin = (chosen - rejected).detach()
    decided = p != 0.5
    correct = ((margin > 0) & (p > 0.5)) | ((margin < 0) & (p < 0.5))
    return {
        "chosen_reward": total(chosen),
        "rejected_reward": total(rejected),
        "margin": total(margin),
        "accuracy": (correct.sum(), float(decided.sum())),
    }


def label_sums(reward: Tensor, up: Tensor, border: Tensor) -> Sums:
    """Rewards of both labels and accuracy, from rewards [N], thumbs ``up`` bool [N] and their ``border``."""
    return {
        "chosen_reward": total(reward[up]),
        "rejected_reward": total(reward[~up]),
        "accuracy": (((reward > border) == up).sum(), float(up.numel())),
    }


def rank_sums(values: Tensor, group: Tensor, rank: Tensor) -> Sums:
    """Rewards and accuracy of lists, from values [N], the list ``group`` [N] that each is in and its ``rank`` [N]
    (0 best, equal ranks tie).

    Accuracy is the share of the ordered pairs within a list that the values order in the same way, (τ + 1)/2 where
    nothing ties; chosen are the best of each list, rejected the worst.
    """
    import torch

    better = (group[:, None] == group[None, :]) & (rank[:, None] < rank[None, :])
    right = better & (values[:, None] > values[None, :])
    last = torch.zeros_like(rank).scatter_reduce_(0, group, rank, "amax", include_self=False)[group]
    best, worst = values[rank == 0], values[(rank == last) & (rank > 0)]
    return {
        "chosen_reward": total(best),
        "rejected_reward": total(worst),
        "accuracy": (right.sum(), float(better.sum())),
    }


def policy_sums(chosen: Scores, rejected: Scores | None = None) -> Sums:
    """Log-probs of both sides and, with a reference, how far the policy has moved from it.

    ``kl`` is KL(π_ref ‖ π) by the estimator k3 = e^k - k - 1 ≥ 0 (J. Schulman, Approximating KL divergence, 2020) at
    the mean log-ratio per token k of each completion, weighed by its tokens. The completions are those of the data and
    not samples of the policy, so it says nothing of what the policy writes now: it is right as far as the reference
    could have written them, and since k3 is convex, it is at most the mean over single tokens. KL(π ‖ π_ref) cannot be
    had from them: its weights e^-k explode on every completion that the policy has learnt to avoid.
    """
    sums = _side("chosen", chosen)
    if rejected is not None:
        sums |= _side("rejected", rejected)
    sides = [one for one in (chosen, rejected) if one is not None and one.ref_logp is not None]
    if sides:
        parts = [((_k3(one.mean_log_ratio.detach()) * one.length).sum(), float(one.length.sum())) for one in sides]
        sums["kl"] = (sum((value for value, _ in parts[1:]), parts[0][0]), sum(count for _, count in parts))
    return sums


def _side(name: str, scores: Scores) -> Sums:
    tokens = float(scores.length.sum())
    sums = {f"{name}_logp": total(scores.logp), f"{name}_nll": (-scores.logp.detach().sum(), tokens)}
    if scores.ref_logp is not None:
        sums[f"{name}_shift"] = (scores.log_ratio.detach().sum(), tokens)
    return sums


def _k3(k: Tensor) -> Tensor:
    # A reference that all but rules a token out would make it infinite, which says no more than e^80 does.
    return (k.clamp(max=80).expm1() - k).clamp(min=0)  # rounding must not make it negative


def displacement(steps: Sequence[Mapping[str, float]]) -> float | None:
    """By how many nats per token the chosen completions have become less likely, when that is a reason to look.

    ``steps`` are the metrics of a run, in order. None unless the log-prob per token has fallen by more than DISPLACED
    and by more than twice its standard error over the steps, while the accuracy rose: the model then prefers the
    chosen completions by making both sides unlikely (arXiv:2410.08847), which the accuracy alone does not show.
    Measured against the reference where there is one, which is free of the differences between batches.
    """
    levels = [level for one in steps if (level := _level(one)) is not None]
    accuracies = [one["accuracy"] for one in steps if "accuracy" in one]
    likely, right = _ends(levels), _ends(accuracies)
    if likely is None or right is None:
        return None
    (begin, end), (before, after) = likely, right
    fall = fmean(begin) - fmean(end)
    noise = math.sqrt(variance(begin) / len(begin) + variance(end) / len(end))
    return fall if fall > max(DISPLACED, 2 * noise) and fmean(after) > fmean(before) else None


def displacement_message(fall: float) -> str:
    """The warning, with its cure."""
    return (
        f"The chosen completions lost {fall:.2f} nats per token while the accuracy rose: the model tells the pairs "
        "apart by making both sides unlikely. Lower learning_rate, raise beta, or add the likelihood of the chosen "
        "ones (method rpo, or plus 0.2*sft)."
    )


def _level(metrics: Mapping[str, float]) -> float | None:
    if "chosen_shift" in metrics:
        return metrics["chosen_shift"]
    return -metrics["chosen_nll"] if "chosen_nll" in metrics else None


def _ends(values: Sequence[float]) -> tuple[Sequence[float], Sequence[float]] | None:
    """The first and the last steps, or None for a run too short to tell them apart."""
    width = max(FEWEST_STEPS, int(len(values) * SHARE_OF_STEPS))
    return (values[:width], values[-width:]) if len(values) >= 2 * width else None
