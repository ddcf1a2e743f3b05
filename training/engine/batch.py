"""Batches of prompt trees, and the plan that deals trees out to optimiser steps and micro-batches.

A tree holds its prompt once and its completions side by side; every completion sees its prompt and itself only, and
positions restart at the prompt's end. Layout ``tree``: all trees stand in one row without padding, and attention is
computed tree by tree. Layout ``packed``: trees share rows as long as the longest tree under a boolean 4D mask, which
takes fewer kernels and so suits a GPU. Layout ``padded``: a row is one prompt with one completion, for models that take
no such masks. All give the same numbers.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from training.engine.trees import PromptTree

Layout = Literal["tree", "packed", "padded"]

PADDING = 0.1  # share of padding in a micro-batch
FREE_PADDING = 64  # positions of padding that cost less than another pass
ANOTHER_PART = 20_000  # pairs of positions of which attention costs as much as starting it once more does
# On a CPU oneDNN compiles every product for its very shape, which takes longer than the product does. So a row of trees
# is filled up, and shapes come again.
MULTIPLE = 32


class Part(NamedTuple):
    """A stretch of ``size`` positions that see each other and, where ``behind`` is (i, P), the first P positions of
    part i. ``mask`` says who sees whom, bool [1, 1, S, S] or [1, 1, S, P + S]; None stands for all that is earlier."""

    size: int
    mask: Tensor | None = None
    behind: tuple[int, int] | None = None

    def to(self, device: torch.device | str) -> Part:
        """The same with its mask on a device."""
        return self if self.mask is None else self._replace(mask=self.mask.to(device))


@dataclass(frozen=True, slots=True)
class Batch:
    """R rows of T tokens that hold N completions of G trees, M completion tokens in all.

    ``parts`` are the stretches of layout ``tree``'s row that see nothing of each other: its trees, and what fills it
    up. ``attention_mask`` is bool [R, 1, T, T] (``packed``) or long [R, T] (``padded``); ``causal`` says that a packed
    mask hides nothing but what is later, as every row has one completion behind its prompt. Completions are numbered
    tree by tree in the order given, so a batch of pairs has its chosen ones at ``0::2``. Indices are flat over R·T:
    ``source[m]`` is the position whose hidden state predicts ``target[m]``; ``read`` has each of them once, in order,
    and in layout ``tree`` a few others that make their number round; ``last[n]`` is the last token of completion n.
    """

    input_ids: Tensor
    position_ids: Tensor
    parts: tuple[Part, ...]
    attention_mask: Tensor | None
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
    """One batch of all ``trees``."""
    if layout == "padded":
        return _padded_batch(trees, pad_id, device)
    if not all(tree.prompt for tree in trees):
        raise ValueError("trees without a prompt (encoders) need layout 'padded'")
    return _tree_batch(trees, layout, pad_id, device)


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
    length = (lambda index: trees[index].depth) if layout == "padded" else (lambda index: trees[index].size)
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
    empty = positions - sum(_padded_tokens(tree) if layout == "padded" else tree.size for tree in trees)
    return empty <= max(FREE_PADDING, padding * positions)


def _padded_tokens(tree: PromptTree) -> int:
    """Tokens of a tree whose prompt is repeated for every completion."""
    return tree.size + len(tree.prompt) * (len(tree.completions) - 1)


def _positions(trees: Sequence[PromptTree], layout: Layout) -> int:
    """R·T of the batch that ``trees`` would make."""
    if layout == "padded":
        return sum(len(tree.completions) for tree in trees) * max(tree.depth for tree in trees)
    sizes = [tree.size for tree in trees]
    return round_up(sum(sizes)) if layout == "tree" else len(_fit(sizes)) * max(sizes)


def round_up(count: int) -> int:
    """The next multiple of ``MULTIPLE``."""
    return -(-count // MULTIPLE) * MULTIPLE


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
        read = sorted(set(source))
        tree = torch.tensor(self.tree)
        mask, parts = None, list[Part]()
        if layout == "padded":
            mask = (tree >= 0).long()
        elif layout == "packed":
            mask = _packed_mask(tree, torch.tensor(self.segment))
        else:
            for each in trees:
                parts += _parts_of(each, len(parts))
            parts += filling(parts, self.width)
            read = filled(read, self.width)
        group = [index for index, tree in enumerate(trees) for _ in tree.completions]
        tokens_in = int((tree >= 0).sum())
        lengths = torch.tensor(length)
        causal = layout == "packed" and len(trees) == len(self.ids) == len(self.spans)
        # Counted on behind a row's end, for transformers takes any other number for the start of a new text.
        positions = [list(range(self.width)) for _ in self.ids] if causal else self.positions
        return Batch(
            input_ids=torch.tensor(self.ids).to(device),
            position_ids=torch.tensor(positions).to(device),
            parts=tuple(part.to(device) for part in parts),
            attention_mask=None if mask is None else mask.to(device),
            causal=causal,
            source=torch.tensor(source, dtype=torch.long).to(device),
            read=torch.tensor(read, dtype=torch.long).to(device),
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


def _tree_batch(trees: Sequence[PromptTree], layout: Layout, pad_id: int, device: torch.device | str) -> Batch:
    sizes = [tree.size for tree in trees]
    rows, width = ([list(range(len(trees)))], round_up(sum(sizes))) if layout == "tree" else (_fit(sizes), max(sizes))
    first = _first_completions(trees)
    builder = _Builder(len(rows), width, pad_id, first[-1])
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
    return builder.batch(trees, layout, device)


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


def filling(parts: Sequence[Part], width: int) -> list[Part]:
    """The part behind the others that fills a row up; none where they fill it."""
    rest = width - sum(part.size for part in parts)
    return [Part(rest)] if rest else []


def filled(read: list[int], width: int) -> list[int]:
    """``read`` and as many other positions as make their number round and at least one; all where there are too few."""
    taken = set(read)
    others = (position for position in range(width) if position not in taken)
    return sorted([*read, *itertools.islice(others, round_up(max(len(read), 1)) - len(read))])


def _parts_of(tree: PromptTree, number: int) -> list[Part]:
    """A tree as one part or, where that leaves out enough pairs of positions that do not see each other, its prompt and
    each completion apart. ``number`` is that of its first part."""
    before, lengths = len(tree.prompt), [len(tokens) for tokens in tree.completions]
    if len(lengths) == 1:
        return [Part(tree.size)]
    if tree.size**2 - before**2 - sum(size * (before + size) for size in lengths) > ANOTHER_PART * len(lengths):
        return [Part(before), *(behind((number, before), size) for size in lengths)]
    segment = torch.repeat_interleave(torch.arange(len(lengths) + 1), torch.tensor([before, *lengths]))
    return [Part(tree.size, _visible(segment[None]))]


def behind(prompt: tuple[int, int], size: int) -> Part:
    """A completion of ``size`` tokens behind the first P positions of part i, ``prompt`` = (i, P)."""
    seen = torch.ones(1, 1, size, prompt[1] + size, dtype=torch.bool).tril(prompt[1])
    return Part(size, seen, prompt)


def _packed_mask(tree: Tensor, segment: Tensor) -> Tensor:
    """bool [R, 1, T, T]. Padding sees earlier padding and itself, so that no row of the mask is empty (a softmax over
    nothing is NaN)."""
    same_tree = tree[:, :, None] == tree[:, None, :]
    return _visible(segment) & same_tree[:, None]


def _visible(segment: Tensor) -> Tensor:
    """bool [R, 1, T, T]: a token sees earlier tokens that belong to the prompt, segment 0, or to its own completion."""
    visible = (segment[:, None, :] == 0) | (segment[:, :, None] == segment[:, None, :])
    causal = torch.ones(segment.shape[1], segment.shape[1], dtype=torch.bool, device=segment.device).tril()
    return (visible & causal)[:, None]
