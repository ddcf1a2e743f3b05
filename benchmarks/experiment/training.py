"""One run of one method in the world, through the classes that `python -m training.engine` runs."""

import inspect
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.stats import kendalltau

from experiment import world
from training.engine.batch import micro_batches
from training.engine.methods import Method
from training.engine.modelfiles import load_policy
from training.engine.objectives import make_objective
from training.engine.passes import Passes
from training.engine.rendering import ChatRenderer
from training.engine.reward.preference import preference
from training.engine.rows import Row
from training.engine.samplers.types import Sample
from training.engine.spec import validate
from training.engine.stop import Stop
from training.engine.trainingjob import TrainingJob
from training.engine.trees import PromptTree

# Completions in an optimiser step, whatever the shape of the rows.
PER_STEP = 16
COMPLETIONS = {"pairwise": 2, "listwise": world.K, "binary": 1, "demonstration": 1}
# Demonstrations are half of the samples, so they are seen twice: the same number of completions for every method.
EPOCHS = {"demonstration": 2}
# Where the defaults would show nothing: two methods would be DPO in so short a run, and of the two conditions the
# starter's tokenizer makes six tokens each, the last two the same, which so small a policy does not tell apart.
SETTINGS = {
    "f_dpo": {"divergence": "js"},
    "tr_dpo": {"sync_steps": 8},
    "conditional_sft": {"good": "Good", "bad": "Bad"},
}


@dataclass(frozen=True)
class Setting:
    """What all runs of one world share. `train` is what the start policy answered; the rest is held out.

    Learning rates are chosen on `validation`: policies answer it, reward models judge the start policy's answers to it,
    `chosen_by`. What is published is measured on `test` and on the answers to it, `judged`.
    """

    seed: int
    start: Path
    speaker: world.Speaker
    train: Sequence[world.Answered]
    validation: Sequence[world.Question]
    test: Sequence[world.Question]
    chosen_by: Sequence[world.Answered]
    judged: Sequence[world.Answered]
    points: int
    epochs: int


def train(setting: Setting, method: Method, *, learning_rate: float, trains: str) -> dict[str, Any]:
    """The curve of the held-out figures (without the start), and by what the learning rate is chosen: the
    reward on the validation prompts and the KL there, of reward models the accuracy and none."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = folder / "train.jsonl"
        rows = list(world.rows(method.dataset_kind, setting.train, _columns(method), seed=setting.seed))
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        config: dict[str, Any] = {
            "learning_rate": learning_rate,
            "seed": setting.seed,
            "batch_size": PER_STEP // COMPLETIONS[method.dataset_kind],
            "epochs": setting.epochs * EPOCHS.get(method.dataset_kind, 1),
            **SETTINGS.get(method.name, {}),
        }
        if method.trains == "either":
            config["trains"] = trains
        document = {"task": "train", "method": method.name, "model": str(setting.start)}
        spec = validate(document | {"data": {"train": str(data)}, "config": config})

        def look() -> dict[str, float]:
            return _look_at_policy(setting, job, folder) if trains == "policy" else _look_at_reward(job, setting.judged)

        watch = Watch(setting.points, look)
        job = TrainingJob(spec, Stop(), progress=watch)  # type: ignore[arg-type]
        examples = job.with_reference(folder / "reference")["train"]
        job.trainer(examples).train()
        found: dict[str, Any] = {"curve": watch.curve, "rows": len(rows)}
        if trains == "policy":
            prompts = [one.prompt for one in setting.validation]
            drawn = setting.speaker.ask(_saved(job, folder), prompts, n=1, seed=setting.seed + 1)
            reward = statistics.fmean(world.rule(sample.text) for group in drawn for sample in group)
            found |= {"validation": reward, "validation_kl": _kl_to_start(setting, prompts, drawn)}
        else:
            accuracy = _look_at_reward(job, setting.chosen_by)["accuracy"]
            found |= {"validation": accuracy, "validation_kl": 0.0}
        return found


def look_at_start(setting: Setting) -> dict[str, float]:
    """The figures of the policy before any training."""
    return _figures(setting, setting.start) | {"share": 0.0}


class Watch:
    """Stands where a run's progress file would and looks at the model at evenly spaced steps, the last among them."""

    def __init__(self, points: int, look: Callable[[], dict[str, float]]) -> None:
        self.curve: list[dict[str, float]] = []
        self._points = points
        self._look = look

    def report(self, *, step: int, steps: int, fraction: float, message: str, metrics: Any = None) -> None:
        due = [round(steps * (number + 1) / self._points) for number in range(self._points)]
        if metrics and step in due:
            self.curve.append(self._look() | {"share": step / steps})


