"""The model that a run trains, in the form that its method and settings ask for."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.engine.acceleration import compile_layers, recompute_layers
from training.engine.adapters import NAME, add_adapters
from training.engine.attention import use_flex
from training.engine.batch import Layout
from training.engine.errors import EngineError
from training.engine.methods import Method, trains_reward
from training.engine.modelfiles import load_policy, load_reward, positions
from training.engine.objectives.paft import ADAPTERS
from training.engine.reward import RewardModel, read_pairs_together
from training.engine.scorer import supports_trees, tree_layout

# Adapters are what paft is about: it has them even where a run asks for none.
PAFT_RANK = 8


def load_learner(method: Method, config: Mapping[str, Any], folder: Path, device: torch.device) -> tuple[Any, Any]:
    """The model, with adapters and whatever else the settings ask for, and its tokenizer.

    Weights are float32 whatever the arithmetic is: small updates would be lost in bfloat16 ones. EngineError for
    settings that exclude each other.
    """
    _check(method, config)
    if trains_reward(method, config):
        pooling = None if config["pooling"] == "auto" else config["pooling"]
        model, tokenizer = load_reward(folder, device=str(device), pooling=pooling, seed=config["seed"])
        read_pairs_together(model, method, tokenizer)
        layers: Any = model.backbone
    else:
        model, tokenizer = load_policy(folder, device=str(device))
        layers = model
    side_by_side = method.name == "paft"
    if rank := config["lora_rank"] or (PAFT_RANK if side_by_side else 0):
        names = ADAPTERS if side_by_side else (NAME,)
        add_adapters(layers, rank=rank, alpha=config["lora_alpha"], seed=config["seed"], names=names)
    if config["gradient_checkpointing"]:
        recompute_layers(layers)
    if config["attention"] == "flex":
        use_flex(layers, device)
    if config["compile"]:
        compile_layers(layers)
    return model, tokenizer


def load_reference(
    folder: Path, device: torch.device, *, tokenizer: Any, layout: Layout, longest: int
) -> tuple[Any, Layout]:
    """A reference from a folder of its own, and the layout in which it reads what the policy reads in ``layout``.

    EngineError where it cannot be compared: another tokenizer, or fewer positions than the ``longest`` row has tokens.
    """
    model, own = load_policy(folder, device=str(device))
    if own.get_vocab() != tokenizer.get_vocab():
        raise EngineError(
            "The reference has another tokenizer than the model, so their log-probs cannot be compared. "
            "Give a reference with the same tokenizer.",
            field="reference",
        )
    if longest > positions(model.config):
        raise EngineError(
            f"The reference has positions for {positions(model.config)} tokens, and the longest row has {longest}. "
            f"Set max_length to {positions(model.config)}.",
            field="config.max_length",
        )
    return model, layout if supports_trees(model) else "padded"


def reads_rows(model: Any) -> bool:
    """Whether the model reads prompt and completion as one (encoders)."""
    return isinstance(model, RewardModel) and model.reads_rows


def layout_of(model: Any, config: Mapping[str, Any]) -> Layout:
    """The layout of the batches. EngineError when the settings ask for trees and the model cannot take them."""
    wanted: str = config["layout"]
    able = not reads_rows(model) and supports_trees(model)
    if wanted == "tree" and not able:
        raise EngineError(
            "This model's attention cannot be masked by completion, so layout 'tree' would give wrong numbers. "
            "Set layout to 'auto' or 'padded'.",
            field="config.layout",
        )
    return "padded" if wanted == "padded" or not able else tree_layout(model)


def device_of(name: str) -> torch.device:
    """The device that the setting `device` means here. EngineError for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise EngineError(
            "There is no GPU that torch can use here. Set device to 'auto' or 'cpu'.", field="config.device"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def seed_everything(seed: int) -> None:
    """Seeds the random generators that libraries may draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _check(method: Method, config: Mapping[str, Any]) -> None:
    if config["shard"] and (method.name in ("paft", "tr_dpo") or config.get("laplace")):
        raise EngineError(
            f"{method.name} with these settings needs whole weights in every process. Set shard to false.",
            field="config.shard",
        )
    if method.name == "paft" and config["gradient_checkpointing"]:
        raise EngineError(
            "paft scores its two adapters apart, which computing layers again would mix up. Set "
            "gradient_checkpointing to false.",
            field="config.gradient_checkpointing",
        )
