"""Batches of prompt trees, and the plan that deals trees out to optimiser steps and micro-batches.

Layout ``tree``: a row holds the prompt once and its completions side by side, several trees to a row; a boolean 4D
mask lets every completion see its prompt and itself only, and positions restart at the prompt's end. Layout
``padded``: a row is one prompt with one completion. Both give the same numbers.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from training.engine.trees import PromptTree

Layout = Literal["tree", "padded"]

PADDING = 0.1  # share of padding in a micro-batch
FREE_PADDING = 64  # positions of padding that cost less than another pass


@dataclass(frozen=True, slots=True)
class Batch:
    """R rows of T tokens that hold N completions of G trees, M completion tokens in all.

    ``attention_mask`` is bool [R, 1, T, T] (layout ``tree``) or long [R, T] (``padded``); ``causal`` says that a tree's
    mask hides nothing but what is later, as every row has one completion behind its prompt. Completions are numbered
    tree by tree in the order given, so a batch of pairs has its chosen ones at ``0::2``. Indices are flat over R·T:
    ``source[m]`` is the position whose hidden state predicts ``target[m]``, ``read`` has each of them once;
    ``last[n]`` is the last token of completion n.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    causal: bool
    source: Tensor
    read: Tensor
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
    """One batch of all ``trees``; in layout ``tree`` short trees share rows that are as long as the longest tree."""
    if layout == "tree":
        return _tree_batch(trees, pad_id, device)
    return _padded_batch(trees, pad_id, device)


def plan_steps(
    trees: Sequence[PromptTree],
    *,
    layout: Layout,
    batch_size: int,
    token_budget: int,
    seed: int,
    epoch: int,
    padding: float = PADDING,
) -> list[list[list[int]]]:
    """Optimiser steps → micro-batches → indices into ``trees``; a pure function of its arguments.

    Steps of ``batch_size`` trees are cut from a permutation drawn from (seed, epoch). Inside a step, trees are
    sorted by length and grouped so that a micro-batch takes at most ``token_budget`` positions, padding included (a
    tree that is larger than the budget gets one of its own), and little padding (see ``micro_batches``). A last step
    of a single tree joins the step before it, because a method that compares trees (KTO) can learn nothing from one.
    """
    order = list(range(len(trees)))
    random.Random(f"plan:{seed}:{epoch}").shuffle(order)  # noqa: S311 - an order, not a secret
    steps = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if len(steps) > 1 and batch_size > 1 and len(steps[-1]) == 1:
        steps[-2].extend(steps.pop())
    return [micro_batches(trees, step, layout=layout, token_budget=token_budget, padding=padding) for step in steps]


def micro_batches(
    trees: Sequence[PromptTree],
    indices: Sequence[int],
    *,
    layout: Layout,
    token_budget: int,
    padding: float = PADDING,
) -> list[list[int]]:
    """``indices`` in groups of similar length, longest first, that take at most ``token_budget`` positions each.

    A group also ends where its padding would exceed the share ``padding`` of its positions (``FREE_PADDING`` positions
    are always allowed): on a CPU another pass costs less than computing on padding.
    """
    length = (lambda index: trees[index].size) if layout == "tree" else (lambda index: trees[index].depth)
    groups: list[list[int]] = []
    for index in sorted(indices, key=lambda index: (-length(index), index)):
        joined = [trees[other] for other in (*groups[-1], index)] if groups else []
        if joined and _fits(joined, layout, token_budget, padding):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _fits(trees: Sequence[PromptTree], layout: Layout, token_budget: int, padding: float) -> bool:
    positions = _positions(trees, layout)
    if positions > token_budget:
        return False
    empty = positions - sum(tree.size if layout == "tree" else _padded_tokens(tree) for tree in trees)
    return empty <= max(FREE_PADDING, padding * positions)


def _padded_tokens(tree: PromptTree) -> int:
    """Tokens of a tree whose prompt is repeated for every completion."""
    return tree.size + len(tree.prompt) * (len(tree.completions) - 1)


def _positions(trees: Sequence[PromptTree], layout: Layout) -> int:
    """R·T of the batch that ``trees`` would make."""
    if layout == "padded":
        return sum(len(tree.completions) for tree in trees) * max(tree.depth for tree in trees)
    return len(_fit([tree.size for tree in trees])) * max(tree.size for tree in trees)


def _fit(sizes: Sequence[int]) -> list[list[int]]:
    """First-fit decreasing: which trees share a row, for rows as long as the largest tree."""
    width = max(sizes)
    rows: list[list[int]] = []
    free: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda index: (-sizes[index], index)):
        row = next((row for row, space in enumerate(free) if space >= sizes[index]), len(rows))
        if row == len(rows):
            rows.append([])
            free.append(width)
        rows[row].append(index)
        free[row] -= sizes[index]
    return rows


