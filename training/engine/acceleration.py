"""What trades memory for time, and preparation for speed; neither changes what is computed."""

from __future__ import annotations

import ctypes
import shutil
import sys
from typing import Any

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from training.engine.errors import EngineError

# Of <malloc.h>: when the top of the heap goes back to the system, how many blocks may be mapped by themselves.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Has glibc keep what this process frees, for the next pass to take.

    Otherwise every block of more than 32 MiB (logits, packed masks) comes from the system and goes back to it, and its
    pages are zeroed each time: 6 % of a DPO run on two cores. Does nothing where the C library is another one.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)


def recompute_layers(model: Any) -> None:
    """Gradient checkpointing (arXiv:1604.06174): a layer's activations are made again in the backward pass.

    EngineError for a transformers model that cannot do it. Passes without gradients are as before.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)]
    if not model.supports_gradient_checkpointing or not layers:
        raise EngineError(
            f"Models of type {model.config.model_type!r} cannot recompute their layers. Set gradient_checkpointing to "
            "false, and lower token_budget to save memory.",
            field="config.gradient_checkpointing",
        )
    model.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
    for layer in layers:
        # Layers look at this flag alone; the parts below stay in evaluation mode, without any randomness.
        layer.training = True


def compile_layers(model: nn.Module) -> None:
    """torch.compile of the layers below the vocabulary projection, for lengths that vary.

    On a CPU steps got 8 to 12 % faster after 30 to 60 seconds of compiling on one processor, slower on another.
    EngineError where there is no compiler.
    """
    if not torch.cuda.is_available() and not any(shutil.which(name) for name in ("g++", "clang++")):
        raise EngineError("There is no C++ compiler here. Set compile to false.", field="config.compile")
    backbone: Any = model.base_model
    backbone.compile(dynamic=True)
