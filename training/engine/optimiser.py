"""AdamW as every method uses it, and the learning rate over the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn


def adamw(parameters: Sequence[nn.Parameter], *, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (arXiv:1711.05101); decay acts on matrices only, not on norms and biases."""
    groups = [
        {"params": [one for one in parameters if one.ndim >= 2], "weight_decay": weight_decay},
        {"params": [one for one in parameters if one.ndim < 2], "weight_decay": 0.0},
    ]
    # Fused: one pass over a weight and its moments instead of eight.
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate, fused=True)


def learning_rate_factor(step: int, steps: int, *, warmup: float, schedule: str) -> float:
    """What the peak learning rate is multiplied with in step `step` (from 0) of `steps`: a rise, then the schedule.

    Neither the first nor the last step is ever wasted on a rate of zero.
    """
    rise = math.ceil(warmup * steps)
    if step < rise:
        return (step + 1) / rise
    if schedule == "constant":
        return 1.0
    share = (step - rise) / (steps - rise)
    return 1.0 - share if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * share))
