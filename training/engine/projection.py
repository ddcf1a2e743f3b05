"""Log-probs of given tokens from hidden states, without the logits of the whole vocabulary.

Logits exist for one tile at a time: all positions, some words. Its size depends neither on the vocabulary nor, up to
thousands, on the positions, and the weights of its words are read once. What a tile adds to the normaliser is counted
from its own maximum, and summed up in the end (as in arXiv:1805.02867). The softmax of the first tiles is kept for the
backward pass as far as ``KEPT_BYTES`` reach; beyond, logits are made again there. Forward and backward are written by
hand because automatic differentiation of gather and logsumexp passes over the logits four times as often.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from training.engine.batch import MULTIPLE, round_up
from training.engine.products import columns_by_columns, rows_by_columns, rows_by_rows

KEPT_BYTES = 128 << 20
# Logits of a tile: few enough for the caches of a processor, enough for the many units of a GPU.
TILE_ON_CPU, TILE_ON_GPU = 1 << 22, 1 << 25
FEWEST_WORDS = 512


class Projection:
    """The vocabulary projection of a causal model: scaled (Granite, Cohere) and soft-capped (Gemma) as it does it."""

    def __init__(self, policy: Any) -> None:
        head: Any = policy.get_output_embeddings()
        config = policy.config
        self.weight: Tensor = head.weight
        self.bias: Tensor | None = getattr(head, "bias", None)
        self.factor = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
        self.cap: float | None = getattr(config, "final_logit_softcapping", None)

    def logps(
        self, states: Tensor, target: Tensor, *, words: int | None = None, certainty: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Of hidden states [M, D] and token ids [M]: log p(target), float32 [M], with gradients; and, where
        ``certainty`` asks for it, log p(target) - log Σ p², float32 [M], without (zeros elsewhere). A tile has
        ``words`` words of the vocabulary; None is what suits the device."""
        count = len(target)
        states = functional.pad(states, (0, 0, 0, round_up(count) - count))
        target = functional.pad(target, (0, round_up(count) - count))
        logp, certain = _TokenLogps.apply(
            states, self.weight, self.bias, target, words, self.factor, self.cap, certainty
        )
        return logp[:count], certain[:count]


class _TokenLogps(torch.autograd.Function):
    """(states [M, D], weight [V, D], bias [V] or None, target [M]) → (logp [M], certainty [M]), float32.

    The weight may be float32 under bfloat16 states: products are bfloat16, sums over tiles float32.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        words: int | None,
        factor: float,
        cap: float | None,
        certainty: bool,
    ) -> tuple[Tensor, Tensor]:
        lower = weight.to(states.dtype)
        tiles = list(_tiles(target, len(weight), words or _words(states)))
        # By tile and position: the largest logit, and the sums of exp(logit - largest) and of its square.
        top, total, squares = states.new_zeros(3, len(tiles), len(target), dtype=torch.float32)
        at_target = states.new_empty(len(target), dtype=torch.float32)
        room = KEPT_BYTES if any(ctx.needs_input_grad) and cap is None else 0
        kept: list[Tensor] = []
        for number, (part, rows, places) in enumerate(tiles):
            logits = _logits(states, lower, bias, part, factor, cap)
            at_target[rows] = logits[rows, places]
            # A tile of nothing but -inf adds nothing, where -inf less itself would add NaN.
            torch.amax(logits, 1, out=top[number]).clamp_(min=torch.finfo(torch.float32).min)
            shares = logits.sub_(top[number, :, None]).exp_()
            torch.sum(shares, 1, out=total[number])
            if certainty:
                squares[number] = shares.square().sum(1)
            if room >= (size := shares.numel() * states.element_size()):
                shares[rows, places] = 0.0
                kept.append(shares.to(states.dtype))
            room -= size
        normaliser = (top + total.log()).logsumexp(0)
        logp = at_target - normaliser
        certain = torch.zeros_like(logp)
        if certainty:
            certain = logp - (2 * top + squares.log()).logsumexp(0) + 2 * normaliser
        ctx.save_for_backward(states, weight, bias, target, logp, top, normaliser, *kept)
        ctx.tiles, ctx.options = tiles, (factor, cap)
        ctx.mark_non_differentiable(certain)
        return logp, certain

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, bias, target, logp, top, normaliser, *kept = ctx.saved_tensors
        factor, cap = ctx.options
        lower = weight.to(states.dtype)
        to_states = torch.zeros_like(states, dtype=torch.float32)
        to_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        to_bias = torch.empty_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        slope = slope * factor
        # d log p(target) / d logits = [token is target] - p. Near p = 1 the difference of the target itself would lose
        # its digits, and is taken from the log-prob, at the end.
        at_target = -slope * logp.expm1()
        for number, (part, rows, places) in enumerate(ctx.tiles):
            if number < len(kept):
                shares, scale = kept[number], (top[number] - normaliser).exp_().mul_(-slope)
            else:
                logits = _logits(states, lower, bias, part, factor, cap)
                slope_of_cap = None if cap is None else 1 - (logits / cap).square_()
                shares, scale = logits.sub_(normaliser[:, None]).exp_(), -slope
                if slope_of_cap is not None:
                    shares.mul_(slope_of_cap)
                    at_target[rows] *= slope_of_cap[rows, places]
                shares[rows, places] = 0.0
                shares = shares.to(states.dtype)
            scaled = (states * scale[:, None]).to(states.dtype)
            to_states.addcmul_(rows_by_columns(shares, lower[part]), scale[:, None])
            if to_weight is not None:
                to_weight[part] = columns_by_columns(shares, scaled)
            if to_bias is not None:
                to_bias[part] = torch.mv(shares.t().float(), scale)
        to_states.addcmul_(weight[target], at_target[:, None])
        if to_weight is not None:
            to_weight.index_add_(0, target, (states * at_target[:, None]).to(weight.dtype))
        if to_bias is not None:
            to_bias.index_add_(0, target, at_target.to(to_bias.dtype))
        return to_states.to(states.dtype), to_weight, to_bias, None, None, None, None, None


def _words(states: Tensor) -> int:
    """Of how many words a tile is, whole multiples."""
    logits = TILE_ON_GPU if states.is_cuda else TILE_ON_CPU
    return max(FEWEST_WORDS, logits // max(len(states), 1) // MULTIPLE * MULTIPLE)


def _tiles(target: Tensor, vocabulary: int, words: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """The vocabulary in tiles of so many words, each with the positions [T] whose target is in it, and the places [T]
    of those targets in the tile."""
    starts = range(0, vocabulary, words)
    ordered, order = target.sort()
    edges = torch.tensor(starts[1:], dtype=target.dtype, device=target.device)
    members = order.tensor_split(torch.searchsorted(ordered, edges).cpu())
    for start, rows in zip(starts, members, strict=True):
        yield slice(start, min(start + words, vocabulary)), rows, target[rows] - start


def _logits(
    states: Tensor, weight: Tensor, bias: Tensor | None, words: slice, factor: float, cap: float | None
) -> Tensor:
    """float32 [M, W] of some words, that may be written to."""
    logits = rows_by_rows(states, weight[words]).float()
    if bias is not None:
        logits += bias[words]
    if factor != 1.0:
        logits *= factor
    return logits if cap is None else torch.tanh(logits / cap) * cap
