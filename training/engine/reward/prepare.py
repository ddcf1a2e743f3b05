"""What a method, its settings and its data ask of a reward model before the first step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from training.engine.errors import EngineError
from training.engine.methods import Method
from training.engine.reward.model import TIES, RewardModel
from training.engine.reward.outputs import Outputs
from training.engine.trees import PromptTree

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def read_pairs_together(model: RewardModel, method: Method, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a preference model of it where the method trains one. EngineError for a preference model elsewhere."""
    if method.name == "preference_model":
        end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
        if end is None:
            raise EngineError(
                "The tokenizer names neither sep_token nor eos_token, so nothing can stand between two completions; "
                "add one to tokenizer_config.json.",
                field="model",
            )
        model.separator = model.separator or (int(end),)
    elif model.separator is not None:
        raise EngineError(
            f"This is a preference model, which reads two completions at once; {method.name} values one at a time. "
            "Train it on with preference_model, or choose another model.",
            field="model",
        )


def prepare(model: RewardModel, method: Method, config: Mapping[str, Any], trees: Sequence[PromptTree]) -> None:
    """Give the model the outputs that the settings and the training data ask for, and parameters for ties.

    A head that has these outputs already is trained on; any other is replaced by a new one from the seed. EngineError
    for settings that exclude each other or that these data cannot serve.
    """
    heads = int(config["heads"])
    if config["laplace"] and method.shape != "reward":
        raise EngineError(
            "Only pairs have the likelihood that laplace needs. Set laplace to 0.", field="config.laplace"
        )
    wanted = _outputs(method, trees)
    if heads > 1 and wanted.kind != "value":
        raise EngineError(
            f"These rows ask for one output per {wanted.kind.removesuffix('s')} ({', '.join(wanted.names)}), which do "
            "not go with an ensemble. Set heads to 1, or remove the column.",
            field="config.heads",
        )
    wanted = Outputs.ensemble(heads) if heads > 1 else wanted
    if (model.outputs.kind, model.outputs.names) != (wanted.kind, wanted.names):
        model.reset_head(wanted)
        if method.shape == "rating":
            _begin_at_the_mean(model, trees)
    model.outputs = wanted
    model.laplace = None  # an earlier one is that of earlier weights
    if method.name not in TIES:
        model.forget_ties()
    elif model.tie_odds is None:
        model.learn_ties(method.name, _first_tie_odds(trees))
    else:
        model.ties = method.name  # the odds mean the same for both


def _outputs(method: Method, trees: Sequence[PromptTree]) -> Outputs:
    if method.shape == "rating":
        aspects = sorted({aspect for tree in trees for aspect in tree.targets.get("ratings") or ()})
        if aspects and any(tree.targets.get("group") is not None for tree in trees):
            raise EngineError(
                f"These rows have ratings by aspect ({', '.join(aspects)}) and groups of annotators, and a head has "
                "outputs for one of them only. Remove the column ratings or the column group.",
                field="data.train",
            )
        if aspects:
            return Outputs.aspects(aspects)
    groups: dict[str, float] = defaultdict(float)
    for tree in trees:
        if (group := tree.targets.get("group")) is not None:
            groups[group] += float(tree.targets["weight"])
    if len(groups) < 2 or not sum(groups.values()):
        return Outputs()
    return Outputs.groups(dict(sorted(groups.items())))


def _first_tie_odds(trees: Sequence[PromptTree]) -> float:
    """The odds that the share of ties t would have if all completions were equals: t = odds / (odds + 2)."""
    weights = [float(tree.targets["weight"]) for tree in trees]
    ties = sum(weight * settled_ties(tree.targets) for weight, tree in zip(weights, trees, strict=True))
    share = min(max(ties / (sum(weights) or 1.0), 0.01), 0.9)
    return 2 * share / (1 - share)


def settled_ties(targets: Mapping[str, Any]) -> float:
    """A row's share of ties. p counts a tie as half a win, so ties beyond 2·min(p, 1 - p) were settled before, as in
    the p = 1 of a majority."""
    p = 1.0 if targets.get("p") is None else targets["p"]
    return float(min(targets.get("tie") or 0.0, 2 * p, 2 - 2 * p))


def _begin_at_the_mean(model: RewardModel, trees: Sequence[PromptTree]) -> None:
    """The offsets of a new head are the mean ratings: from zero, the first steps would move nothing else."""
    with torch.no_grad():
        if model.outputs.kind == "aspects":
            for row, name in enumerate(model.outputs.names):
                model.head.bias[row] = _mean(
                    [ratings[name] for tree in trees if name in (ratings := tree.targets.get("ratings") or {})]
                )
            return
        labels = [float(label) for tree in trees if (label := tree.targets.get("label")) is not None]
        # Groups share the first row, and the others are what they differ by.
        model.head.bias[slice(0, 1) if model.outputs.kind == "groups" else slice(None)] = _mean(labels)


def _mean(found: Sequence[float]) -> float:
    return sum(found) / max(len(found), 1)
