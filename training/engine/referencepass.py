"""The log-probs of the reference policy for whole splits, before training begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from training.engine.errors import Cancelled
from training.engine.objectives import Examples
from training.engine.parallel import World
from training.engine.passes import Passes
from training.engine.reference import Compute, ReferenceCache
from training.engine.trees import PromptTree


class ReferencePass:
    """Adds to examples what the reference says of them.

    A prompt is read once for all rows that have it: for the pairs of one ranking, for thumbs up and down of the same
    prompt. `between` is called after each micro-batch with the share of the split that is done.
    """

    def __init__(
        self,
        passes: Passes,
        cache: ReferenceCache,
        *,
        between: Callable[[float], None],
        world: World | None = None,
    ) -> None:
        self._world = world or World()
        self._passes = passes
        self._cache = cache
        self._between = between

    def over(self, examples: Examples) -> Examples:
        """The examples with `reference` (by token where the objective's extras have `prefix`), and
        `mismatched_reference` where they have mismatched trees."""
        others = examples.mismatched or ()
        tokens = self._token_logps([*examples.trees, *(tree for tree in others if tree is not None)])

        def sums(tree: PromptTree) -> Tensor:
            return torch.stack([part.sum() for part in tokens(tree)])

        by_token = "prefix" in self._passes.objective.extras
        return replace(
            examples,
            reference=[torch.cat(tokens(tree)) if by_token else sums(tree) for tree in examples.trees],
            mismatched_reference=[None if tree is None else sums(tree) for tree in others] or None,
        )

    def _token_logps(self, trees: Sequence[PromptTree]) -> Callable[[PromptTree], list[Tensor]]:
        """What gives the log-probs of all tokens of a tree, completion by completion; every process looks up or
        computes its share."""
        # Padded rows repeat the prompt, and have less padding where each completion is sorted by itself.
        grown = by_prompt(trees, most=0 if self._passes.layout == "padded" else self._passes.token_budget)
        shares = [grown[rank :: self._world.size] for rank in range(self._world.size)]
        own = shares[self._world.rank]
        found: list[Tensor] | None = None
        try:
            flat = self._cache.logps(own, self._computing(len(own)))
            found = list(flat.split([len(completion) for _, completion in _completions(own)]))
        finally:
            # In trouble too: the others must not wait for this process.
            parts = self._world.gathered(found)
        if any(part is None for part in parts):
            raise Cancelled("Another process could not finish its share of the reference.")
        known = {
            key: logps
            for share, part in zip(shares, parts, strict=True)
            for key, logps in zip(_completions(share), part, strict=True)
        }
        return lambda tree: [known[key] for key in _completions([tree])]

    def _computing(self, total: int) -> Compute:
        """What the cache calls for trees that it does not know, of `total`."""
        done = 0

        def compute(trees: Sequence[PromptTree]) -> Tensor:
            nonlocal done
            found: list[Tensor] = [torch.zeros(0)] * len(trees)
            for indices in self._passes.cut(trees):
                logps = self._passes.token_logps([trees[index] for index in indices]).cpu()
                parts = logps.split([trees[index].size - len(trees[index].prompt) for index in indices])
                for index, part in zip(indices, parts, strict=True):
                    found[index] = part
                done += len(indices)
                self._between(min(done / total, 1.0))
            return torch.cat(found)

        return compute


def by_prompt(trees: Sequence[PromptTree], *, most: int) -> list[PromptTree]:
    """All completions of these trees, each once, behind as few prompts as trees of ``most`` tokens allow (0: one behind
    each); they have the row of the first tree that they were in, and no targets."""
    grown: list[PromptTree] = []
    newest: dict[tuple[int, ...], int] = {}
    rows = {key: tree.row for tree in reversed(trees) for key in _completions([tree])}
    for prompt, completion in dict.fromkeys(_completions(trees)):
        at = newest.get(prompt)
        if at is None or grown[at].size + len(completion) > most:
            newest[prompt] = len(grown)
            grown.append(PromptTree(rows[prompt, completion], prompt, (completion,), {}))
        else:
            grown[at] = replace(grown[at], completions=(*grown[at].completions, completion))
    return grown


def _completions(trees: Sequence[PromptTree]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Every completion of these trees with its prompt."""
    return ((tree.prompt, completion) for tree in trees for completion in tree.completions)
