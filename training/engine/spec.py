"""The spec of a run: what `spec.json` may say, its defaults, and the refusal of everything else.

Standard library only: the web process builds its forms and checks its input with this module. The tables below
are the one place where a knob of a task is declared; the command line, the forms and the docs are made from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from training.engine.errors import EngineError
from training.engine.losses import LOSSES
from training.engine.methods import Method, Parameter
from training.engine.settings import check_value, listed, shown
from training.engine.terms import read_terms

SPLITS = ("train", "validation", "test")

SEED = Parameter(
    "seed", 0, "Seed of every random choice; the same seed gives the same run.", minimum=0, maximum=2**32 - 1
)
DTYPE = Parameter(
    "dtype", "float32", "Arithmetic of the model; weights and optimiser stay float32.", choices=("float32", "bfloat16")
)
DEVICE = Parameter(
    "device", "auto", "Where to compute; auto takes a GPU when there is one.", choices=("auto", "cpu", "cuda")
)

TRAIN_CONFIG: tuple[Parameter, ...] = (
    SEED,
    Parameter("epochs", 1, "Passes over the training data.", minimum=1, maximum=1000),
    Parameter("batch_size", 8, "Examples (pairs, labelled answers or demonstrations) per optimiser step.", minimum=1),
    Parameter(
        "learning_rate", 1e-5, "Peak learning rate of AdamW; each method has its own default.", minimum=0.0, maximum=1.0
    ),
    Parameter("warmup", 0.1, "Share of the steps in which the learning rate rises.", minimum=0.0, maximum=1.0),
    Parameter(
        "schedule", "linear", "How the learning rate falls after the rise.", choices=("linear", "cosine", "constant")
    ),
    Parameter("weight_decay", 0.0, "Decoupled weight decay of AdamW, on matrices only.", minimum=0.0, maximum=1.0),
    Parameter("max_grad_norm", 1.0, "Gradients are scaled down to this norm; 0 switches clipping off.", minimum=0.0),
    Parameter(
        "max_length", 1024, "Longest prompt + completion in tokens; longer rows are dropped, counted.", minimum=8
    ),
    Parameter("token_budget", 4096, "Most tokens in one forward pass; changes memory, never the result.", minimum=8),
    Parameter("layout", "auto", "tree shares the prompt between its completions.", choices=("auto", "tree", "padded")),
    DTYPE,
    DEVICE,
    Parameter(
        "lora_rank",
        0,
        "Rank of the adapters (LoRA) that are trained; 0 trains all weights. Adapters want about ten times the "
        "learning rate.",
        minimum=0,
    ),
    Parameter("lora_alpha", 32.0, "Adapters are scaled by lora_alpha / lora_rank.", minimum=0.0),
    Parameter("gradient_checkpointing", False, "Keep no activations inside layers: less memory, about a third slower."),
    Parameter(
        "compile",
        False,
        "Compile the layers with torch.compile; meant for a GPU and long runs, on a CPU it seldom pays.",
    ),
    Parameter("attention", "sdpa", "flex skips what nobody may see; for long rows on a GPU.", choices=("sdpa", "flex")),
    Parameter("processes", 1, "Processes that share the work of every step; one per GPU.", minimum=1, maximum=1024),
    Parameter("shard", False, "Shard weights, gradients and optimiser over the processes (FSDP2): less memory each."),
    Parameter("plus", "", "Further losses on the same data, such as 0.2*sft + 0.5*ipo(tau=0.5)."),
    Parameter("checkpoint_seconds", 60.0, "Seconds between checkpoints; 0 makes one after every step.", minimum=0),
)

# Beside those of its method, where a run makes a reward model.
REWARD_CONFIG: tuple[Parameter, ...] = (
    Parameter(
        "pooling",
        "auto",
        "What the reward is read from: the completion's last token (decoders), the mean or the first token of the "
        "whole row (encoders), or a reward for every token of the completion, averaged.",
        choices=("auto", "last", "mean", "cls", "tokens"),
    ),
    Parameter(
        "heads", 1, "Heads of an ensemble, whose disagreement is the uncertainty; 1 is none.", minimum=1, maximum=64
    ),
    Parameter("laplace", 0.0, "Prior precision of the last layer's Laplace approximation; 0 makes none.", minimum=0.0),
)

SAMPLE_CONFIG: tuple[Parameter, ...] = (
    Parameter("sampler", "auto", "auto takes vllm where it is installed.", choices=("auto", "vllm", "transformers")),
    Parameter("n", 2, "Completions per prompt.", minimum=1, maximum=64),
    Parameter("temperature", 1.0, "0 is greedy.", minimum=0.0, maximum=10.0),
    Parameter("top_p", 1.0, "Nucleus: smallest set of tokens with this much probability.", minimum=0.0, maximum=1.0),
    Parameter("max_tokens", 96, "Longest completion in tokens.", minimum=1),
    SEED,
)

STARTER_CONFIG: tuple[Parameter, ...] = (
    SEED,
    Parameter("seconds", 120, "Time for training the starter policy.", minimum=1, maximum=3600),
)

TASK_CONFIG: dict[str, tuple[Parameter, ...]] = {
    "train": TRAIN_CONFIG,
    "sample": SAMPLE_CONFIG,
    "starter": STARTER_CONFIG,
}
REQUIRED_KEYS: dict[str, tuple[str, ...]] = {
    "train": ("method", "model", "data"),
    "sample": ("model", "prompts"),
    "starter": (),
}
OPTIONAL_KEYS: dict[str, tuple[str, ...]] = {
    "train": ("reference", "config"),
    "sample": ("config",),
    "starter": ("config",),
}


@dataclass(frozen=True)
class Spec:
    """One run, complete: `config` holds a value for every parameter of the task (and of the method)."""

    task: str
    config: Mapping[str, Any]
    method: str | None = None
    model: str | None = None
    reference: str | None = None
    prompts: str | None = None
    data: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: only the keys that this task knows, so that it validates again."""
        known = ("task", *REQUIRED_KEYS[self.task], *OPTIONAL_KEYS[self.task])
        values = {name: getattr(self, name) for name in known}
        return {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in values.items()
            if value is not None
        }