class _Builder:
    """Collects rows and the flat indices of completions, then turns them into tensors."""

    def __init__(self, rows: int, width: int, pad_id: int, count: int) -> None:
        self.width = width
        self.ids = [[pad_id] * width for _ in range(rows)]
        self.positions = [[0] * width for _ in range(rows)]
        self.tree = [[-1] * width for _ in range(rows)]
        self.segment = [[0] * width for _ in range(rows)]
        self.spans: list[tuple[int, int, tuple[int, ...]]] = [(0, 0, ())] * count

    def put(self, row: int, start: int, tokens: Sequence[int], *, position: int, tree: int, segment: int) -> None:
        """Writes ``tokens`` into ``row`` from ``start`` on, with positions counted from ``position``."""
        stop = start + len(tokens)
        self.ids[row][start:stop] = tokens
        self.positions[row][start:stop] = range(position, position + len(tokens))
        self.tree[row][start:stop] = [tree] * len(tokens)
        self.segment[row][start:stop] = [segment] * len(tokens)

    def completion(self, number: int, row: int, prompt_end: int, start: int, tokens: tuple[int, ...]) -> None:
        """Notes where completion ``number`` lies; ``prompt_end`` is the column behind its prompt."""
        self.spans[number] = (row * self.width + prompt_end - 1, row * self.width + start, tokens)

    def batch(self, trees: Sequence[PromptTree], layout: Layout, device: torch.device | str) -> Batch:
        source: list[int] = []
        target: list[int] = []
        length: list[int] = []
        last: list[int] = []
        scored = all(tree.prompt for tree in trees)
        for before, start, tokens in self.spans:
            last.append(start + len(tokens) - 1)
            length.append(len(tokens) if scored else 0)
            if scored:  # the prompt's last token predicts the first one; an encoder's trees have no prompt
                source += [before, *range(start, start + len(tokens) - 1)]
                target += tokens
        tree, segment = torch.tensor(self.tree), torch.tensor(self.segment)
        mask = _tree_mask(tree, segment) if layout == "tree" else (tree >= 0).long()
        group = [index for index, tree in enumerate(trees) for _ in tree.completions]
        tokens_in = int((tree >= 0).sum())
        lengths = torch.tensor(length)
        causal = layout == "tree" and len(trees) == len(self.ids) == len(self.spans)
        # Counted on behind a row's end, for transformers takes any other number for the start of a new text.
        positions = [list(range(self.width)) for _ in self.ids] if causal else self.positions
        return Batch(
            input_ids=torch.tensor(self.ids).to(device),
            position_ids=torch.tensor(positions).to(device),
            attention_mask=mask.to(device),
            causal=causal,
            source=torch.tensor(source, dtype=torch.long).to(device),
            read=torch.tensor(sorted(set(source)), dtype=torch.long).to(device),
            target=torch.tensor(target, dtype=torch.long).to(device),
            completion=torch.repeat_interleave(torch.arange(len(length)), lengths).to(device),
            length=lengths.to(device),
            last=torch.tensor(last).to(device),
            group=torch.tensor(group).to(device),
            layout=layout,
            trees=tuple(trees),
            tokens=tokens_in,
            padding=tree.numel() - tokens_in,
        )


def _tree_batch(trees: Sequence[PromptTree], pad_id: int, device: torch.device | str) -> Batch:
    if not all(tree.prompt for tree in trees):
        raise ValueError("trees without a prompt (encoders) need layout 'padded'")
    rows = _fit([tree.size for tree in trees])
    first = _first_completions(trees)
    builder = _Builder(len(rows), max(tree.size for tree in trees), pad_id, first[-1])
    for row, members in enumerate(rows):
        at = 0
        for index in members:
            tree = trees[index]
            builder.put(row, at, tree.prompt, position=0, tree=index, segment=0)
            prompt_end = at = at + len(tree.prompt)
            for k, tokens in enumerate(tree.completions):
                builder.put(row, at, tokens, position=len(tree.prompt), tree=index, segment=k + 1)
                builder.completion(first[index] + k, row, prompt_end, at, tokens)
                at += len(tokens)
    return builder.batch(trees, "tree", device)


def _padded_batch(trees: Sequence[PromptTree], pad_id: int, device: torch.device | str) -> Batch:
    first = _first_completions(trees)
    builder = _Builder(first[-1], max(tree.depth for tree in trees), pad_id, first[-1])
    for index, tree in enumerate(trees):
        for k, tokens in enumerate(tree.completions):
            row, end = first[index] + k, len(tree.prompt)
            builder.put(row, 0, (*tree.prompt, *tokens), position=0, tree=index, segment=0)
            builder.completion(row, row, end, end, tokens)
    return builder.batch(trees, "padded", device)


def _first_completions(trees: Sequence[PromptTree]) -> list[int]:
    """The number of each tree's first completion, and the number of all completions at the end."""
    return [0, *itertools.accumulate(len(tree.completions) for tree in trees)]


def _tree_mask(tree: Tensor, segment: Tensor) -> Tensor:
    """bool [R, 1, T, T]: a token sees earlier tokens of its own tree that belong to the prompt or its own completion.

    Padding sees earlier padding and itself, so that no row of the mask is empty (a softmax over nothing is NaN).
    """
    same_tree = tree[:, :, None] == tree[:, None, :]
    visible = (segment[:, None, :] == 0) | (segment[:, :, None] == segment[:, None, :])
    causal = torch.ones(tree.shape[1], tree.shape[1], dtype=torch.bool).tril()
    return (same_tree & visible & causal)[:, None]
