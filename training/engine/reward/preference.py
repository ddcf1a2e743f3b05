"""Preference models read two completions at once, in both orders (PairRM, arXiv:2306.02561)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from training.engine.batch import Layout, make_batch
from training.engine.errors import EngineError
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
    counted in it. EngineError when none is left."""
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
        raise EngineError(
            f"{report.file} leaves nothing to learn from: a preference model reads both completions at once, and all "
            f"pairs are longer than {report.max_length} tokens together. Raise max_length.",
            field="config.max_length",
        )
    return kept


@torch.no_grad()
def preference(model: RewardModel, tree: PromptTree, *, layout: Layout, pad_id: int) -> Tensor:
    """P(completion i is better than completion j) for the K completions of a tree, float32 [K, K]; ½ on the diagonal.

    A preference model reads every pair in both orders, with the logit (f(i, j) - f(j, i)) / 2; for any other reward
    model the logit is the difference of the values (Bradley–Terry).
    """
    device = next(model.parameters()).device
    if model.separator is None:
        values = model(make_batch([tree], layout=layout, pad_id=pad_id, device=device))
        return torch.sigmoid(values[:, None] - values[None, :])
    orders = list(itertools.permutations(range(len(tree.completions)), 2))
    read = tuple((*tree.completions[i], *model.separator, *tree.completions[j]) for i, j in orders)
    logits = model(make_batch([replace(tree, completions=read)], layout=layout, pad_id=pad_id, device=device))
    matrix = logits.new_zeros(len(tree.completions), len(tree.completions))
    for (i, j), logit in zip(orders, logits, strict=True):
        matrix[i, j] = logit
    return torch.sigmoid((matrix - matrix.T) / 2)
