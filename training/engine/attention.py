"""How attention is computed: SDPA with a boolean mask, or FlexAttention, which skips blocks that nobody may see."""

from __future__ import annotations

from typing import Any

import torch

from training.engine.batch import Batch
from training.engine.errors import EngineError

FLEX = "flex_attention"


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
    if batch.layout != "tree" or config._attn_implementation != FLEX:
        return None if batch.causal else batch.attention_mask
    from torch.nn.attention.flex_attention import create_block_mask

    visible = batch.attention_mask
    rows, _, width, _ = visible.shape

    def sees(row: Any, head: Any, query: Any, key: Any) -> Any:
        return visible[row, 0, query, key]

    return create_block_mask(sees, rows, None, width, width, device=str(visible.device))
