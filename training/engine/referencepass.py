"""The log-probs of the reference policy for whole splits, before training begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from training.engine.baselines import mismatched_trees
from training.engine.errors import Cancelled, EngineError
from training.engine.objectives import Examples
from training.engine.parallel import World
from training.engine.passes import Passes
from training.engine.reference import ReferenceCache
from training.engine.trees import PromptTree


class ReferencePass:
    """Adds to examples what the reference says of them; `between` is called after each of its micro-batches."""

    def __init__(
        self,
        passes: Passes,
        cache: ReferenceCache,
        *,
        between: Callable[[int], None],
        world: World | None = None,
    ) -> None:
        self._world = world or World()
        self._passes = passes
        self._cache = cache
        self._between = between

    def over(self, examples: Examples) -> Examples:
        """The examples with `reference` (by token where the objective's extras have `prefix`), and
        `mismatched_reference` where they have mismatched trees."""
        if examples.mismatched is None:
            by_token = "prefix" in self._passes.objective.extras
            return replace(examples, reference=self._logps(examples.trees, by_token=by_token))
        # Both answers stand behind the same prompt, which is read once.
        both = [
            tree if other is None else replace(tree, completions=tree.completions + other.completions)
            for tree, other in zip(examples.trees, examples.mismatched, strict=True)
        ]
        logps = self._logps(both, by_token=False)
        return replace(
            examples,
            reference=[found[:1] for found in logps],
            mismatched_reference=[found[1:] if len(found) > 1 else None for found in logps],
        )

    def _logps(self, trees: Sequence[PromptTree], *, by_token: bool) -> list[Tensor]:
        """For every tree float32 [K], or with `by_token` the log-probs of all tokens of its completions."""
        of_trees = self._shared(trees)
        if by_token:
            return list(of_trees)
        return [
            torch.stack([part.sum() for part in tokens.split([len(each) for each in tree.completions])])
            for tree, tokens in zip(trees, of_trees, strict=True)
        ]

    def _shared(self, trees: Sequence[PromptTree]) -> list[Tensor]:
        """The log-probs of all tokens of every tree, of which each process looks up or computes its share."""
        own = trees[self._world.rank :: self._world.size]
        found: list[Tensor] | None = None
        try:
            flat = self._cache.logps(own, self._compute)
            found = list(flat.split([tree.size - len(tree.prompt) for tree in own]))
        finally:
            # In trouble too: the others must not wait for this process.
            parts = self._world.gathered(found)
        if any(part is None for part in parts):
            raise Cancelled("Another process could not finish its share of the reference.")
        shares = [iter(part) for part in parts]
        return [next(shares[index % self._world.size]) for index in range(len(trees))]

    def _compute(self, trees: Sequence[PromptTree]) -> Tensor:
        found: list[Tensor] = [torch.zeros(0)] * len(trees)
        for indices in self._passes.cut(trees):
            logps = self._passes.token_logps([trees[index] for index in indices]).cpu()
            parts = logps.split([trees[index].size - len(trees[index].prompt) for index in indices])
            for index, part in zip(indices, parts, strict=True):
                found[index] = part
            self._between(len(indices))
        return torch.cat(found)


def with_mismatched(examples: Examples, *, max_length: int) -> Examples:
    """The examples with answers to other prompts beside them, for methods that measure a baseline (KTO).

    Raises EngineError when nothing can be mismatched: then there is no baseline, and the method learns something else.
    """
    found = mismatched_trees(examples.trees, max_length=max_length)
    if not any(found):
        raise EngineError(
            "No answer fits another prompt: the data has one prompt only, or everything is too long together. "
            "The method measures its baseline on such pairs; add rows with other prompts, or raise max_length.",
            row=examples.trees[0].row,
            field="prompt",
        )
    return replace(examples, mismatched=found)
