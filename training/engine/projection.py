"""Log-probs of given tokens from hidden states, without keeping the logits of the whole vocabulary.

Logits exist for ``chunk`` positions at a time. The softmax of the first ones is kept for the backward pass as far as
``KEPT_BYTES`` reach; beyond, logits are made again there. Forward and backward are written by hand because automatic
differentiation of gather and logsumexp passes over chunk × vocabulary four times as often.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from training.engine.batch import round_up

KEPT_BYTES = 128 << 20


class Projection:
    """The vocabulary projection of a causal model: scaled (Granite, Cohere) and soft-capped (Gemma) as it does it."""

    def __init__(self, policy: Any) -> None:
        head: Any = policy.get_output_embeddings()
        config = policy.config
        self.weight: Tensor = head.weight
        self.bias: Tensor | None = getattr(head, "bias", None)
        self.factor = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
        self.cap: float | None = getattr(config, "final_logit_softcapping", None)

    def logps(self, states: Tensor, target: Tensor, *, chunk: int, certainty: bool = False) -> tuple[Tensor, Tensor]:
        """Of hidden states [M, D] and token ids [M]: log p(target), float32 [M], with gradients; and, where
        ``certainty`` asks for it, log p(target) - log Σ p², float32 [M], without (zeros elsewhere)."""
        count = len(target)
        if states.dtype == torch.bfloat16:
            states = functional.pad(states, (0, 0, 0, round_up(count) - count))
            target = functional.pad(target, (0, round_up(count) - count))
        logp, certain = _TokenLogps.apply(
            states, self.weight, self.bias, target, chunk, self.factor, self.cap, certainty
        )
        return logp[:count], certain[:count]


class _TokenLogps(torch.autograd.Function):
    """(states [M, D], weight [V, D], bias [V] or None, target [M]) → (logp [M], certainty [M]), float32.

    The weight may be float32 under bfloat16 states: products are bfloat16, its gradient is summed up in float32.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        chunk: int,
        factor: float,
        cap: float | None,
        certainty: bool,
    ) -> tuple[Tensor, Tensor]:
        lower = weight.to(states.dtype)
        logp = states.new_empty(target.numel(), dtype=torch.float32)
        total, normaliser, certain = torch.empty_like(logp), torch.empty_like(logp), torch.zeros_like(logp)
        keeps = any(ctx.needs_input_grad) and cap is None
        kept = states.new_empty(_kept_rows(states, weight, chunk) if keeps else 0, len(weight))
        for part in _parts(0, target.numel(), chunk):
            place = kept[part] if part.stop <= len(kept) else None
            logits = _logits(states[part], lower, bias, factor, cap, place)
            top = logits.amax(1, keepdim=True)
            at_target = logits.gather(1, target[part, None])[:, 0]
            shares = logits.sub_(top).exp_()
            total[part] = shares.sum(1)
            normaliser[part] = top[:, 0] + total[part].log()
            logp[part] = at_target - normaliser[part]
            if certainty:
                certain[part] = logp[part] - shares.square().sum(1).log() + 2 * total[part].log()
            if place is not None and place.dtype != shares.dtype:
                place.copy_(shares)
        ctx.save_for_backward(states, weight, bias, target, logp, total, normaliser, kept)
        ctx.options = chunk, factor, cap
        ctx.mark_non_differentiable(certain)
        return logp, certain

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, bias, target, logp, total, normaliser, kept = ctx.saved_tensors
        chunk, factor, cap = ctx.options
        lower = weight.to(states.dtype)
        to_states = torch.empty_like(states)
        to_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        to_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        # d log p(target) / d logits = [token is target] - p, of which 1 - p(target) loses its digits near p = 1. It is
        # left as it is in size, times `total` where the softmax was kept; states and their gradients are scaled.
        at_target = logp.expm1()
        for part in (slice(0, len(kept)), *_parts(len(kept), target.numel(), chunk)):
            scale = slope[part, None] * -factor
            if part.stop <= len(kept):
                shares, at_target[part], scale = kept, at_target[part] * total[part], scale / total[part, None]
            else:
                logits = _logits(states[part], lower, bias, factor, cap)
                shares = (logits if cap is None else logits.clone()).sub_(normaliser[part, None]).exp_()
                if cap is not None:
                    slope_of_cap = 1 - (logits / cap).square_()
                    shares.mul_(slope_of_cap)
                    at_target[part] *= slope_of_cap.gather(1, target[part, None])[:, 0]
                shares = shares.to(states.dtype)
            # By index: scatter_ copies the whole of a bfloat16 tensor, twice.
            shares[torch.arange(len(shares), device=target.device), target[part]] = at_target[part].to(shares.dtype)
            scale = scale.to(states.dtype)
            torch.mm(shares, lower, out=to_states[part]).mul_(scale)
            if to_weight is not None:
                _add_product(to_weight, shares.t(), states[part] * scale)
            if to_bias is not None:
                to_bias += torch.mm(shares.t(), scale)[:, 0]
        return to_states, to_weight, to_bias, None, None, None, None, None


def _kept_rows(states: Tensor, weight: Tensor, chunk: int) -> int:
    """Of how many positions, whole chunks but for the last, the softmax is kept."""
    room = KEPT_BYTES // (len(weight) * states.element_size())
    return len(states) if len(states) <= room else room // chunk * chunk


def _add_product(to: Tensor, left: Tensor, right: Tensor) -> None:
    """Adds left @ right to a tensor that may have more digits."""
    if to.dtype == left.dtype:
        to.addmm_(left, right)
    else:
        to.add_(torch.mm(left, right))


def _parts(start: int, stop: int, chunk: int) -> Iterator[slice]:
    return (slice(first, min(first + chunk, stop)) for first in range(start, stop, chunk))


def _logits(
    states: Tensor, weight: Tensor, bias: Tensor | None, factor: float, cap: float | None, place: Tensor | None = None
) -> Tensor:
    """float32 [C, V] that may be written to, in ``place`` if that is float32."""
    logits = torch.mm(states, weight.t(), out=place).float()
    if bias is not None:
        logits += bias
    if factor != 1.0:
        logits *= factor
    return logits if cap is None else torch.tanh(logits / cap) * cap
