"""Finished parts of a sampling run, so that a killed one goes on where it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.engine.files import read_json, write_atomic, write_json
from training.engine.samplers.types import Sample


class Shards:
    """A folder with one file per finished chunk of prompts; files are whole or not there.

    `made_of` names what the completions depend on beside the spec (the weights, the prompts, the sampler). Where it
    differs from that of the files found, they are thrown away: completions of two policies never mix.
    """

    def __init__(self, folder: Path, made_of: Mapping[str, Any]) -> None:
        self._folder = folder
        plan = folder / "made_of.json"
        if read_json(plan) != dict(made_of):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_json(plan, dict(made_of))

    def has(self, number: int) -> bool:
        """Whether chunk `number` is done."""
        return self._path(number).is_file()

    def write(self, number: int, samples: Sequence[Sample]) -> None:
        """Keep the completions of chunk `number`."""
        lines = (json.dumps(sample.as_row(), ensure_ascii=False) + "\n" for sample in samples)
        write_atomic(self._path(number), "".join(lines).encode())

    def rows(self, number: int) -> list[dict[str, Any]]:
        """The rows of a finished chunk."""
        return [json.loads(line) for line in self._path(number).read_text(encoding="utf-8").splitlines()]

    def join(self, count: int, target: Path) -> None:
        """All chunks in order as one file, which appears whole."""
        write_atomic(target, b"".join(self._path(number).read_bytes() for number in range(count)))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.jsonl"
