"""Batches of prompt trees, and the plan that deals trees out to optimiser steps and micro-batches.

Layout ``tree``: a row holds the prompt once and its completions side by side, several trees to a row; a boolean 4D mask
lets every completion see its prompt and itself only, and positions restart at the prompt's end. Layout ``padded``: a row
is one prompt with one completion. Both give the same numbers.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from training.engine.trees import PromptTree

Layout = Literal["tree", "padded"]


@dataclass(frozen=True, slots=True)
class Batch:
    """R rows of T tokens that hold N completions of G trees, M completion tokens in all.

    ``attention_mask`` is bool [R, 1, T, T] (layout ``tree``) or long [R, T] (``padded``). Completions are numbered tree by tree
    in the order given, so a batch of pairs has its chosen ones at ``0::2``. Indices are flat over R·T: ``source[m]`` is the
    position whose hidden state predicts ``target[m]``; ``last[n]`` is the last token of completion n.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    source: Tensor
    target: Tensor
    completion: Tensor
    length: Tensor
    last: Tensor
    group: Tensor
    layout: Layout
    trees: tuple[PromptTree, ...]
    tokens: int
    padding: int


def make_batch(
    trees: Sequence[PromptTree], *, layout: Layout, pad_id: int, device: torch.device | str = "cpu"
) -> Batch:
    """One batch of all ``trees``; in layout ``tree`` short trees share rows as long as the longest tree."""
    raise NotImplementedError


def plan_steps(
    trees: Sequence[PromptTree], *, layout: Layout, batch_size: int, token_budget: int, seed: int, epoch: int
) -> list[list[list[int]]]:
    """Optimiser steps → micro-batches → indices into ``trees``; a pure function of its arguments."""
    raise NotImplementedError
