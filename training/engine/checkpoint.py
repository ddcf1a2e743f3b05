"""Checkpoints: everything a run needs to go on as if it had never stopped, in safetensors and JSON only.

    checkpoint/step-00000012/{weights,optimizer,random}.safetensors + state.json (with the sha256 of the others, and of
    what the run was made from)

A checkpoint appears by rename, so a newer one is whole before an older one goes. No pickle is written or read.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.engine.errors import EngineError
from training.engine.files import PARTIAL, read_json, sha256_of, whole_folder, write_json
from training.engine.parallel import placed_like, whole

STATE = "state.json"
TENSOR_FILES = ("weights.safetensors", "optimizer.safetensors", "random.safetensors")


class Checkpoints:
    """The checkpoints of one run; only the newest is kept. `origins` are hashes of what the run was made from: a
    checkpoint is taken up by a run of the same origins only."""

    def __init__(self, folder: Path, *, origins: Mapping[str, str] | None = None, writes: bool = True) -> None:
        self.folder = folder
        self.origins = dict(origins or {})
        self.writes = writes

    def save(
        self,
        *,
        step: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        state: Mapping[str, Any],
        others: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write the state after `step` steps, then drop older checkpoints.

        With `writes` false nothing is written. `state` is whatever else the run has to remember, as JSON; `others` are
        tensors beside the trained weights that change with the run.
        """
        randoms, random_tensors = _random_state()
        kept = (_trained(model) | dict(others or {}), _optimizer_tensors(optimizer), random_tensors)
        # Of weights that are sharded, every process has a part, and all must give theirs.
        contents = [{name: whole(value) for name, value in content.items()} for content in kept]
        if not self.writes or self._path(step).exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_folder(self._path(step)) as partial:
            for name, content in zip(TENSOR_FILES, contents, strict=True):
                save_file({key: value.contiguous() for key, value in content.items()}, partial / name)
            document = {
                "step": step,
                "state": dict(state),
                "random": randoms,
                "origins": self.origins,
                "sha256": {name: sha256_of(partial / name) for name in TENSOR_FILES},
            }
            write_json(partial / STATE, document)
        for path in [*self._steps()[:-1], *self.folder.glob(f"step-*{PARTIAL}")]:
            shutil.rmtree(path, ignore_errors=True)

    def step(self) -> int:
        """The step of the newest checkpoint; 0 where there is none. EngineError for one that this run cannot take up,
        because it is damaged or other things have changed."""
        steps = self._steps()
        return int(self._document(steps[-1])["step"]) if steps else 0

    def restore(
        self, *, model: nn.Module, optimizer: torch.optim.Optimizer, others: Mapping[str, Tensor] | None = None
    ) -> tuple[int, dict[str, Any]] | None:
        """Put the newest checkpoint into model, optimiser, `others` and random generators; returns (step, state).

        None where there is none. EngineError when its files are not those that were written, or other things changed.
        """
        steps = self._steps()
        if not steps:
            return None
        path = steps[-1]
        document = self._document(path)
        hashes = document["sha256"]
        if not all((path / name).is_file() and sha256_of(path / name) == hashes[name] for name in TENSOR_FILES):
            raise self._damaged(path)
        weights, moments, randoms = (load_file(path / name) for name in TENSOR_FILES)
        with torch.no_grad():
            for name, parameter in (_trained(model) | dict(others or {})).items():
                parameter.copy_(placed_like(weights[name], parameter))
        _restore_optimizer(optimizer, moments)
        _restore_random(document["random"], randoms)
        return document["step"], document["state"]

    def _document(self, path: Path) -> dict[str, Any]:
        """state.json of a checkpoint, of the same origins as this run."""
        document = read_json(path / STATE)
        if not isinstance(document, dict) or not {"step", "state", "random", "origins", "sha256"} <= document.keys():
            raise self._damaged(path)
        kept = document["origins"]
        changed = next((key for key in sorted({*kept, *self.origins}) if kept.get(key) != self.origins.get(key)), None)
        if changed:
            raise EngineError(
                f"'{changed}' is not what it was when this run was stopped after step {document['step']}. Put the old "
                f"one back to go on, or delete the folder {self.folder} to start again.",
                field=changed,
            )
        return document

    def _damaged(self, path: Path) -> EngineError:
        return EngineError(
            f"The checkpoint {path} is damaged, or another version wrote it. Delete the folder {self.folder} to start "
            "the run again.",
            field="out",
        )

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def _steps(self) -> list[Path]:
        return sorted(self.folder.glob("step-" + "[0-9]" * 8))


def _trained(model: nn.Module) -> dict[str, Tensor]:
    """The weights that training changes; frozen ones are in the folder that the run began with."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as `{index of the parameter}.{name}`, in the order of its state_dict."""
    states = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, state in states.items() for name, value in state.items()}


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    document = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        # A fresh allocation: files are mapped at any address, and vector instructions may round by alignment.
        states.setdefault(int(index), {})[name] = placed_like(value.clone(), parameters[int(index)])
    optimizer.load_state_dict({**document, "state": states})


def _random_state() -> tuple[dict[str, Any], dict[str, Tensor]]:
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    tensors = {
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            tensors[f"cuda.{index}"] = state
    document = {
        "python": [version, list(internal), gauss],
        "numpy": [str(name), int(position), int(has_gauss), float(cached)],
    }
    return json.loads(json.dumps(document)), tensors


def _restore_random(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    version, internal, gauss = document["python"]
    random.setstate((version, tuple(internal), gauss))
    name, position, has_gauss, cached = document["numpy"]
    keys = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state((name, keys, position, has_gauss, cached))
    torch.set_rng_state(tensors["torch"])
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            if (state := tensors.get(f"cuda.{index}")) is not None:
                torch.cuda.set_rng_state(state, index)
