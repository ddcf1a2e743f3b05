"""Trees of random tokens, and the slowest scorer there is, for comparison."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

from training.engine.trees import PromptTree


def random_trees(count: int, completions: int, *, seed: int = 0, longest: int = 20) -> list[PromptTree]:
    """Trees of uneven lengths over the tiny vocabulary of 400."""
    draw = random.Random(seed)

    def tokens() -> tuple[int, ...]:
        return tuple(draw.randrange(4, 400) for _ in range(draw.randint(1, longest)))

    return [PromptTree(row, tokens(), tuple(tokens() for _ in range(completions)), {}) for row in range(count)]


def one_at_a_time(model: nn.Module, trees: list[PromptTree]) -> Tensor:
    """Summed log-probs [N] from the model's own logits, one unpadded sequence after the other."""
    sums = []
    for tree in trees:
        for completion in tree.completions:
            ids = torch.tensor([[*tree.prompt, *completion]])
            logps = model(input_ids=ids).logits[0].float().log_softmax(-1)
            places = range(len(tree.prompt) - 1, ids.shape[1] - 1)
            sums.append(sum(logps[place, ids[0, place + 1]] for place in places))
    return torch.stack(sums)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """A copy of every gradient, after which they are cleared."""
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    return found
