"""The prompts of a sampling run: read, rendered with the policy's chat template, measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from training.engine.errors import EngineError
from training.engine.rendering import ChatRenderer
from training.engine.rows import Row, column, messages, read_rows
from training.engine.samplers.types import Request

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Prompts:
    """What will be sampled for, in the order of the file, the ids of prompts that leave no room for an answer, the end
    tokens, and what the template writes before every answer (``ChatRenderer.lead``)."""

    requests: tuple[Request, ...]
    too_long: tuple[str, ...]
    ends: frozenset[int]
    lead: str

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max(len(request.token_ids) for request in self.requests)


def read_prompts(path: Path, *, tokenizer: PreTrainedTokenizerBase, positions: int, max_tokens: int) -> Prompts:
    """Reads rows of `{"id", "messages"}` (JSONL or Parquet).

    A prompt that with `max_tokens` more does not fit into the model's `positions` is left out and named, never cut.
    EngineError for a malformed row, an id that comes twice, and a file in which no prompt is left.
    """
    renderer = ChatRenderer(tokenizer, positions)
    requests: list[Request] = []
    too_long: list[str] = []
    rows: dict[str, int] = {}
    for row in read_rows(path):
        name = _identity(row)
        if name in rows:
            raise row.error("id", f"the id {name!r} was already used in row {rows[name]}; every prompt needs its own.")
        rows[name] = row.index
        token_ids = _render(row, renderer)
        if len(token_ids) + max_tokens > positions:
            too_long.append(name)
        else:
            requests.append(Request(name, token_ids))
    if not rows:
        raise EngineError(f"{path.name} holds no prompts. Choose a file with at least one.", field="prompts")
    if not requests:
        raise EngineError(
            f"None of the {len(rows)} prompts in {path.name} leaves room for {max_tokens} tokens within the model's "
            f"{positions}. Lower 'max_tokens' or choose shorter prompts.",
            field="config.max_tokens",
        )
    return Prompts(tuple(requests), tuple(too_long), renderer.ends, renderer.lead)


def _identity(row: Row) -> str:
    name = column(row, "id")
    if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
        raise row.error("id", "expected the prompt's id as text.")
    return str(name)


def _render(row: Row, renderer: ChatRenderer) -> tuple[int, ...]:
    try:
        return renderer.prompt_ids(messages(row, "messages"))
    except EngineError as error:
        if error.row is not None:
            raise
        raise row.error("messages", str(error)) from error
