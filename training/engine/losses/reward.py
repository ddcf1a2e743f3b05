"""Losses of reward models, over the values that the model gives to completions."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


def bradley_terry(
    chosen: Tensor, rejected: Tensor, margin: Tensor | None = None, p: Tensor | None = None, *, centre: float = 0.01
) -> Tensor:
    """Bradley–Terry loss of pairs of values [B], with margin, soft label and centring: [B].

    -p·log σ(Δ) - (1 - p)·log σ(-Δ) + centre·(r_chosen + r_rejected)², with Δ = r_chosen - r_rejected - margin. It is
    the cross entropy of a logistic model, so for 0 < p < 1 and centre = 0 its minimum is at a difference of margin +
    logit(p). ``margin`` [B] grows with how much better the chosen one is (arXiv:2307.09288, equation 2); ``p`` [B]
    is the probability that it is better (None: 1); centring keeps the free additive constant near zero
    (arXiv:2312.09244).
    """
    gap = chosen - rejected if margin is None else chosen - rejected - margin
    loss = -logsigmoid(gap) if p is None else -p * logsigmoid(gap) - (1 - p) * logsigmoid(-gap)
    return loss + centre * (chosen + rejected).square()
