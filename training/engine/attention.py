"""How attention is computed: SDPA tree by tree or with a boolean mask, or FlexAttention, which skips blocks that nobody
may see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from training.engine.batch import Batch, Part
from training.engine.errors import EngineError

FLEX = "flex_attention"
# Choosing queries costs two copies, which must not be more than what they save.
WORTH = 0.75
# Of a mask that stands for parts of a row, and of a layer of which only some rows are read (see `lastlayer`).
_PARTS, ROWS_READ = "parts_of_row", "rows_read"


class _Row(NamedTuple):
    """The parts of which keys and values are in the cache, and those of the row that is read."""

    before: Sequence[Part]
    parts: Sequence[Part]


def use_flex(model: Any, device: torch.device) -> None:
    """Has a transformers model compute its attention by FlexAttention (arXiv:2412.05496).

    EngineError on a CPU, where it has no backward pass, and for models that do not know it.
    """
    if device.type == "cpu":
        message = "FlexAttention has no backward pass on a CPU. Set attention to 'sdpa'."
        raise EngineError(message, field="config.attention")
    try:
        model.set_attn_implementation(FLEX)
    except (ValueError, ImportError) as error:
        raise EngineError(
            f"Models of type {model.config.model_type!r} do not know FlexAttention ({error}). Set attention to 'sdpa'.",
            field="config.attention",
        ) from error


def mask_for(config: Any, batch: Batch) -> Any:
    """The batch's mask in the form that a model of this configuration takes; None where its own causal one will do,
    with which SDPA leaves out what nobody sees."""
    if batch.layout == "tree":
        return mask_of_parts(batch.parts, batch.input_ids.device)
    if batch.layout != "packed" or config._attn_implementation != FLEX:
        return None if batch.causal else batch.attention_mask
    from torch.nn.attention.flex_attention import create_block_mask

    visible = batch.attention_mask
    assert visible is not None
    rows, _, width, _ = visible.shape

    def sees(row: Any, head: Any, query: Any, key: Any) -> Any:
        return visible[row, 0, query, key]

    return create_block_mask(sees, rows, None, width, width, device=str(visible.device))


def mask_of_parts(parts: Sequence[Part], device: torch.device, *, before: Sequence[Part] = ()) -> Tensor:
    """What stands for the parts of a row; ``before`` are those of a row whose keys and values are in the cache.

    Models hand it on to attention as it is, like every mask of four dimensions.
    """
    mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)
    setattr(mask, _PARTS, _Row(before, parts))
    return mask


def _sdpa(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """transformers' SDPA [R, T, H, D] of queries, keys and values [R, H, T, D], which also knows rows of parts and
    layers of which little is read."""
    parts, rows = getattr(attention_mask, _PARTS, None), getattr(module, ROWS_READ, None)
    if parts is not None:
        return _by_parts(module, query, key, value, parts, rows, **options), None
    if rows is not None:
        return _where_read(module, query, key, value, attention_mask, rows, **options), None
    found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return found


def _by_parts(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    row: _Row,
    rows: Tensor | None,
    **options: Any,
) -> Tensor:
    """[1, T, H, D] of one row, part by part; of queries at ``rows`` only, and zeros elsewhere, where rows are given."""
    dtype = query.dtype
    if dtype == torch.bfloat16 and query.device.type == "cpu":
        # SDPA's backward pass takes twice as long in bfloat16 as in float32 there, up to five times on short parts.
        query, key, value = query.float(), key.float(), value.float()
    before, parts = row
    sizes = [part.size for part in parts]
    masks = [part.mask for part in parts]
    counts = sizes
    if rows is not None:
        ends = torch.tensor(sizes, device=rows.device).cumsum(0)
        owner = torch.bucketize(rows, ends, right=True)
        counts = owner.bincount(minlength=len(parts)).tolist()
        places = (rows - (ends - torch.tensor(sizes, device=rows.device))[owner]).split(counts)
        masks = [_rows_of(part, place) for part, place in zip(parts, places, strict=True)]
        query = query.index_select(2, rows)
    kept = [part.size for part in (*before, *parts)]
    keys, values = key.split(kept, 2), value.split(kept, 2)
    found = []
    for number, (part, queries, mask) in enumerate(zip(parts, query.split(counts, 2), masks, strict=True), len(before)):
        if queries.shape[2]:
            seen = [_seen(pieces, number, part) for pieces in (keys, values)]
            output, _ = sdpa_attention_forward(module, queries, *seen, mask, **options)
            found.append(output)
    output = torch.cat(found, 1).to(dtype)
    return output if rows is None else spread(output[0], rows, (1, sum(sizes)))


def _seen(pieces: Sequence[Tensor], number: int, part: Part) -> Tensor:
    """Keys or values [1, H, (P +) S, D] that a part sees of those of all parts."""
    if part.behind is None:
        return pieces[number]
    first, length = part.behind
    whole = pieces[first]
    return torch.cat((whole if length == whole.shape[2] else whole[:, :, :length], pieces[number]), 2)


def _rows_of(part: Part, places: Tensor) -> Tensor:
    """The mask of the queries at ``places`` of a part, bool [1, 1, Q, (P +) S]."""
    if part.mask is None:
        return (torch.arange(part.size, device=places.device) <= places[:, None])[None, None]
    return part.mask.index_select(2, places)


def _where_read(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    rows: Tensor,
    **options: Any,
) -> Tensor:
    """[R, T, H, D] of the queries at the flat ``rows``, and zeros elsewhere; of all where that is no more work, or
    where what a query may see is not told by one mask for all heads."""
    width = query.shape[2]
    counts = (rows // width).bincount(minlength=len(query))
    most = int(counts.max())
    alike = getattr(module, "is_causal", True) if attention_mask is None else attention_mask.shape[1] == 1
    if most > WORTH * width or not alike or options.get("position_bias") is not None:
        everywhere, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return everywhere
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
    return spread(output[real], rows, (len(query), width))


def spread(values: Tensor, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """What belongs to the flat ``rows`` of ``shape`` at its place, and zeros elsewhere."""
    whole = values.new_zeros(shape[0] * shape[1], *values.shape[1:])
    return whole.index_copy(0, rows, values).unflatten(0, shape)


AttentionInterface.register("sdpa", _sdpa)
