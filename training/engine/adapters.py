"""Low-rank adapters (LoRA, arXiv:2106.09685) by peft, in place: the model stays the transformers model that it was.

Every linear layer but the vocabulary projection gets one. Nothing else is trained (a reward model's head is), so the
frozen weights are those of the folder, and with the adapters off the model is its own reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from training.engine.errors import EngineError

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer

NAME = "default"
FOLDER = "adapter"


def add_adapters(model: nn.Module, *, rank: int, alpha: float, seed: int = 0, names: Sequence[str] = (NAME,)) -> None:
    """Puts adapters on every linear layer of a transformers model and freezes the rest; all of them are at work.

    An adapter adds alpha/rank·B·A to a weight; B is zero at first, A is drawn from ``seed``. No dropout: with it,
    policy and reference differ before the first step. EngineError where no layer can take one.
    """
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", lora_dropout=0.0, bias="none")
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        try:
            inject_adapter_in_model(config, model, names[0])
        except ValueError as error:
            raise EngineError(
                f"No layer of this model can take an adapter ({error}). Set lora_rank to 0.", field="config.lora_rank"
            ) from error
        for layer in adapter_layers(model).values():
            for name in names[1:]:
                layer.update_layer(name, r=rank, lora_alpha=alpha, config=config)
            layer.set_adapter(list(names))


def adapter_layers(model: nn.Module) -> dict[str, LoraLayer]:
    """The layers that carry an adapter, by name; empty for a model without any."""
    return {name: cast("LoraLayer", layer) for name, layer in model.named_modules() if hasattr(layer, "lora_A")}


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Within, the model gives what its folder gives. Nothing happens to a model without adapters."""
    layers = list(adapter_layers(model).values())
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


@contextmanager
def only_adapter(model: nn.Module, name: str) -> Iterator[None]:
    """Within, the other adapters add nothing and get no gradient; their weights stay as they are.

    What is computed within must not be computed again later, as gradient checkpointing does.
    """
    layers = list(adapter_layers(model).values())
    before = [dict(layer.scaling) for layer in layers]
    for layer in layers:
        layer.scaling = {one: scale if one == name else 0.0 for one, scale in layer.scaling.items()}
    try:
        yield
    finally:
        for layer, scaling in zip(layers, before, strict=True):
            layer.scaling = scaling


def merged_weights(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of the model as if it had been trained without adapters: weight + alpha/rank·B·A."""
    layers = adapter_layers(model)
    merged = {}
    for name, value in model.state_dict().items():
        if ".lora_" in name:
            continue
        for layer in _around(layers, name):
            for adapter in layer.active_adapters:
                value = value + layer.get_delta_weight(adapter).to(value.dtype)
        merged[plain_name(name)] = value
    return merged


def plain_name(name: str) -> str:
    """The name that a weight has in the model without adapters."""
    return re.sub(r"\.base_layer(?=\.)", "", name)


def _around(layers: Mapping[str, LoraLayer], name: str) -> Iterator[LoraLayer]:
    """The layers that adapt the parameter ``name`` of a state dict; of a mixture's experts, one wraps the other."""
    owner, _, last = name.rpartition(".base_layer.")
    while owner in layers:
        if getattr(layers[owner], "parameter_name", "weight") == last:
            yield layers[owner]
        owner = owner.removesuffix(".base_layer") if owner.endswith(".base_layer") else ""


def save_adapters(model: Any, folder: Path) -> None:
    """Writes the adapters alone, as peft opens them on the model that the run began with."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    content = get_peft_model_state_dict(model, adapter_name=NAME)
    tensors = {f"base_model.model.{name}": value.contiguous().cpu() for name, value in content.items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = model.peft_config[NAME]
    config.inference_mode = True
    config.save_pretrained(folder)
    config.inference_mode = False
