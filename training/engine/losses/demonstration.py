"""Losses over single completions that are to be imitated."""

from __future__ import annotations

from torch import Tensor

from training.engine.losses.scores import Scores


def sft(scores: Scores) -> Tensor:
    """Negative log-likelihood, summed over the tokens of each completion: -log π(y|x), [N].

    Divide the sum over a step by the step's number of tokens for the usual per-token mean; dividing by completions
    instead gives long demonstrations more weight.
    """
    return -scores.logp
