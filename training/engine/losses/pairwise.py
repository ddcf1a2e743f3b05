"""Losses over pairs: completion ``chosen[b]`` was preferred to ``rejected[b]`` for the same prompt."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from training.engine.losses.scores import Scores


def dpo(chosen: Scores, rejected: Scores, *, beta: float = 0.1, p: Tensor | None = None) -> Tensor:
    """Direct preference optimisation (arXiv:2305.18290, equation 7), with soft labels: [B].

    -p·log σ(βD) - (1 - p)·log σ(-βD), with D = log-ratio of the chosen minus log-ratio of the rejected, in nats
    summed over tokens. ``p`` [B] is the probability that the chosen completion is better (None: 1, the paper's
    loss); 1 - ε for all pairs is conservative DPO. At D = 0 the loss is ln 2 whatever ``p`` is.
    """
    logits = beta * (chosen.log_ratio - rejected.log_ratio)
    if p is None:
        return -logsigmoid(logits)
    return -p * logsigmoid(logits) - (1 - p) * logsigmoid(-logits)
