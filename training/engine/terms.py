"""The losses of a run: its method, and the further ones that the setting `plus` adds to it in a weighted sum, such as
`0.2*sft + 0.5*ipo(tau=0.5)`. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from training.engine.errors import EngineError
from training.engine.losses import LOSSES
from training.engine.methods import Method, Parameter, Value, trains_reward
from training.engine.settings import check_value

_TERM = re.compile(r"(?:(\d+(?:\.\d*)?|\.\d+)\s*\*\s*)?([a-z_]+)\s*(?:\(([^()]*)\))?")
_SETTING = re.compile(r"\s*([a-z_]+)\s*=\s*(\S+)\s*")


@dataclass(frozen=True)
class Term:
    """One loss of a weighted sum, with the settings that its function takes."""

    weight: float
    method: Method
    settings: Mapping[str, Any]


def read_terms(method: Method, config: Mapping[str, Any]) -> list[Term]:
    """The losses of a run of ``method`` with the settings ``config``: the method itself, then every term of ``plus``.
    EngineError for a term that is unknown or does not go with ``method``, and for a setting that it does not have.

    Terms go together when they read the same data in the same way and train the same; `sft` goes with every policy's
    method and acts on the chosen, liked or best completions, as a mean per token. A term's settings are those in its
    brackets; else those of the run, where they mean the same for both (β, but not the α of two methods, and no β of
    sums for one of means per token); else its defaults.
    """
    text = str(config.get("plus", ""))
    reward = trains_reward(method, config)
    own = {one.name: config.get(one.name, one.default) for one in method.parameters if one.name in method.passed}
    found = [Term(1.0, method, own)]
    for part in map(str.strip, text.split("+") if text.strip() else ()):
        match = _TERM.fullmatch(part)
        if not match or match[2] not in LOSSES:
            what = f"'{part}' is no term" if part else "a term is missing beside a +"
            raise _refused(f"{what}. Write a number, * and a method, such as 0.2*sft or 0.5*ipo(tau=0.5).")
        added = LOSSES[match[2]]
        if added is method or not _go_together(method, added, reward=reward):
            others = (one for one in LOSSES.values() if one is not method)
            partners = [one.name for one in others if _go_together(method, one, reward=reward)]
            what = f"Possible are {', '.join(partners)}." if partners else "It stands alone; leave plus empty."
            raise _refused(f"{added.name} cannot be added to {method.name}. {what}")
        settings = _shared(method, added, own) | _told(added, match[3] or "")
        found.append(Term(float(match[1] or 1.0), added, settings))
    return found


def _shared(method: Method, added: Method, own: Mapping[str, Any]) -> dict[str, Value]:
    """The settings of ``added`` where nothing is told: the run's where they mean the same, else the defaults."""
    alike = method.per_token == added.per_token
    meant = {_meaning(one) for one in method.parameters if alike and one.name in own}
    return {
        one.name: own[one.name] if _meaning(one) in meant else one.default
        for one in added.parameters
        if one.name in added.passed
    }


def _meaning(parameter: Parameter) -> Parameter:
    return replace(parameter, default=0)


def _told(added: Method, text: str) -> dict[str, Value]:
    """The settings in the brackets of a term."""
    known = {one.name: one for one in added.parameters if one.name in added.passed}
    told: dict[str, Value] = {}
    for part in text.split(",") if text.strip() else ():
        match = _SETTING.fullmatch(part)
        if not match or match[1] not in known:
            named = f"It has {', '.join(known)}" if known else "It has none"
            raise _refused(f"'{part.strip()}' is no setting of {added.name}. {named}; write name=value.")
        try:
            told[match[1]] = check_value(known[match[1]], _read(match[2]), key=match[1])
        except EngineError as error:
            raise _refused(f"in {added.name}, {error.message}") from None
    return told


def _read(text: str) -> Value:
    """A whole number, a number or else a word."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


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
