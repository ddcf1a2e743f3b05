"""What unpaired losses are measured against: a scalar that a run keeps from step to step and in its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from training.engine.methods import Method
from training.engine.trees import PromptTree


class Baseline:
    """A scalar without gradient. This one stays zero, for methods that need none."""

    def __init__(self) -> None:
        self.value = 0.0

    def current(self, device: torch.device | str = "cpu") -> Tensor:
        """The baseline as it stands, float32 scalar."""
        return torch.tensor(self.value, dtype=torch.float32, device=device)

    def after_step(self, rewards: Mapping[str, float]) -> None:
        """Hears of the means of a training step, of which it may use ``chosen_reward`` and ``rejected_reward``."""

    def state_dict(self) -> dict[str, float]:
        """The state, for a checkpoint: JSON."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Takes up the state of a checkpoint."""
        vars(self).update({name: float(state[name]) for name in vars(self)})


class KtoBaseline(Baseline):
    """z₀ of KTO: how far the policy has moved, measured on completions that answer other prompts.

    z₀ = max(0, mean of log π(y'|x) - log π_ref(y'|x) over mismatched (x, y')), without gradient. The mean is taken
    over all processes first and clamped afterwards: clamping each part would bias it upwards. A step in which
    nothing could be mismatched keeps the value of the step before, so the value is part of the state of a run.
    """

    def update(self, logp: Tensor, ref_logp: Tensor) -> Tensor:
        """Takes the mismatched completions' log-probs [M] of one step, M may be 0, and returns the new z₀,
        float32 scalar."""
        ratio = (logp.detach() - ref_logp.detach()).double()
        totals = torch.stack((ratio.sum(), ratio.new_tensor(float(ratio.numel()))))
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(totals)
        if totals[1] > 0:
            self.value = float((totals[0] / totals[1]).clamp(min=0))
        return self.current(logp.device)


class RunningMean(Baseline):
    """δ of BCO: half the sum of the running mean rewards of liked and of disliked completions (arXiv:2404.04656,
    section 4).

    A step is measured against the steps before it, so δ does not depend on how a step is cut up. The running means
    forget: the newest step counts a tenth.
    """

    RATE = 0.1

    def __init__(self) -> None:
        super().__init__()
        self.chosen = 0.0
        self.rejected = 0.0

    def after_step(self, rewards: Mapping[str, float]) -> None:
        self.chosen += self.RATE * (rewards.get("chosen_reward", self.chosen) - self.chosen)
        self.rejected += self.RATE * (rewards.get("rejected_reward", self.rejected) - self.rejected)
        self.value = (self.chosen + self.rejected) / 2


def new_baseline(method: Method) -> Baseline:
    """The baseline that a method is measured against, as a run begins with it."""
    return {"none": Baseline, "kl": KtoBaseline, "running_mean": RunningMean}[method.baseline]()


def mismatched_trees(trees: Sequence[PromptTree], *, max_length: int) -> list[PromptTree | None]:
    """For each tree of one completion, its prompt with the completion of another tree; None where none fits.

    Partners are a cyclic shift, so every completion is used once, as often as in the matched set. The shift is the one
    with the fewest matched pairs, that is, partners with the same prompt or the same completion; those that remain, and
    pairs longer than ``max_length``, are left out: a matched pair would measure the reward itself (TRL issues 1911 and
    2554). Every tree must have a prompt and one completion.
    """
    count = len(trees)
    candidates = sorted(range(1, count), key=lambda shift: (abs(2 * shift - count), shift))[:64]
    if not candidates:
        return [None] * count

    def matched(index: int, shift: int) -> bool:
        own, other = trees[index], trees[(index + shift) % count]
        return own.prompt == other.prompt or own.completions == other.completions

    best, fewest = candidates[0], count + 1
    for shift in candidates:
        clashes = sum(matched(index, shift) for index in range(count))
        if clashes < fewest:
            best, fewest = shift, clashes
        if fewest == 0:
            break
    return [
        None if matched(index, best) else _swap(tree, trees[(index + best) % count], max_length)
        for index, tree in enumerate(trees)
    ]


def _swap(tree: PromptTree, other: PromptTree, max_length: int) -> PromptTree | None:
    swapped = PromptTree(tree.row, tree.prompt, other.completions, {"weight": 1.0})
    return swapped if swapped.depth <= max_length else None
