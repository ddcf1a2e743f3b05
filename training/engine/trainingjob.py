"""What a spec of the task `train` comes to: model, examples, trainer, held-out figures, result."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.engine import startchecks
from training.engine.adapters import adapters_off
from training.engine.baselines import mismatched_trees
from training.engine.checkpoint import Checkpoints
from training.engine.errors import EngineError, NothingLeft
from training.engine.evaluation import evaluate
from training.engine.files import sha256_of
from training.engine.learner import device_of, layout_of, load_learner, load_reference, reads_rows, seed_everything
from training.engine.losses import LOSSES
from training.engine.memory import peak_memory
from training.engine.methods import uses_reference
from training.engine.modelfiles import (
    REWARD_FILE,
    model_folder,
    positions,
    save_policy,
    save_reward,
    weights_sha256,
)
from training.engine.objectives import Examples, make_objective
from training.engine.parallel import World
from training.engine.passes import Passes
from training.engine.precision import has_bfloat16
from training.engine.progress import Progress
from training.engine.reference import ReferenceCache
from training.engine.referencepass import ReferencePass
from training.engine.rendering import conditioned_template
from training.engine.reward import RewardModel, fit_laplace, pair_trees, prepare
from training.engine.spec import Spec
from training.engine.stop import Stop
from training.engine.trainer import Settings, Totals, Trainer
from training.engine.trees import PromptTree, read_trees

# Shares of the whole run on the bar that people see: the reference pass before, the evaluation after the training.
REFERENCE_END, TRAINING_END = 0.1, 0.95


class TrainingJob:
    """One spec with everything loaded; `checks` and `data` are what was noticed on the way."""

    def __init__(self, spec: Spec, stop: Stop, *, progress: Progress | None = None, step: int = 0) -> None:
        self.spec = spec
        self.config = spec.config
        self.method = LOSSES[spec.method or ""]
        self.checks: list[startchecks.Check] = []
        self.data: dict[str, Any] = {}
        self.reference_seconds = 0.0
        self._stop = stop
        self._progress = progress
        self._step = step
        self._begin = REFERENCE_END if uses_reference(self.method, spec.config) else 0.0
        self._device = device_of(self.config["device"])
        if self.config["dtype"] == "bfloat16":
            self.checks.append(startchecks.arithmetic_check(native=has_bfloat16(self._device)))
        self.world = World.join(self._device)
        seed_everything(self.config["seed"])
        self.say(0.0, "Loading the model")
        self._folder = model_folder(spec.model or "")
        self.model, self.tokenizer = load_learner(self.method, self.config, self._folder, self._device)
        self.objective = make_objective(self.method.name, self.config)
        self.settings = Settings.from_config(self.config, layout=layout_of(self.model, self.config))
        self.say(0.0, "Reading the data")
        self.splits: dict[str, Examples] = {}
        for split, path in spec.data.items():
            try:
                self.splits[split] = self._read(split, Path(path))
            except NothingLeft as error:
                if split == "train":
                    raise
                self.checks.append(startchecks.nothing_left(split, error))
        if isinstance(self.model, RewardModel):
            before = self.model.outputs
            prepare(self.model, self.method, self.config, self.splits["train"].trees)
            if (self._folder / REWARD_FILE).exists():
                self.checks.append(startchecks.head_check(before, self.model.outputs))

    def with_reference(self, cache: Path, *, own: Path | None = None) -> dict[str, Examples]:
        """The splits with the reference's log-probs beside them, where the method needs a reference.

        `cache` is shared by all runs, `own` keeps what this run used.
        """
        if not self.objective.needs_reference or self._moves_reference():
            return self.splits
        started = time.perf_counter()
        total = sum(map(len, self.splits.values()))
        done = 0

        def between(share: float) -> None:
            self._stop.check()
            rows = done + round(share * len(self.splits[name]))
            self.say(REFERENCE_END * rows / total, f"Reference log-probabilities: {rows} of {total}")

        reader = ReferencePass(
            self._reference_passes(),
            ReferenceCache(cache, self._reference_hash(), dtype=self.settings.dtype, own=own),
            between=between,
            world=self.world,
        )
        with adapters_off(self.model):
            splits = {}
            for name, examples in self.splits.items():
                splits[name] = reader.over(examples)
                done += len(examples)
        self.reference_seconds = time.perf_counter() - started
        return splits

    def keep_only(self, indices: Sequence[int]) -> None:
        """Forget all but these training examples, which keep the answers to other prompts that they have in a run."""
        train = self.splits["train"]
        trees, mismatched = [train.trees[index] for index in indices], train.mismatched
        self.splits = {"train": Examples(trees, None, mismatched and [mismatched[index] for index in indices])}

    def trainer(
        self, examples: Examples, *, checkpoints: Checkpoints | None = None, bad_batch: Path | None = None
    ) -> Trainer:
        """The trainer over these examples, which reports to the run's progress."""
        trainer = Trainer(
            model=self.model,
            objective=self.objective,
            examples=examples,
            settings=self.settings,
            pad_id=self.tokenizer.pad_token_id,
            reference=self._reference_passes().model if self._moves_reference() else None,
            world=self.world,
            report=self._report,
            checkpoints=checkpoints,
            stop=self._stop,
            bad_batch=bad_batch,
            on_first_loss=lambda loss: self.check_first_loss(trainer, loss),
        )
        return trainer

    def check_first_loss(self, trainer: Trainer, loss: float) -> None:
        """Refuse a loss before any update that is not what it must be while policy and reference are the same."""
        if self._reference_folder() != self._folder or any(one.name == "first_loss" for one in self.checks):
            return
        first = [trainer.examples.trees[index] for indices in trainer.plan(0)[0] for index in indices]
        expected = self.objective.first_loss(first)
        if expected is not None:
            slope = self.objective.first_slope(first)
            self.checks.append(startchecks.first_loss_check(loss, expected, dtype=self.settings.dtype, slope=slope))

    def evaluate(self, trainer: Trainer, splits: Mapping[str, Examples]) -> dict[str, dict[str, Any]]:
        """The figures of every held-out split; a reward model is normalised by the first of them, and learns how sure
        it is where `laplace` is set."""

        def figures_of(name: str) -> dict[str, Any]:
            message = f"Evaluating on {name}: {len(splits[name])} examples"
            self.say(TRAINING_END, message, step=trainer.totals.step, steps=trainer.steps)
            return evaluate(trainer.passes, splits[name], between=self._stop.check)

        figures = {name: figures_of(name) for name in splits if name != "train"}
        if isinstance(self.model, RewardModel):
            held_out = next(iter(figures.values()), None) or figures_of("train")
            self.model.mean, self.model.std = held_out["reward"], held_out["reward_std"] or 1.0
            if prior := self.config["laplace"]:
                self.model.laplace = fit_laplace(
                    self.model,
                    splits["train"].trees,
                    prior=prior,
                    layout=self.settings.layout,
                    pad_id=self.tokenizer.pad_token_id,
                    token_budget=self.config["token_budget"],
                    between=self._stop.check,
                )
        return figures

    def save(self, folder: Path) -> None:
        """Write the trained model as a folder that transformers opens."""
        if self._is_conditional():
            self.tokenizer.chat_template = conditioned_template(self.tokenizer.chat_template, self.config["good"])
        if isinstance(self.model, RewardModel):
            save_reward(self.model, self.tokenizer, folder)
        else:
            save_policy(self.model, self.tokenizer, folder)

    def result(self, totals: Totals, figures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The content of result.json."""
        known = asdict(totals)
        return {
            "method": self.method.name,
            "steps": known.pop("step"),
            **known,
            "peak_memory_bytes": peak_memory(self._device),
            "eval": dict(figures),
            "data": self.data,
            "checks": [one.as_dict() for one in self.checks],
        }

    def say(
        self,
        fraction: float,
        message: str,
        *,
        step: int | None = None,
        steps: int = 0,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Report progress, where someone listens; without `step`, of the step that the run began at."""
        if self._progress:
            at = self._step if step is None else step
            self._progress.report(step=at, steps=steps, fraction=fraction, message=message, metrics=metrics)

    def _read(self, split: str, path: Path) -> Examples:
        kind = self.method.dataset_kind
        trees, report = read_trees(
            path,
            kind=kind,
            tokenizer=self.tokenizer,
            max_length=self._max_length(),
            encoder=reads_rows(self.model),
            conditions=(self.config["good"], self.config["bad"]) if self._is_conditional() else None,
        )
        self._stop.check()
        unlabelled = next((tree for tree in trees if tree.targets.get("label", False) is None), None)
        if unlabelled is not None and self.method.shape != "rating":
            raise EngineError(
                f"{path.name}, row {unlabelled.row}, column 'label': {self.method.name} learns from thumbs and the row "
                "has ratings only. Add labels, or take regression.",
                row=unlabelled.row,
                field="label",
            )
        examples = trees
        if isinstance(self.model, RewardModel) and self.model.separator is not None:
            examples = pair_trees(trees, self.model.separator, report)
        self.data[split] = report.as_dict()
        self.checks += startchecks.data_checks(split, report)
        if split == "train":
            self.checks += startchecks.shape_checks(trees, kind, self.config)
            self.checks += startchecks.method_checks(self.method, trees, self.config)
            startchecks.refuse(self.checks)
        else:
            self.checks.append(startchecks.overlap_check(Path(self.spec.data["train"]), path, split, kind=kind))
        return Examples(examples, mismatched=self._mismatched(split, trees))

    def _mismatched(self, split: str, trees: Sequence[PromptTree]) -> list[PromptTree | None] | None:
        """Answers to other prompts, for a method that measures its baseline on them; None for a held-out split without
        any, which is then measured against the last baseline of training."""
        if self.method.baseline != "kl":
            return None
        found = mismatched_trees(trees, max_length=self._max_length())
        if any(found):
            return found
        check = startchecks.no_baseline(split)
        startchecks.refuse([check])
        self.checks.append(check)
        return None

    def _max_length(self) -> int:
        """The most tokens of a row: as the settings say, but not more than the model has positions for."""
        return min(self.config["max_length"], positions(self.model.config))

    def _is_conditional(self) -> bool:
        """Whether the answers stand behind a text that says how good they are."""
        return "good" in self.objective.settings

    def _moves_reference(self) -> bool:
        """Whether the reference follows the policy, so that nothing can be computed beforehand."""
        return "sync_steps" in self.objective.settings

    def _reference_folder(self) -> Path:
        return self._folder if self.spec.reference is None else model_folder(self.spec.reference)

    def _reference_hash(self) -> str:
        """Of the weights, and of the configuration that says what is computed with them."""
        folder = self._reference_folder()
        return f"{weights_sha256(folder)}:{sha256_of(folder / 'config.json')}"

    def _reference_passes(self) -> Passes:
        """The policy itself before its first step, unless the spec names another reference."""
        model, layout = self.model, self.settings.layout
        if self._reference_folder() != self._folder:
            read = (tree for one in self.splits.values() for tree in (*one.trees, *(one.mismatched or ())))
            longest = max(tree.depth for tree in read if tree)
            model, layout = load_reference(
                self._reference_folder(), self._device, tokenizer=self.tokenizer, layout=layout, longest=longest
            )
        if layout != self.settings.layout and self._moves_reference():
            raise EngineError(
                "The reference cannot read several completions behind one prompt, as the policy does beside it. "
                "Set layout to padded.",
                field="config.layout",
            )
        return Passes(
            model,
            self.objective,
            layout=layout,
            dtype=self.settings.dtype,
            pad_id=self.tokenizer.pad_token_id,
            token_budget=self.settings.token_budget,
        )

    def _report(self, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        fraction = self._begin + (TRAINING_END - self._begin) * step / steps
        self.say(fraction, f"Training: step {step} of {steps}", step=step, steps=steps, metrics=metrics)
