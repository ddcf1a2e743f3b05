"""Forward (and backward) passes over micro-batches, and the sums they leave. Training and evaluation share them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from training.engine.baselines import KtoBaseline, new_baseline
from training.engine.batch import Batch, Layout, make_batch, micro_batches
from training.engine.continuation import continues, score_and_continue
from training.engine.losses import Scores
from training.engine.movingreference import MovingReference
from training.engine.objectives import Contribution, Examples, Objective, PolicyObjective, Record
from training.engine.parallel import MicroBatches, World
from training.engine.precision import bfloat16_weights
from training.engine.scorer import score, token_logps
from training.engine.trees import PromptTree


class Sums:
    """Sums over micro-batches that become means only at the end, so that every example counts the same."""

    def __init__(self) -> None:
        self.tokens = 0
        self.padding = 0
        self.groups: list[Sequence[int]] = []
        self.losses: list[Tensor] = []
        self.records: list[tuple[tuple[PromptTree, ...], Record]] = []
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, float] = {}

    def add(self, indices: Sequence[int], batch: Batch, contribution: Contribution, weight: float) -> None:
        """Take in one micro-batch, of the examples `indices`, which weigh `weight` together."""
        self.groups.append(indices)
        self.tokens += batch.tokens
        self.padding += batch.padding
        self.losses.append(contribution.loss.detach())
        if contribution.record is not None:
            self.records.append((batch.trees, contribution.record))
        for name, (value, count) in {**contribution.sums, "loss": (self.losses[-1], weight)}.items():
            # On the device and in float64: no synchronisation per micro-batch, and the order hardly matters.
            self._sums[name] = self._sums.get(name, 0.0) + value.detach().double()
            self._counts[name] = self._counts.get(name, 0.0) + count

    def total(self, world: World) -> None:
        """Make these the sums of all processes."""
        if world.size == 1:
            return
        self.losses = [loss.cpu() for loss in self.losses]
        self.records = [(trees, one.cpu()) for trees, one in self.records]
        self._sums = {name: value.cpu() for name, value in self._sums.items()}
        parts = world.gathered(vars(self))
        for name in ("tokens", "padding"):
            setattr(self, name, sum(part[name] for part in parts))
        for name in ("groups", "losses", "records"):
            setattr(self, name, [one for part in parts for one in part[name]])
        for name in ("_sums", "_counts"):
            known = dict.fromkeys(key for part in parts for key in part[name])
            setattr(self, name, {key: sum(part[name].get(key, 0.0) for part in parts) for key in known})

    def count(self, name: str) -> float:
        """How much a metric was counted over; 0 for one that never occurred."""
        return self._counts.get(name, 0.0)

    def mean(self, name: str) -> float:
        """Σ value / Σ count; 0 where everything weighs nothing."""
        return float(self._sums[name]) / self._counts[name] if self.count(name) else 0.0

    def metrics(self) -> dict[str, float]:
        """Every metric that was counted at all, as a mean, and what follows from them."""
        means = {name: self.mean(name) for name in self._sums if self.count(name)}
        if "margin" not in means and "chosen_reward" in means and "rejected_reward" in means:
            means["margin"] = means["chosen_reward"] - means["rejected_reward"]
        if "reward_square" in means:
            means["reward_std"] = math.sqrt(max(means.pop("reward_square") - means["reward"] ** 2, 0.0))
        return means


class Passes:
    """Runs one model and one objective over examples."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        *,
        layout: Layout,
        dtype: Literal["float32", "bfloat16"],
        pad_id: int,
        token_budget: int = 4096,
        world: World | None = None,
        shard: bool = False,
    ) -> None:
        self.model = model
        self.token_budget = token_budget
        self.world = world or World()
        self.unit = self.world.wrap(model, shard=shard, bfloat16=dtype == "bfloat16")
        self.objective = objective
        self.baseline = new_baseline(objective.method)
        self.moving: MovingReference | None = None
        self.layout = layout
        self.pad_id = pad_id
        self.device = next(model.parameters()).device
        # A prompt that was read for its own answer need not be read again for an answer to another prompt.
        self._reads_on = (
            isinstance(self.baseline, KtoBaseline)
            and layout == "tree"
            and self.world.size == 1
            and continues(model, pad_id=pad_id)
        )
        self._low_precision = dtype == "bfloat16" and not shard  # FSDP2 casts for itself

    def batch(self, trees: Sequence[PromptTree]) -> Batch:
        """The trees as one batch on the model's device."""
        return make_batch(trees, layout=self.layout, pad_id=self.pad_id, device=self.device)

    def cut(self, trees: Sequence[PromptTree]) -> list[list[int]]:
        """All trees in groups of similar length, each as large as one pass may be: micro-batches of indices."""
        return micro_batches(trees, range(len(trees)), layout=self.layout, token_budget=self.token_budget)

    def _precision(self, model: nn.Module) -> AbstractContextManager[None]:
        """bfloat16 arithmetic of `model` where the run asks for it; weights and log-probs stay float32."""
        return bfloat16_weights(model, enabled=self._low_precision)

    def over(
        self,
        examples: Examples,
        micro_batches: MicroBatches,
        *,
        backward: bool = False,
        step: int = 0,
        between: Callable[[], None] | None = None,
    ) -> Sums:
        """The sums over these micro-batches; with `backward`, gradients of their mean loss are left on the parameters
        and the method's baseline moves on.

        Without `backward` KTO's z₀ is measured afresh over these examples. `step` is the number of the optimiser step;
        `between` is called after each micro-batch, so that long evaluations can be stopped.
        """
        sums = Sums()
        together = self._reads_on and len(micro_batches) == 1 and examples.mismatched is not None
        baseline = None if together else self._measured(examples, micro_batches, training=backward)
        whole = WholeStep(self, examples, micro_batches) if self.objective.method.whole_step else None
        weights = [self._weight(examples, indices) for indices in micro_batches]
        # Processes average their gradients, and the divisor is that of all of them together.
        scale = self.world.size / (sum(weights) or 1.0)
        share = self.world.share(micro_batches)
        for number, (indices, counts) in enumerate(share):
            batch = self.batch([examples.trees[index] for index in indices])
            reference = self.reference_of(examples, indices, batch)
            last = number == len(share) - 1
            with (
                torch.set_grad_enabled(backward),
                self._precision(self.model),
                self.world.syncing(self.unit, last=last),
            ):
                if together:
                    work = partial(
                        self._with_mismatched, examples, indices, batch=batch, reference=reference, training=backward
                    )
                elif whole:
                    work = partial(whole.contribution, indices=indices, batch=batch, reference=reference)
                else:
                    work = partial(self.objective, batch=batch, reference=reference, baseline=baseline, step=step)
                contribution = self._through(work)
                if backward:
                    (contribution.loss * (scale if counts else 0.0)).backward()
            if counts:
                sums.add(indices, batch, contribution, self._weight(examples, indices))
            if between and self.world.size == 1:  # one process must not leave the others waiting
                between()
        sums.total(self.world)
        if backward:
            self.baseline.after_step(sums.metrics())
        return sums

    def _weight(self, examples: Examples, indices: Sequence[int]) -> float:
        return sum(self.objective.weight(examples.trees[index]) for index in indices)

    def _through(self, work: Callable[..., Contribution]) -> Contribution:
        """What `work` makes of the model, done as a forward pass of the unit."""
        # The loss stands alone too: FSDP2 looks for the tensors whose backward pass it must be ready for.
        _, contribution = self.unit(lambda model: ((found := work(model)).loss, found))
        return cast("Contribution", contribution)

    @torch.no_grad()
    def logps(self, trees: Sequence[PromptTree]) -> Tensor:
        """Log-probs of all completions of one batch of trees, float32 [N]."""
        with self._precision(self.model):
            logp: Tensor = self.unit(lambda model: score(model, self.batch(trees)).logp)
            return logp

    @torch.no_grad()
    def token_logps(self, trees: Sequence[PromptTree]) -> Tensor:
        """Log-probs of all tokens of all completions of one batch of trees, float32 [M]."""
        with self._precision(self.model):
            logps: Tensor = self.unit(lambda model: token_logps(model, self.batch(trees)))
            return logps

    @torch.no_grad()
    def scores(self, batch: Batch, reference: Tensor | None) -> Scores:
        """What the objective sees of a batch, without gradient."""
        objective = self.objective
        assert isinstance(objective, PolicyObjective)
        with self._precision(self.model):
            scores: Scores = self.unit(lambda model: objective.scores(model, batch, reference))
            return scores

    def reference_of(self, examples: Examples, indices: Sequence[int], batch: Batch) -> Tensor | None:
        """The reference's log-probs of these examples, which are `batch`, flat; None for a method without one."""
        if self.moving:
            with self.moving.at_work(), torch.no_grad(), self._precision(self.moving.model):
                return score(self.moving.model, batch).logp
        return None if examples.reference is None else self._beside(examples.reference, indices)

    def moving_tensors(self) -> dict[str, Tensor]:
        """The weights of a reference that moves, for checkpoints; empty where there is none."""
        return self.moving.tensors() if self.moving else {}

    def _measured(self, examples: Examples, micro_batches: MicroBatches, *, training: bool) -> Tensor:
        """The baseline of a whole step, so that it too is the same however the step is cut."""
        if examples.mismatched is None:
            return self.baseline.current(self.device)
        policy, reference = [torch.zeros(0, device=self.device)], [torch.zeros(0, device=self.device)]
        step = [index for indices in micro_batches for index in indices if examples.mismatched[index] is not None]
        trees = [tree for index in step if (tree := examples.mismatched[index]) is not None]
        # Lengths are mismatched too: groups of their own have less padding than those of the matched completions.
        for group, counts in self.world.share(self.cut(trees)):
            logps = self.logps([trees[number] for number in group])
            if counts:
                policy.append(logps)
                reference.append(self._beside(examples.mismatched_reference, [step[number] for number in group]))
        return self._kto_baseline(training=training).update(torch.cat(policy), torch.cat(reference))

    def _with_mismatched(
        self,
        examples: Examples,
        indices: Sequence[int],
        model: nn.Module,
        *,
        batch: Batch,
        reference: Tensor | None,
        training: bool,
    ) -> Contribution:
        """The sums of a step that is one batch, with its baseline measured on the way."""
        assert isinstance(self.objective, PolicyObjective)
        assert examples.mismatched is not None
        others = [examples.mismatched[index] for index in indices]
        scores, logps = score_and_continue(
            model, batch, others, pad_id=self.pad_id, reference=reference, extras=self.objective.extras
        )
        known = self._beside(examples.mismatched_reference, indices) if any(others) else logps
        baseline = self._kto_baseline(training=training).update(logps, known)
        return self.objective.contribution(batch.trees, scores, baseline)

    def _kto_baseline(self, *, training: bool) -> KtoBaseline:
        """That of the run in training, and one of its own for everything else."""
        baseline = self.baseline if training else KtoBaseline()
        assert isinstance(baseline, KtoBaseline)
        return baseline

    def _beside(self, kept: Sequence[Tensor | None] | None, indices: Sequence[int]) -> Tensor:
        """What is kept beside these examples, flat, on the model's device."""
        assert kept is not None
        return torch.cat([value for index in indices if (value := kept[index]) is not None]).to(self.device)


