"""Further completions behind prompts that have just been read, which are not read again.

KTO measures its baseline on answers to other prompts. Where a whole step is one batch, those are read behind the keys
and values of the step's own pass, so that every prompt is read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from training.engine.attention import mask_of_parts
from training.engine.batch import Batch, Part, behind, filled, filling, make_batch, round_up
from training.engine.lastlayer import read_only_at
from training.engine.losses.scores import Scores
from training.engine.projection import Projection
from training.engine.scorer import causal_model, score, scores_and_states
from training.engine.trees import PromptTree


@dataclass(frozen=True)
class Continuation:
    """A row of completions, each behind the prompt of a tree of a batch of layout ``tree``; see ``Batch``.

    ``source`` counts the positions of the batch first and then those of this row; ``read`` those of this row only.
    """

    input_ids: Tensor
    position_ids: Tensor
    parts: tuple[Part, ...]
    source: Tensor
    read: Tensor
    target: Tensor
    length: Tensor


def make_continuation(batch: Batch, others: Sequence[PromptTree | None], *, pad_id: int) -> Continuation:
    """The row of the completions of ``others``, one for each tree of the batch or None, which has the same prompt.

    Trees of the batch have one completion each, so that its parts are its trees. ValueError for others.
    """
    if batch.layout != "tree" or any(len(tree.completions) != 1 for tree in (*batch.trees, *filter(None, others))):
        raise ValueError("completions can be read behind trees of one completion only, in layout 'tree'")
    ids: list[int] = []
    positions: list[int] = []
    source: list[int] = []
    parts: list[Part] = []
    start, width = 0, batch.input_ids.numel()
    for number, (tree, other) in enumerate(zip(batch.trees, others, strict=True)):
        if other is not None:
            (tokens,) = other.completions
            first, after = width + len(ids), len(tree.prompt)
            source += [start + after - 1, *range(first, first + len(tokens) - 1)]
            ids += tokens
            positions += range(after, after + len(tokens))
            parts.append(behind((number, after), len(tokens)).to(batch.input_ids.device))
        start += tree.size
    whole = round_up(len(ids))
    rest = [0] * (whole - len(ids))
    long = partial(torch.tensor, dtype=torch.long, device=batch.input_ids.device)
    return Continuation(
        input_ids=long([ids + [pad_id for _ in rest]]),
        position_ids=long([positions + rest]),
        parts=(*parts, *filling(parts, whole)),
        source=long(source),
        read=long(filled([place - width for place in source if place >= width], whole)),
        target=long(ids),
        length=long([part.size for part in parts]),
    )


def score_and_continue(
    model: nn.Module,
    batch: Batch,
    others: Sequence[PromptTree | None],
    *,
    pad_id: int,
    reference: Tensor | None = None,
    extras: frozenset[str] = frozenset(),
    words: int | None = None,
) -> tuple[Scores, Tensor]:
    """What ``score`` gives for the batch and, without gradients, the summed log-probs of the completions of ``others``
    behind the same prompts, float32 [O]; None among others stands for nothing."""
    if not any(others):
        return score(model, batch, reference=reference, extras=extras, words=words), torch.zeros(0)
    policy = causal_model(model)
    cache = DynamicCache(config=policy.config)
    scores, states = scores_and_states(
        model, batch, reference=reference, extras=extras, words=words, past_key_values=cache
    )
    more = make_continuation(batch, others, pad_id=pad_id)
    with torch.no_grad():
        with read_only_at(policy.base_model, more.read):
            further: Tensor = policy.base_model(
                input_ids=more.input_ids,
                attention_mask=mask_of_parts(more.parts, more.input_ids.device, before=batch.parts),
                position_ids=more.position_ids,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
        sources = torch.cat((states.detach(), further[0])).index_select(0, more.source)
        tokens, _ = Projection(policy).logps(sources, more.target, words=words)
    return scores, torch.stack([part.sum() for part in tokens.split(more.length.tolist())])


def continues(model: nn.Module, *, pad_id: int) -> bool:
    """Whether the model can read on behind its keys and values with equal numbers, tried on a few tokens. Layers that
    are recomputed keep none, and compiled ones would be compiled once more."""
    policy: Any = causal_model(model)
    recomputed = any(getattr(layer, "gradient_checkpointing", False) for layer in policy.modules())
    if recomputed or policy.base_model._compiled_call_impl is not None:
        return False
    own = PromptTree(0, (5, 4, 7), ((6, 4, 5),), {})
    other = PromptTree(0, (5, 4, 7), ((7, 6, 4, 4),), {})
    device = next(model.parameters()).device
    batch, alone = (make_batch([tree], layout="tree", pad_id=pad_id, device=device) for tree in (own, other))
    try:
        with torch.no_grad():
            _, found = score_and_continue(model, batch, [other], pad_id=pad_id)
            expected = score(model, alone).logp
    except (TypeError, ValueError, RuntimeError, AttributeError):  # a forward pass that keeps nothing, or other things
        return False
    return torch.allclose(found, expected, atol=1e-3, rtol=1e-3)
