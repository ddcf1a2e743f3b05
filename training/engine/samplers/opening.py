"""Choosing and loading a sampler by its name in the spec."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from training.engine.errors import EngineError
from training.engine.samplers.types import Sampler


def open_sampler(
    name: str, model: Path, *, ends: Sequence[int], max_length: int, scratch: Path
) -> tuple[Sampler, str | None]:
    """The sampler with the policy in the checked folder `model` loaded, and why `auto` could not take vLLM, if so.

    `ends` are the token ids that end a completion, `max_length` the most tokens of a prompt with its completion, and
    `scratch` a folder for vLLM's own files. EngineError for `vllm` where vLLM or the model does not work with it.
    """
    if name == "transformers":
        return _open_transformers(model, ends), None
    try:
        return _open_vllm(model, ends, max_length, scratch), None
    except EngineError as error:
        if name == "vllm":
            raise
        return _open_transformers(model, ends), str(error)


def _open_transformers(model: Path, ends: Sequence[int]) -> Sampler:
    from training.engine.samplers.generate import TransformersSampler

    return TransformersSampler(model, ends=ends)


def _open_vllm(model: Path, ends: Sequence[int], max_length: int, scratch: Path) -> Sampler:
    from training.engine.samplers import offline

    offline.prepare_environment(scratch)
    try:
        importlib.import_module("vllm")
    except Exception as error:  # a broken installation (torchvision, a missing library) fails in many ways
        raise EngineError(
            f"vLLM cannot be imported here ({type(error).__name__}: {error}). Install requirements for vLLM, or choose "
            "the sampler 'transformers'.",
            field="config.sampler",
        ) from error
    return offline.VllmSampler(model, ends=ends, max_length=max_length)