class WholeStep:
    """For losses that compare all completions of a step (`whole_step`): their slopes are found first, without a graph,
    over everything, and handed to each micro-batch, so that memory holds one micro-batch at a time as always."""

    def __init__(self, passes: Passes, examples: Examples, micro_batches: MicroBatches) -> None:
        self._passes = passes
        self._objective = passes.objective
        assert isinstance(self._objective, PolicyObjective)
        batches = [passes.batch([examples.trees[index] for index in indices]) for indices in micro_batches]
        references = [
            passes.reference_of(examples, indices, batch) for indices, batch in zip(micro_batches, batches, strict=True)
        ]
        parts = [passes.scores(batch, known) for batch, known in zip(batches, references, strict=True)]
        scores = Scores.joined(parts)
        logp = scores.logp.detach().requires_grad_()
        trees = [tree for batch in batches for tree in batch.trees]
        with torch.enable_grad():
            losses = self._objective.losses(trees, replace(scores, logp=logp), None)
            (slopes,) = torch.autograd.grad(losses.sum(), logp)
        order = [index for indices in micro_batches for index in indices]
        sizes = [len(examples.trees[index].completions) for index in order]
        self._slopes = dict(zip(order, slopes.split(sizes), strict=True))
        self._losses = dict(zip(order, losses.detach(), strict=True))

    def contribution(
        self, model: nn.Module, *, indices: Sequence[int], batch: Batch, reference: Tensor | None
    ) -> Contribution:
        """The sums of one micro-batch: the value of its losses, with a graph that has the slopes."""
        assert isinstance(self._objective, PolicyObjective)
        scores = self._objective.scores(model, batch, reference)
        slopes = torch.cat([self._slopes[index] for index in indices])
        moved = (slopes * (scores.logp - scores.logp.detach())).sum()
        with torch.no_grad():
            sums, record = self._objective.sums(batch.trees, scores, None), self._objective.record(scores)
        losses = torch.stack([self._losses[index] for index in indices])
        return Contribution(losses.sum() + moved, sums, record)
