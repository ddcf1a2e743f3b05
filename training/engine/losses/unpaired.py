"""Losses over single completions with a thumb up or down, and the baselines they are measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from training.engine.losses.scores import Scores
from training.engine.trees import PromptTree


def kto(
    scores: Scores,
    desirable: Tensor,
    baseline: Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Kahneman–Tversky optimisation (arXiv:2402.01306): [N].

    desirable: λ_D·(1 - σ(β(r - z₀))); undesirable: λ_U·(1 - σ(β(z₀ - r))); r = log π - log π_ref in nats summed over
    tokens. ``desirable`` is bool [N]; ``baseline`` is z₀, a scalar without gradient from KtoBaseline. At r = z₀ a
    loss is λ/2.
    """
    lead = beta * (scores.log_ratio - baseline.detach())
    # 1 - σ(x) is written σ(-x): the difference loses every digit where σ(x) is near one.
    return torch.where(desirable, desirable_weight * torch.sigmoid(-lead), undesirable_weight * torch.sigmoid(lead))


class KtoBaseline:
    """z₀ of KTO: how far the policy has moved, measured on completions that answer other prompts.

    z₀ = max(0, mean of log π(y'|x) - log π_ref(y'|x) over mismatched (x, y')), without gradient. The mean is taken
    over all processes first and clamped afterwards: clamping each part would bias it upwards. A step in which
    nothing could be mismatched keeps the value of the step before, so the value is part of the state of a run.
    """

    def __init__(self) -> None:
        self.value = torch.zeros((), dtype=torch.float64)

    def update(self, logp: Tensor, ref_logp: Tensor) -> Tensor:
        """Takes the mismatched completions' log-probs [M] of one step, M may be 0, and returns the new z₀,
        float32 scalar."""
        ratio = (logp.detach() - ref_logp.detach()).double()
        totals = torch.stack((ratio.sum(), ratio.new_tensor(float(ratio.numel()))))
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(totals)
        if totals[1] > 0:
            self.value = (totals[0] / totals[1]).clamp(min=0).cpu()
        return self.current(logp.device)

    def current(self, device: torch.device | str = "cpu") -> Tensor:
        """z₀ as it stands, float32 scalar."""
        return self.value.to(device=device, dtype=torch.float32)

    def state_dict(self) -> dict[str, Any]:
        """The state, for a checkpoint."""
        return {"value": self.value.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up the state of a checkpoint."""
        self.value = torch.as_tensor(state["value"], dtype=torch.float64).clone()


def mismatched_trees(trees: Sequence[PromptTree], *, max_length: int) -> list[PromptTree | None]:
    """For each tree of one completion, its prompt with the completion of another tree; None where none fits.

    Partners are a cyclic shift, so every completion is used once, as often as in the matched set. The shift is the one
    with the fewest matched pairs, that is, partners with the same prompt or the same completion; those that remain, and
    pairs longer than ``max_length``, are left out: a matched pair would measure the reward itself (TRL issues 1911 and
    2554). Every tree must have a prompt and one completion.
    """
    count = len(trees)
    candidates = sorted(range(1, count), key=lambda shift: (abs(2 * shift - count), shift))[:64]
    if not candidates:
        return [None] * count

    def matched(index: int, shift: int) -> bool:
        own, other = trees[index], trees[(index + shift) % count]
        return own.prompt == other.prompt or own.completions == other.completions

    best, fewest = candidates[0], count + 1
    for shift in candidates:
        clashes = sum(matched(index, shift) for index in range(count))
        if clashes < fewest:
            best, fewest = shift, clashes
        if fewest == 0:
            break
    return [
        None if matched(index, best) else _swap(tree, trees[(index + best) % count], max_length)
        for index, tree in enumerate(trees)
    ]


def _swap(tree: PromptTree, other: PromptTree, max_length: int) -> PromptTree | None:
    swapped = PromptTree(tree.row, tree.prompt, other.completions, {"weight": 1.0})
    return swapped if swapped.depth <= max_length else None
