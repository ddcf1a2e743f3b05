"""What makes prompts, completions and items the same: canonical JSON and sha256."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

Message = dict[str, str]


def canonical_json(value: Any) -> str:
    """The one spelling of a JSON value: sorted keys, no spaces, text unescaped. ValueError for NaN and infinity."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def text_sha256(text: str) -> str:
    """Hex sha256 of the text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def prompt_sha256(messages: list[Message]) -> str:
    """What identifies a prompt: the sha256 of the canonical JSON of its chat messages."""
    return text_sha256(canonical_json(messages))


def item_key(prompt_sha: str, completions: Iterable[tuple[str, str]]) -> str:
    """What identifies an item: its prompt and its completions `(sha256, model name)`, in whatever order they come."""
    return text_sha256(canonical_json([prompt_sha, sorted(completions)]))
