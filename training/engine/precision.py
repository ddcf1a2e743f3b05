"""bfloat16 arithmetic over float32 weights.

A pass sees bfloat16 copies of the weights, made once, and every layer computes in bfloat16 (but for the attention of
trees on a CPU, see `attention`); gradients arrive at the float32 weights, and the optimiser never sees anything else,
so updates too small for bfloat16 are kept. Autocast comes to the same numbers but casts at every operation, which costs
more on a CPU than bfloat16 gains.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies in bfloat16; a CPU without AVX-512 was 28 times slower than in float32."""
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


@contextmanager
def bfloat16_weights(model: nn.Module, *, enabled: bool = True) -> Iterator[None]:
    """Within, forward and backward passes of a transformers model (or a reward model's backbone) run in bfloat16.

    The backward pass belongs inside too, for layers that are recomputed. What the vocabulary projection and a reward
    head compute is their own affair: they keep float32 weights. Embeddings stay float32 and their output is rounded.
    """
    if not enabled:
        yield
        return
    float32 = _stay_float32(model)
    swapped: list[tuple[nn.Module, str, nn.Parameter]] = []
    casts: dict[nn.Parameter, Tensor] = {}
    hooks = []
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            hooks.append(module.register_forward_hook(_round))
        elif module not in float32:
            for name, parameter in module._parameters.items():
                if parameter is not None and parameter.dtype == torch.float32:
                    swapped.append((module, name, parameter))
    try:
        for module, name, parameter in swapped:
            if parameter not in casts:
                casts[parameter] = parameter.to(torch.bfloat16)
            # As torch.func.functional_call does it: a tensor with a graph in the place of a parameter.
            module._parameters[name] = casts[parameter]  # type: ignore[assignment]
        yield
    finally:
        for module, name, parameter in swapped:
            module._parameters[name] = parameter
        for hook in hooks:
            hook.remove()


def _stay_float32(model: nn.Module) -> set[nn.Module]:
    """The modules whose weights are read as they are: the vocabulary projection, and everything of a reward model that
    is not its backbone."""
    backbone: Any = getattr(model, "backbone", None)
    if backbone is not None:
        return set(model.modules()) - set(backbone.modules())
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None  # type: ignore[operator]
    return set() if head is None else {head}


def _round(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.to(torch.bfloat16)
