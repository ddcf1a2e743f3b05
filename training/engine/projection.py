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
        found: tuple[Tensor, Tensor] = _TokenLogps.apply(
            states, self.weight, self.bias, target, chunk, self.factor, self.cap, certainty
        )
        return found


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
        normaliser, certain = torch.empty_like(logp), torch.zeros_like(logp)
        kept: list[Tensor] = []
        room = KEPT_BYTES if any(ctx.needs_input_grad) and cap is None else 0
        for part in _parts(target.numel(), chunk):
            logits = _logits(states[part], lower, bias, factor, cap)
            top = logits.amax(1, keepdim=True)
            at_target = logits.gather(1, target[part, None])[:, 0]
            shares = logits.sub_(top).exp_()
            total = shares.sum(1)
            normaliser[part] = top[:, 0] + total.log()
            logp[part] = at_target - normaliser[part]
            if certainty:
                certain[part] = logp[part] - shares.square().sum(1).log() + 2 * total.log()
            room -= shares.numel() * states.element_size()
            if room >= 0:
                kept.append(shares.div_(total[:, None]).to(states.dtype))
        ctx.save_for_backward(states, weight, bias, target, logp, normaliser, *kept)
        ctx.options = chunk, factor, cap
        ctx.mark_non_differentiable(certain)
        return logp, certain

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, bias, target, logp, normaliser, *kept = ctx.saved_tensors
        chunk, factor, cap = ctx.options
        lower = weight.to(states.dtype)
        to_states = torch.empty_like(states)
        to_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        to_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        for number, part in enumerate(_parts(target.numel(), chunk)):
            pull = slope[part, None] * factor
            logits = None
            if number < len(kept):
                shares = kept[number]
            else:
                logits = _logits(states[part], lower, bias, factor, cap)
                shares = (logits - normaliser[part, None]).exp_()
            # d log p(target) / d logits = [token is target] - p, of which 1 - p(target) loses its digits near p = 1.
            shares.mul_(-pull.to(shares.dtype))
            shares.scatter_(1, target[part, None], (-pull * logp[part, None].expm1()).to(shares.dtype))
            if cap is not None and logits is not None:
                shares.mul_(1 - (logits / cap).square_())
            shares = shares.to(states.dtype)
            torch.mm(shares, lower, out=to_states[part])
            if to_weight is not None and to_weight.dtype == shares.dtype:
                to_weight.addmm_(shares.t(), states[part])
            elif to_weight is not None:
                to_weight.add_(torch.mm(shares.t(), states[part]))
            if to_bias is not None:
                to_bias.add_(shares.sum(0))
        return to_states, to_weight, to_bias, None, None, None, None, None


def _parts(count: int, chunk: int) -> Iterator[slice]:
    return (slice(start, min(start + chunk, count)) for start in range(0, count, chunk))


def _logits(states: Tensor, weight: Tensor, bias: Tensor | None, factor: float, cap: float | None) -> Tensor:
    """float32 [C, V], a tensor of its own that may be written to."""
    logits = torch.mm(states, weight.t()).float()
    if bias is not None:
        logits += bias
    if factor != 1.0:
        logits *= factor
    return logits if cap is None else torch.tanh(logits / cap) * cap
