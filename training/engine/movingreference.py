"""The reference of trust-region DPO: a second model that follows the policy (arXiv:2404.09656)."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from training.engine.adapters import adapter_layers, merged_weights, plain_name
from training.engine.errors import EngineError
from training.engine.objectives import Objective


def moving_reference(objective: Objective, policy: nn.Module, model: nn.Module | None) -> MovingReference | None:
    """A reference for ``policy`` that begins as ``model``, or else as the policy is now, for the methods that move
    theirs; None for the others. EngineError for a model whose weights cannot be mixed with the policy's."""
    settings = objective.settings
    if "sync_steps" not in settings:
        return None
    found = MovingReference(model or policy, mixup_alpha=settings["mixup_alpha"], sync_steps=settings["sync_steps"])
    shapes = {plain_name(name): one.shape for name, one in policy.state_dict().items()}
    if any(shapes.get(name) != one.shape for name, one in found.weights().items()):
        raise EngineError(
            "The reference moves towards the policy and has weights of other shapes. Give a reference of the same "
            "architecture.",
            field="reference",
        )
    return found


class MovingReference:
    """A frozen copy of ``model`` that every ``sync_steps`` steps becomes α·policy + (1 - α)·itself; α: ``mixup_alpha``.

    It costs the memory of a second model, and its log-probs hold for one step, so they are never cached. Where the
    policy trains adapters, whole weights are mixed: the mean of two products B·A is not the product of the means.
    EngineError where the weights of the two are not of the same shapes.
    """

    def __init__(self, model: nn.Module, *, mixup_alpha: float, sync_steps: int) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        for layer in adapter_layers(self.model).values():
            layer.enable_adapters(False)
        self.mixup_alpha = mixup_alpha
        self.sync_steps = sync_steps
        self._seconds = 0.0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Within, time counts as spent on the reference."""
        started = self._now()
        try:
            yield
        finally:
            self._seconds += self._now() - started

    def take_seconds(self) -> float:
        """The time spent on it since this was last asked."""
        taken, self._seconds = self._seconds, 0.0
        return taken

    @torch.no_grad()
    def after_step(self, step: int, policy: nn.Module) -> None:
        """Hears that ``step`` steps are done, and moves when it is time."""
        if step % self.sync_steps:
            return
        learnt = merged_weights(policy)
        for name, own in self.weights().items():
            own.lerp_(learnt[name].to(own.dtype), self.mixup_alpha)

    def tensors(self) -> dict[str, Tensor]:
        """The live weights, which a checkpoint keeps and puts back."""
        return {f"reference.{name}": parameter.detach() for name, parameter in self.weights().items()}

    def weights(self) -> dict[str, nn.Parameter]:
        """The weights without adapters, by the names that a model without any has."""
        return {plain_name(name): one for name, one in self.model.named_parameters() if ".lora_" not in name}

    def _now(self) -> float:
        if next(self.model.parameters()).device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()
