"""The setting `plus`: further losses in a weighted sum, such as `0.2*sft + 0.5*ipo`. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from training.engine.errors import EngineError
from training.engine.losses import LOSSES
from training.engine.methods import Method, trains_reward

_TERM = re.compile(r"(?:(\d+(?:\.\d*)?|\.\d+)\s*\*\s*)?([a-z_]+)")


def read_plus(method: Method, config: Mapping[str, Any]) -> list[tuple[float, Method]]:
    """The (weight, method) of every term of ``plus`` in ``config``, the settings of a run of ``method``. EngineError
    for a term that is unknown or does not go with ``method``.

    Terms go together when they read the same data in the same way and train the same; `sft` goes with every policy's
    method and acts on the chosen, liked or best completions, as a mean per token. Settings of the same name have the
    same value.
    """
    text = str(config.get("plus", ""))
    reward = trains_reward(method, config)
    found: list[tuple[float, Method]] = []
    for part in map(str.strip, text.split("+") if text.strip() else ()):
        match = _TERM.fullmatch(part)
        if not match or match[2] not in LOSSES:
            what = f"'{part}' is no term" if part else "a term is missing beside a +"
            raise _refused(f"{what}. Write a number, * and a method, such as 0.2*sft.")
        added = LOSSES[match[2]]
        if added is method or not _go_together(method, added, reward=reward):
            others = (one for one in LOSSES.values() if one is not method)
            partners = [one.name for one in others if _go_together(method, one, reward=reward)]
            what = f"Possible are {', '.join(partners)}." if partners else "It stands alone; leave plus empty."
            raise _refused(f"{added.name} cannot be added to {method.name}. {what}")
        found.append((float(match[1] or 1.0), added))
    return found


def _go_together(method: Method, added: Method, *, reward: bool) -> bool:
    if any(one.whole_step or one.name in _ALONE for one in (method, added)):
        return False
    if added.name == "sft":
        return method.shape in ("pairwise", "unpaired", "listwise") and not reward
    alike = (method.shape, method.dataset_kind) == (added.shape, added.dataset_kind)
    able = added.trains in ("either", "reward" if reward else "policy")
    return alike and able and {method.baseline, added.baseline} in ({method.baseline}, {method.baseline, "none"})


# Methods that change more than the loss: the model that is trained, its reference, its data.
_ALONE = frozenset({"paft", "tr_dpo", "conditional_sft", "davidson", "rao_kupper", "preference_model", "regression"})


def _refused(message: str) -> EngineError:
    return EngineError(f"'config.plus': {message}", field="config.plus")
