"""Whether the value of one setting is allowed, and how refusals name values. Standard library only."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from training.engine.errors import EngineError
from training.engine.methods import Parameter

_KINDS = {float: "a finite number", int: "a whole number", bool: "true or false", str: "text"}


def check_value(parameter: Parameter, value: Any, *, key: str) -> Any:
    """The value, in the type of the parameter's default, or EngineError naming `key` and what is allowed."""
    kind = type(parameter.default)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise EngineError(f"'{key}' must be {_KINDS[kind]}; it is {shown(value)}.", field=key)
    if parameter.choices is not None and value not in parameter.choices:
        raise EngineError(f"'{key}' must be one of {listed(parameter.choices)}; it is {shown(value)}.", field=key)
    if isinstance(value, float | int):
        if parameter.minimum is not None and value < parameter.minimum:
            raise EngineError(f"'{key}' must be at least {parameter.minimum}; it is {value}.", field=key)
        if parameter.maximum is not None and value > parameter.maximum:
            raise EngineError(f"'{key}' must be at most {parameter.maximum}; it is {value}.", field=key)
    return value


def listed(names: Iterable[Any]) -> str:
    """Names in quotation marks, with commas."""
    return ", ".join(f"'{name}'" for name in names)


def shown(value: Any) -> str:
    """A value as JSON, cut short."""
    text = "missing" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "…"
