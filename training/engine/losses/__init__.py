"""Losses: small pure functions, one file per shape of data, joined here with the table of methods.

A loss returns one value per item (pair, completion or prompt), never a mean: the trainer weighs the items, adds them
up and divides by the count of the whole optimiser step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from training.engine.losses.demonstration import sft
from training.engine.losses.pairwise import dpo
from training.engine.losses.reward import bradley_terry
from training.engine.losses.scores import Scores
from training.engine.losses.unpaired import KtoBaseline, kto
from training.engine.methods import METHODS, Method, Reduction, Shape


@dataclass(frozen=True, slots=True)
class LossSpec:
    """A loss function and the entry of the method it serves.

    Signatures by shape: pairwise ``fn(chosen, rejected, *, …) -> [B]`` over Scores; reward ``fn(chosen_values,
    rejected_values, margin, p, *, …) -> [B]``; unpaired ``fn(scores, desirable, baseline, *, …) -> [N]``;
    demonstration ``fn(scores) -> [N]``.
    """

    fn: Callable[..., Tensor]
    method: Method

    @property
    def shape(self) -> Shape:
        """The shape of the data, which fixes the signature of ``fn``."""
        return self.method.shape

    @property
    def needs_reference(self) -> bool:
        """Whether the Scores must carry the log-probs of a reference policy."""
        return self.method.needs_reference

    @property
    def reduction(self) -> Reduction:
        """Whether the loss reads summed or per-token mean log-probs."""
        return self.method.reduction

    @property
    def defaults(self) -> dict[str, float | int | str | bool]:
        """The default of every parameter."""
        return self.method.defaults()

    @property
    def paper(self) -> str:
        """Where the loss comes from."""
        return self.method.paper


_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "sft": sft,
    "dpo": dpo,
    "kto": kto,
    "bradley_terry": bradley_terry,
}

LOSSES: dict[str, LossSpec] = {name: LossSpec(_FUNCTIONS[name], method) for name, method in METHODS.items()}

__all__ = ["LOSSES", "KtoBaseline", "LossSpec", "Scores"]
