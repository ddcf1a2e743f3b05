"""The last layer, computed only where somebody reads what comes out of it.

Of the last layer every position is needed as a key and a value, but nobody looks at most of the outcomes: of a policy
the positions that predict a completion are read, of a reward model one per completion. Queries, what is made of them
and the feed-forward block are left out elsewhere. The numbers are the same; what is saved is much for a model of few
layers and little for one of many.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from training.engine.attention import ROWS_READ, spread

# Beside its feed-forward block, a layer that can be narrowed is made of these.
_PART = re.compile(r"(Attention|Norm\w*|Dropout|Identity)$")


@contextmanager
def read_only_at(backbone: Any, rows: Tensor) -> Iterator[None]:
    """Within, the hidden states [R, T, D] of a transformers backbone hold at ``rows`` only, unique flat indices over
    R·T, and are unfinished elsewhere. Nothing is changed for backbones whose last layer is not known to treat every
    position alike, or whose layers are compiled or computed again in the backward pass."""
    last = _last_layer(backbone)
    if last is None:
        yield
        return
    rows = rows.sort().values
    attention: Any = getattr(last, "self_attn", None)
    blocks = [last.mlp, *(getattr(attention, name) for name in ("q_proj", "o_proj") if hasattr(attention, name))]
    for block in blocks:
        block.forward = _narrowed(block.forward, rows)
    if attention is not None:
        setattr(attention, ROWS_READ, rows)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
        if attention is not None:
            delattr(attention, ROWS_READ)


def _last_layer(backbone: Any) -> Any:
    layers = getattr(backbone, "layers", None)
    if not layers or backbone._compiled_call_impl is not None:
        return None
    last = layers[-1]
    if getattr(last, "gradient_checkpointing", False) and last.training:
        return None
    block = getattr(last, "mlp", None)
    # Mixtures of experts look at all positions together, and further parts may divide by what is zero here.
    plain = isinstance(block, nn.Module) and type(block).__name__.endswith("MLP") and not hasattr(block, "experts")
    return last if plain and all(one is block or _PART.search(type(one).__name__) for one in last.children()) else None


def _narrowed(everywhere: Any, rows: Tensor) -> Any:
    """The forward pass of a block that treats every position alike, at ``rows``; zeros elsewhere."""

    def forward(states: Tensor) -> Tensor:
        read: Tensor = everywhere(states.reshape(-1, states.shape[-1]).index_select(0, rows))
        return spread(read, rows, states.shape[:-1])

    return forward
