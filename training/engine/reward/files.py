"""What a reward model's folder holds beside the backbone: ``reward.json`` (how it reads and what its outputs stand
for) and the head's safetensors (weights, normalisation, tie odds, Laplace precision)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.engine.errors import EngineError
from training.engine.modelfiles import HEAD_FILE, REWARD_FILE
from training.engine.reward.laplace import Laplace
from training.engine.reward.model import TIES, Pooling, RewardModel
from training.engine.reward.outputs import Outputs


@dataclass(frozen=True, slots=True)
class Settings:
    """The content of reward.json. ``separator`` is None for a model that values one completion at a time, ``ties`` for
    one that knows none."""

    pooling: Pooling
    outputs: Outputs
    separator: tuple[int, ...] | None
    ties: str | None


def read_settings(folder: Path) -> Settings | None:
    """The settings of a trained reward model, None for a folder that is none. EngineError when they are damaged."""
    path = folder / REWARD_FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        outputs, separator = content["outputs"], content["separator"]
        settings = Settings(
            content["pooling"],
            Outputs(outputs["kind"], tuple(outputs["names"]), tuple(map(float, outputs["shares"]))),
            None if separator is None else tuple(map(int, separator)),
            content.get("ties"),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"{REWARD_FILE} cannot be understood ({type(error).__name__}: {error})") from error
    if settings.pooling not in get_args(Pooling):
        raise _damaged(folder, f"{REWARD_FILE} names an unknown pooling, {settings.pooling!r}")
    if settings.ties not in (None, *TIES):
        raise _damaged(folder, f"{REWARD_FILE} names an unknown model of ties, {settings.ties!r}")
    return settings


def write(model: RewardModel, folder: Path) -> None:
    """Writes both files."""
    outputs = {"kind": model.outputs.kind, "names": model.outputs.names, "shares": model.outputs.shares}
    content = {"pooling": model.pooling, "outputs": outputs, "separator": model.separator, "ties": model.ties}
    (folder / REWARD_FILE).write_text(json.dumps(content) + "\n", encoding="utf-8")
    tensors = {
        **model.head.state_dict(),
        # float64: a model that comes back must say the same to the last bit.
        "mean": torch.tensor(model.mean, dtype=torch.float64),
        "std": torch.tensor(model.std, dtype=torch.float64),
    }
    if model.scaled_log_tie_odds is not None:
        tensors["scaled_log_tie_odds"] = model.scaled_log_tie_odds.detach()
    if model.laplace is not None:
        tensors["laplace_precision"] = model.laplace.precision
    save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, folder / HEAD_FILE)


def read_head(model: RewardModel, folder: Path, settings: Settings) -> None:
    """Puts the stored head, its normalisation and what was learnt about ties and certainty into ``model``.

    EngineError when a part is missing, of another size or not finite.
    """
    try:
        tensors = load_file(folder / HEAD_FILE, device=str(model.head.weight.device))
    except (OSError, SafetensorError) as error:
        raise _damaged(folder, f"{HEAD_FILE} is missing or cannot be read") from error
    model.separator = settings.separator
    model.reset_head(settings.outputs)
    with torch.no_grad():
        for name, value in model.head.named_parameters():
            value.copy_(_tensor(tensors, name, value.shape, folder))
    model.mean, model.std = (float(_tensor(tensors, name, (), folder)) for name in ("mean", "std"))
    if not model.std > 0:
        raise _damaged(folder, f"the standard deviation of its values, in {HEAD_FILE}, is {model.std}")
    if settings.ties is None and "scaled_log_tie_odds" in tensors:
        raise _damaged(folder, f"{REWARD_FILE} does not say which model of ties the odds in {HEAD_FILE} belong to")
    if settings.ties:
        model.ties = settings.ties
        model.scaled_log_tie_odds = nn.Parameter(_tensor(tensors, "scaled_log_tie_odds", (1,), folder))
    if "laplace_precision" in tensors:
        width = model.head.weight.shape[1]
        try:
            model.laplace = Laplace(_tensor(tensors, "laplace_precision", (width, width), folder))
        except torch.linalg.LinAlgError as error:
            raise _damaged(folder, f"the Laplace precision in {HEAD_FILE} is not positive definite") from error


def _tensor(tensors: dict[str, Tensor], name: str, shape: Any, folder: Path) -> Tensor:
    value = tensors.get(name)
    if value is None or value.shape != torch.Size(shape) or not bool(torch.isfinite(value).all()):
        what = "lacks" if value is None else "holds a damaged"
        raise _damaged(folder, f"{HEAD_FILE} {what} {name!r}")
    return value


def _damaged(folder: Path, what: str) -> EngineError:
    return EngineError(f"{folder.name}: {what}; train the reward model again.", field="model")
