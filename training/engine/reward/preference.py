"""Preference models read two completions at once, in both orders (PairRM, arXiv:2306.02561)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.engine.batch import Batch, Layout, make_batch, micro_batches
from training.engine.errors import NothingLeft
from training.engine.reward.model import RewardModel
from training.engine.trees import DataReport, PromptTree


def pair_tree(tree: PromptTree, separator: Sequence[int]) -> PromptTree:
    """The tree of a pair as a preference model reads it: (first ⊕ second, second ⊕ first) behind the prompt.

    ``targets["lengths"]`` keeps how long the completions themselves are.
    """
    first, second = tree.completions
    both = (*first, *separator, *second), (*second, *separator, *first)
    return replace(tree, completions=both, targets={**tree.targets, "lengths": (len(first), len(second))})


def pair_trees(trees: Sequence[PromptTree], separator: Sequence[int], report: DataReport) -> list[PromptTree]:
    """All pairs in both orders; those that together are longer than the report's ``max_length`` are dropped and
    counted in it. NothingLeft when none is left."""
    kept = []
    for tree in trees:
        paired = pair_tree(tree, separator)
        if paired.depth <= report.max_length:
            kept.append(paired)
            continue
        report.used -= 1
        report.dropped_too_long += 1
        if len(report.rows_too_long) < 20:
            report.rows_too_long.append(tree.row)
    if not kept:
        raise NothingLeft(
            f"{report.file} has no row that can be used: a preference model reads both completions at once, and all "
            f"pairs are longer than {report.max_length} tokens together. Raise max_length.",
            field="config.max_length",
        )
    return kept


@dataclass(frozen=True, slots=True)
class Reading:
    """How trees are made into batches where nothing is learnt."""

    layout: Layout
    pad_id: int
    token_budget: int = 4096


@torch.no_grad()
def read(
    model: RewardModel, trees: Sequence[PromptTree], quantity: Callable[[Batch], Tensor], reading: Reading
) -> list[Tensor]:
    """What ``quantity`` says of the K completions of every tree, [K, …] each."""
    device = next(model.parameters()).device
    found: dict[int, Tensor] = {}
    for indices in micro_batches(trees, range(len(trees)), layout=reading.layout, token_budget=reading.token_budget):
        members = [trees[index] for index in indices]
        values = quantity(make_batch(members, layout=reading.layout, pad_id=reading.pad_id, device=device))
        found |= zip(indices, values.split([len(tree.completions) for tree in members]), strict=True)
    return [found[index] for index in range(len(trees))]


def differences(
    model: RewardModel, trees: Sequence[PromptTree], quantity: Callable[[Batch], Tensor], reading: Reading
) -> list[Tensor]:
    """What ``quantity`` [N, X] (outputs or features) says of completion i less what it says of completion j: [K, K, X]
    for every tree. A preference model reads every pair in both orders: (q(i, j) - q(j, i)) / 2."""
    if model.separator is None:
        return [one[:, None] - one[None, :] for one in read(model, trees, quantity, reading)]
    found = []
    for tree in trees:
        count = len(tree.completions)
        pairs = list(itertools.combinations(range(count), 2))
        both = [replace(tree, completions=(tree.completions[i], tree.completions[j])) for i, j in pairs]
        parts = read(model, [pair_tree(one, model.separator) for one in both], quantity, reading)
        matrix = parts[0].new_zeros(count, count, parts[0].shape[1])
        for (i, j), part in zip(pairs, parts, strict=True):
            matrix[i, j] = (part[0] - part[1]) / 2
        found.append(matrix - matrix.transpose(0, 1))
    return found


@torch.no_grad()
def preference(model: RewardModel, tree: PromptTree, *, layout: Layout, pad_id: int) -> Tensor:
    """P(completion i is better than completion j) for the K completions of a tree, float32 [K, K]; ½ on the diagonal.

    A preference model reads every pair in both orders, with the logit (f(i, j) - f(j, i)) / 2; for any other reward
    model the logit is the difference of the values (Bradley–Terry), and where it knows ties, one counts as half.
    """
    (gaps,) = differences(model, [tree], lambda batch: model(batch, each=True), Reading(layout, pad_id))
    win, tie, _ = model.outcomes(model.outputs.combine(gaps)).unbind(-1)
    return win + tie / 2
