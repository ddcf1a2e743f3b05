"""The setting `plus`: further losses in a weighted sum, such as `0.2*sft + 0.5*ipo`. Standard library only."""

from __future__ import annotations

import re

from training.engine.errors import EngineError
from training.engine.losses import LOSSES
from training.engine.methods import Method

_TERM = re.compile(r"(?:(\d+(?:\.\d*)?|\.\d+)\s*\*\s*)?([a-z_]+)")


def read_plus(text: str, method: Method) -> list[tuple[float, Method]]:
    """The (weight, method) of every term. EngineError for one that is unknown or does not go with ``method``.

    Terms go together when they read the same data in the same way; `sft` goes with every policy's method and acts on
    the chosen, liked or best completions, as a mean per token. Settings of the same name have the same value.
    """
    found: list[tuple[float, Method]] = []
    for part in (part.strip() for part in text.split("+") if part.strip()):
        match = _TERM.fullmatch(part)
        if not match or match[2] not in LOSSES:
            raise _refused(f"'{part}' is no term. Write a number, * and a method, such as 0.2*sft.")
        added = LOSSES[match[2]]
        if added is method or not _go_together(method, added):
            partners = [name for name, one in LOSSES.items() if one is not method and _go_together(method, one)]
            what = f"Possible are {', '.join(partners)}." if partners else "It stands alone; leave plus empty."
            raise _refused(f"{added.name} cannot be added to {method.name}. {what}")
        found.append((float(match[1] or 1.0), added))
    return found


def _go_together(method: Method, added: Method) -> bool:
    if any(one.whole_step or one.name in _ALONE for one in (method, added)):
        return False
    if added.name == "sft":
        return method.shape in ("pairwise", "unpaired") or (method.shape == "listwise" and method.trains != "reward")
    alike = (method.shape, method.dataset_kind, method.trains) == (added.shape, added.dataset_kind, added.trains)
    return alike and {method.baseline, added.baseline} in ({method.baseline}, {method.baseline, "none"})


# Methods that change more than the loss: the model that is trained, its reference, its data.
_ALONE = frozenset({"paft", "tr_dpo", "conditional_sft", "davidson", "rao_kupper", "preference_model", "regression"})


def _refused(message: str) -> EngineError:
    return EngineError(f"'config.plus': {message}", field="config.plus")