def _columns(method: Method) -> frozenset[str]:
    """The optional columns that this method reads, so that no other method learns from them."""
    columns = {parameter.column for parameter in method.parameters if parameter.column}
    columns |= {"tie"} & set(inspect.signature(method.fn).parameters)
    return frozenset(columns | ({"ratings"} if method.shape == "rating" else set()))


def _saved(job: TrainingJob, folder: Path) -> Path:
    target = folder / "policy"
    job.save(target)
    return target


def _look_at_policy(setting: Setting, job: TrainingJob, folder: Path) -> dict[str, float]:
    with torch.no_grad():
        return _figures(setting, _saved(job, folder))


def _figures(setting: Setting, folder: Path) -> dict[str, float]:
    """Known reward, length, KL to the start per completion, NLL per token of good answers."""
    prompts = [one.prompt for one in setting.test]
    drawn = setting.speaker.ask(folder, prompts, n=2, seed=setting.seed)
    samples = [sample for group in drawn for sample in group]
    rewards = [world.rule(sample.text) for sample in samples]
    good = [(one.good,) for one in setting.test]
    tokenizer = load_policy(folder)[1]
    renderer = ChatRenderer(tokenizer, 2048)
    answers = [
        renderer.render(Row("good", at, {}), prompt, text).completions  # type: ignore[union-attr]
        for at, (prompt, text) in enumerate(zip(prompts, good, strict=True))
    ]
    tokens = sum(len(one) for group in answers for one in group)
    return {
        "reward": statistics.fmean(rewards),
        "words": statistics.fmean(len(sample.text.split()) for sample in samples),
        "kl": _kl_to_start(setting, prompts, drawn),
        "nll": -sum(_logps(folder, prompts, answers)) / tokens,
    }


def _kl_to_start(setting: Setting, prompts: Sequence[world.Messages], drawn: Sequence[Sequence[Sample]]) -> float:
    """KL to the start policy in nats per completion, estimated on a policy's own samples."""
    completions = [tuple(tuple(sample.token_ids) for sample in group) for group in drawn]
    samples = [sample for group in drawn for sample in group]
    before = sum(_logps(setting.start, prompts, completions))
    return (sum(sample.logprob for sample in samples) - before) / len(samples)


@torch.no_grad()
def _logps(
    folder: Path, prompts: Sequence[world.Messages], completions: Sequence[tuple[tuple[int, ...], ...]]
) -> list[float]:
    """What a policy folder gives the completions, each prompt as its own template renders it."""
    model, tokenizer = load_policy(folder)
    renderer = ChatRenderer(tokenizer, 2048)
    trees = [
        PromptTree(row, renderer.prompt_ids(prompt), group, {"weight": 1.0})
        for row, (prompt, group) in enumerate(zip(prompts, completions, strict=True))
    ]
    passes = Passes(model, make_objective("sft"), layout="tree", dtype="float32", pad_id=tokenizer.pad_token_id)
    batches = micro_batches(trees, range(len(trees)), layout="tree", token_budget=4096)
    return [value for batch in batches for value in passes.logps([trees[index] for index in batch]).tolist()]


@torch.no_grad()
def _look_at_reward(job: TrainingJob, answered: Sequence[world.Answered]) -> dict[str, float]:
    """Accuracy on all decided pairs of answers to a prompt and Kendall's τ-b inside a prompt, against the rule."""
    renderer = ChatRenderer(job.tokenizer, 2048)
    right, decided, taus = 0.0, 0, []
    for row, one in enumerate(answered):
        tokens = tuple(tuple(sample.token_ids) for sample in one.samples)
        tree = PromptTree(row, renderer.prompt_ids(one.prompt), tokens, {"weight": 1.0})
        matrix = preference(job.model, tree, layout=job.settings.layout, pad_id=job.tokenizer.pad_token_id)
        worth = (matrix - matrix.T).sum(1).tolist()
        for a in range(len(worth)):
            for b in range(a):
                gap = one.scores[a] - one.scores[b]
                if abs(gap) >= world.TIE:
                    decided += 1
                    right += float((worth[a] > worth[b]) == (gap > 0))
        tau = kendalltau(worth, one.scores).statistic
        taus += [float(tau)] if tau == tau else []
    return {"accuracy": right / decided, "tau": statistics.fmean(taus), "decided": float(decided)}
