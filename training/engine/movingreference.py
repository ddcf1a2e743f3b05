"""The reference of trust-region DPO: a second model that follows the policy (arXiv:2404.09656)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from training.engine.objectives import Objective


def moving_reference(objective: Objective, model: nn.Module) -> MovingReference | None:
    """A reference that begins as ``model``, for the methods that move theirs; None for the others."""
    settings = objective.settings
    if "sync_steps" not in settings:
        return None
    return MovingReference(model, mixup_alpha=settings["mixup_alpha"], sync_steps=settings["sync_steps"])


class MovingReference:
    """A frozen copy of ``model`` that every ``sync_steps`` steps becomes α·policy + (1 - α)·itself; α: ``mixup_alpha``.

    It costs the memory of a second model, and its log-probs hold for one step, so they are never cached.
    """

    def __init__(self, model: nn.Module, *, mixup_alpha: float, sync_steps: int) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.mixup_alpha = mixup_alpha
        self.sync_steps = sync_steps

    @torch.no_grad()
    def after_step(self, step: int, policy: nn.Module) -> None:
        """Hears that ``step`` steps are done, and moves when it is time."""
        if step % self.sync_steps:
            return
        for own, other in zip(self.model.parameters(), policy.parameters(), strict=True):
            own.lerp_(other.to(own.dtype), self.mixup_alpha)

    def tensors(self) -> dict[str, Tensor]:
        """The live weights, which a checkpoint keeps and puts back."""
        return {f"reference.{name}": parameter.detach() for name, parameter in self.model.named_parameters()}