def parameters(task: str, method: Method | None = None) -> tuple[Parameter, ...]:
    """Every knob of a task; with a method its own knobs too, and its own default learning rate."""
    table = TASK_CONFIG[task]
    if method is None:
        return table
    common = (replace(p, default=method.learning_rate) if p.name == "learning_rate" else p for p in table)
    return (*common, *method.parameters, *(REWARD_CONFIG if method.trains != "policy" else ()))


def validate(document: Any) -> Spec:
    """Turn a parsed `spec.json` into a Spec with every default filled in.

    Looks at the document only, never at the disk (see `check_files`). Raises EngineError naming the key.
    """
    if not isinstance(document, Mapping):
        raise EngineError('The spec must be a JSON object such as {"task": "train", …}.', field="spec")
    task = document.get("task")
    if not isinstance(task, str) or task not in TASK_CONFIG:
        raise EngineError(f"'task' must be one of {listed(TASK_CONFIG)}; it is {shown(task)}.", field="task")
    _check_keys(document, task)
    method = _method(document["method"]) if task == "train" else None
    return Spec(
        task=task,
        config=_config(document.get("config", {}), task, method),
        method=method.name if method else None,
        model=_text(document, "model"),
        reference=_text(document, "reference"),
        prompts=_text(document, "prompts"),
        data=_data(document["data"]) if task == "train" else {},
    )


def read_spec(path: Path) -> Spec:
    """Read and validate a spec file; EngineError says what is wrong with it."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EngineError(f"There is no spec file {path}.", field="spec") from None
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"The spec file {path} cannot be read: {error}.", field="spec") from None
    except json.JSONDecodeError as error:
        message = f"The spec file {path} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        raise EngineError(message, field="spec") from None
    return validate(document)


def check_files(spec: Spec) -> None:
    """Refuse a spec whose data or prompts are not files, naming the key. Models are checked by `modelfiles`."""
    named = {f"data.{split}": path for split, path in spec.data.items()}
    if spec.prompts is not None:
        named["prompts"] = spec.prompts
    for key, path in named.items():
        if not Path(path).is_file():
            raise EngineError(f"'{key}' names {path}, and there is no such file. Give a data file.", field=key)


def _check_keys(document: Mapping[str, Any], task: str) -> None:
    known = ("task", *REQUIRED_KEYS[task], *OPTIONAL_KEYS[task])
    for key in document:
        if key not in known:
            message = f"A spec of task '{task}' has no key '{key}'. It may hold {listed(known)}."
            raise EngineError(message, field=str(key))
    for key in REQUIRED_KEYS[task]:
        if key not in document:
            raise EngineError(f"A spec of task '{task}' needs the key '{key}'.", field=key)


def _method(name: Any) -> Method:
    if not isinstance(name, str) or name not in LOSSES:
        raise EngineError(f"'method' must be one of {listed(LOSSES)}; it is {shown(name)}.", field="method")
    return LOSSES[name]


def _config(given: Any, task: str, method: Method | None) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise EngineError("'config' must be an object of settings.", field="config")
    table = {parameter.name: parameter for parameter in parameters(task, method)}
    for key in given:
        if key not in table:
            what = f"method '{method.name}'" if method else f"task '{task}'"
            message = f"'config.{key}' is no setting of {what}. It knows {listed(table)}."
            raise EngineError(message, field=f"config.{key}")
    config = {
        name: check_value(parameter, given[name], key=f"config.{name}") if name in given else parameter.default
        for name, parameter in table.items()
    }
    if method:
        read_terms(method, config)
    return config


def _data(given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping) or "train" not in given:
        raise EngineError(
            "'data.train' is missing: 'data' must be an object that names the data files.", field="data.train"
        )
    for split in given:
        if split not in SPLITS:
            raise EngineError(f"'data.{split}' is no split. It may hold {listed(SPLITS)}.", field=f"data.{split}")
    named = {f"data.{split}": path for split, path in given.items()}
    return {key.removeprefix("data."): path for key in named if (path := _text(named, key)) is not None}


def _text(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    if value is None and key != "data.train":
        return None
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise EngineError(f"'{key}' must be a path; it is {shown(value)}.", field=key)
    return value
