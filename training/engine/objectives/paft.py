"""Parallel SFT and preference adapters (arXiv:2406.17923): two adapters on one base, trained side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.engine.adapters import NAME, adapter_layers, only_adapter
from training.engine.batch import Batch
from training.engine.losses import Scores
from training.engine.objectives.base import Contribution, targets
from training.engine.objectives.pairwise import PairwiseObjective
from training.engine.trees import PromptTree

DEMONSTRATIONS = "demonstrations"
ADAPTERS = (NAME, DEMONSTRATIONS)


class PaftObjective(PairwiseObjective):
    """The preference adapter learns from the pairs, the demonstrations' adapter from the chosen completions.

    While training, each is scored without the other, and the figures are those of the preference adapter; without
    gradient both are at work, as in the merged model. ValueError for a model without the two adapters.
    """

    def __call__(
        self, model: nn.Module, batch: Batch, *, reference: Tensor | None, baseline: Tensor | None, step: int
    ) -> Contribution:
        if not torch.is_grad_enabled():
            return super().__call__(model, batch, reference=reference, baseline=baseline, step=step)
        with only_adapter(model, DEMONSTRATIONS):
            taught = self.scores(model, batch, None)[0::2]
        with only_adapter(model, NAME):
            scores = self.scores(model, batch, reference)
        weight = targets(batch.trees, "weight", scores.logp)
        losses = weight * self._preference(batch.trees, scores, taught)
        # The trainer divides by the weights of the step, so the norm is counted once for each of them.
        penalty = self.settings["sparsity"] * weight.sum() * _l1(model)
        with torch.no_grad():
            sums = self.sums(batch.trees, scores, baseline)
        return Contribution(losses.sum() + penalty, sums)

    def losses(self, trees: Sequence[PromptTree], scores: Scores, baseline: Tensor | None) -> Tensor:
        return targets(trees, "weight", scores.logp) * self._preference(trees, scores, scores[0::2])

    def finish(self, model: nn.Module) -> None:
        for layer in adapter_layers(model).values():
            layer.set_scale(DEMONSTRATIONS, self.settings["merge_weight"])

    def _preference(self, trees: Sequence[PromptTree], scores: Scores, taught: Scores) -> Tensor:
        """Soft labels turn the preference round, never what is to be imitated."""
        chosen, rejected = scores[0::2], scores[1::2]
        p = targets(trees, "p", scores.logp, default=1.0)
        fn, beta = self.method.fn, self.beta
        forward: Tensor = fn(chosen, rejected, beta=beta, demonstrations=taught)
        return p * forward + (1 - p) * fn(rejected, chosen, beta=beta, demonstrations=taught)


def _l1(model: nn.Module) -> Tensor:
    """L1 norm of the demonstrations' adapter."""
    layers = adapter_layers(model).values()
    if not layers:
        raise ValueError("paft trains adapters; add two with add_adapters(model, …, names=ADAPTERS)")
    parts = [part[DEMONSTRATIONS].weight.abs().sum() for layer in layers for part in (layer.lora_A, layer.lora_B)]
    return torch.stack(parts).sum()
