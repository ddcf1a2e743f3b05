"""The last layer, computed only where somebody reads what comes out of it.

Of the last layer every position is needed as a key and a value, but nobody looks at most of the outcomes: of a policy
the positions that predict a completion are read, of a reward model one per completion. Queries, what is made of them
and the feed-forward block are left out elsewhere. The numbers are the same; what is saved is much for a model of few
layers and little for one of many.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "sdpa_where_read"
# Choosing queries costs two copies, which must not be more than what they save.
WORTH = 0.75
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
    config = getattr(attention, "config", None)
    by_sdpa = getattr(config, "_attn_implementation", None) == "sdpa"
    if by_sdpa:
        # Of this layer alone: all of them look into one configuration.
        attention.config = copy.copy(config)
        attention.config._attn_implementation = NAME
        attention.rows_read = rows
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
        if by_sdpa:
            attention.config = config
            del attention.rows_read


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
        return _spread(read, rows, states.shape[:-1])

    return forward


def _attend_where_read(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """SDPA [R, T, H, D] of queries, keys and values [R, H, T, D] for the queries at ``module.rows_read``; for all where
    that is no more work, or where what a query may see is not told by one mask for all heads."""
    rows, width = module.rows_read, query.shape[2]
    counts = (rows // width).bincount(minlength=len(query))
    most = int(counts.max())
    alike = getattr(module, "is_causal", True) if attention_mask is None else attention_mask.shape[1] == 1
    if most > WORTH * width or not alike or options.get("position_bias") is not None:
        found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return found
    # As many queries of every row; a row with fewer repeats its first position, which is passed over in the end.
    real = torch.arange(most, device=rows.device) < counts[:, None]
    chosen = (torch.arange(len(query), device=rows.device) * width)[:, None].repeat(1, most)
    chosen[real] = rows
    flat = chosen.flatten()
    queries = query.transpose(1, 2).flatten(0, 1).index_select(0, flat).unflatten(0, chosen.shape).transpose(1, 2)
    if attention_mask is None:
        visible = torch.arange(width, device=rows.device) <= (flat % width)[:, None]
    else:
        visible = attention_mask.expand(len(query), -1, -1, -1).flatten(0, 2).index_select(0, flat)
    visible = visible.unflatten(0, chosen.shape)[:, None]
    output, _ = sdpa_attention_forward(module, queries, key, value, visible, **options)
    return _spread(output[real], rows, (len(query), width)), None


def _spread(values: Tensor, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """What belongs to the flat ``rows`` of ``shape`` at its place, and zeros elsewhere."""
    whole = values.new_zeros(shape[0] * shape[1], *values.shape[1:])
    return whole.index_copy(0, rows, values).unflatten(0, shape)


AttentionInterface.register(NAME, _attend_where_read)
