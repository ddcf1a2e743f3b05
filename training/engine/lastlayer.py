"""The last layer's feed-forward block, computed only where somebody reads what comes out of it.

Behind the last attention every position is on its own, and nobody looks at most of them: of a policy the positions that
predict a completion are read, of a reward model one per completion. The numbers are the same; what is saved is the
block's share of one layer, which is much for a model of few layers and little for one of many.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def read_only_at(backbone: Any, rows: Tensor) -> Iterator[None]:
    """Within, the hidden states [R, T, D] of a transformers backbone hold at ``rows`` only, unique flat indices over
    R·T, and are unfinished elsewhere. Nothing is changed for backbones whose last block is not known to treat every
    position alike, or whose layers are compiled or computed again in the backward pass."""
    block = _last_block(backbone)
    if block is None:
        yield
        return
    everywhere = block.forward

    def forward(states: Tensor) -> Tensor:
        flat = states.reshape(-1, states.shape[-1])
        read: Tensor = everywhere(flat.index_select(0, rows))
        return flat.new_zeros(flat.shape, dtype=read.dtype).index_copy(0, rows, read).view_as(states)

    block.forward = forward
    try:
        yield
    finally:
        del block.forward


def _last_block(backbone: Any) -> nn.Module | None:
    layers = getattr(backbone, "layers", None)
    if not layers or backbone._compiled_call_impl is not None:
        return None
    last = layers[-1]
    if getattr(last, "gradient_checkpointing", False) and last.training:
        return None
    block = getattr(last, "mlp", None)
    # Mixtures of experts look at all positions together, and are not called so.
    return block if isinstance(block, nn.Module) and type(block).__name__.endswith("MLP") else None
