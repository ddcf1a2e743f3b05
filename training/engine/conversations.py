"""Who said what in a row: its prompt as chat messages and its completions as texts.

Rows come from our own datasets and from elsewhere, so the forms in use are understood (docs/methods.md lists them): a
prompt is chat messages, the text of one user message, or a transcript; a completion is a text, the assistant's message
in a list, or a whole conversation or transcript that ends with it. Whatever could be meant in two ways is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from training.engine.rows import Messages, Row, as_messages, column, shown

_TURN = re.compile(r"\n\n(Human|Assistant|System):")
# Columns that change, elsewhere, what a model is asked.
_UNSEEN = ("system", "tools", "images", "image", "chat_template_kwargs")
_SPEAKERS = {"Human": "user", "Assistant": "assistant", "System": "system"}


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt and the completions that answer it, in the order of the row (of a pair, the chosen one first), with the
    columns that they stood in."""

    prompt: Messages
    completions: tuple[str, ...]
    columns: tuple[str, ...]


def read_conversation(row: Row, kind: str) -> Conversation:
    """What a row of a dataset of ``kind`` holds.

    EngineError with row, column and cure for a column that is missing or of another form, an empty completion, and
    completions that answer something else than the prompt.
    """
    if unseen := [name for name in _UNSEEN if row.values.get(name)]:
        what = "the model would not see it; write it into the messages of the prompt, or leave the column out."
        raise row.error(unseen[0], what)
    given = row.values.get("prompt")
    prompt = [] if given is None else _prompt(row, given)
    replies = [_reply(row, name, value, literal=isinstance(given, list)) for name, value in _columns(row, kind)]
    asked, source = (prompt, "the prompt") if prompt else (replies[0].before, "chosen")
    if not asked:
        column(row, "prompt")
        raise row.error("prompt", "it is null, and no message stands before the reply; write what is answered.")
    if asked[-1]["role"] == "assistant":
        raise row.error("prompt", "it ends with a reply of the assistant; it must end with what is to be answered.")
    for one in replies:
        if one.before not in ([], asked):
            raise row.error(one.name, f"other messages stand before its reply than in {source}; correct or remove it.")
    # In a transcript the blank before a reply belongs to "Assistant:".
    transcribed = isinstance(given, str) and _TURN.match(given)
    return Conversation(
        prompt=asked,
        completions=tuple(one.text.removeprefix(" ") if transcribed else one.text for one in replies),
        columns=tuple(one.name for one in replies),
    )


@dataclass(frozen=True, slots=True)
class _Reply:
    """A completion, and the messages that stood before it in its own column."""

    name: str
    before: Messages
    text: str


def _columns(row: Row, kind: str) -> Iterator[tuple[str, Any]]:
    """The name and the value of every completion."""
    if kind == "listwise":
        value = column(row, "completions")
        if not isinstance(value, list) or len(value) < 2:
            what = "expected a list of at least two completions; remove the row, there is nothing to rank."
            raise row.error("completions", what)
        yield from (("completions", one) for one in value)
    elif kind == "pairwise":
        yield from ((name, column(row, name)) for name in ("chosen", "rejected"))
    elif row.values.get("messages") is None:
        yield "completion", column(row, "completion")
    elif row.values.get("completion") is not None:
        raise row.error("messages", "the row has a completion as well; leave one of them out.")
    else:
        yield "messages", as_messages(row, "messages", row.values["messages"])


def _prompt(row: Row, value: object) -> Messages:
    if not isinstance(value, str):
        return as_messages(row, "prompt", value)
    if not value.strip():
        raise row.error("prompt", "the prompt is empty; remove the row.")
    if not _TURN.match(value):
        return [{"role": "user", "content": value}]
    *turns, last = _turns(value)
    # A transcript may already say whose turn it is.
    return turns if turns and last == {"role": "assistant", "content": ""} else [*turns, last]


def _reply(row: Row, name: str, value: object, *, literal: bool) -> _Reply:
    """``literal``: beside a prompt of chat messages a text is what the assistant said, whatever it looks like."""
    if name == "completions" and isinstance(value, dict):
        value = value.get("text", value)
    before: Messages = []
    if isinstance(value, str) and not literal and _TURN.match(value):
        *before, last = _turns(value)
    elif isinstance(value, str):
        last = {"role": "assistant", "content": value}
    elif isinstance(value, list):
        *before, last = as_messages(row, name, value)
    else:
        raise row.error(name, f"expected text or a list of messages, found {shown(value)}.")
    if last["role"] != "assistant":
        raise row.error(name, f"it ends with a message of the {last['role']}; it must end with the assistant's reply.")
    if not last["content"].strip():
        raise row.error(name, "the completion is empty; remove the row, there is nothing to learn from it.")
    return _Reply(name, before, last["content"])


def _turns(transcript: str) -> Messages:
    """The messages of ``\\n\\nHuman: … \\n\\nAssistant: …``, without the white space around them."""
    _, *turns = _TURN.split(transcript)
    pairs = zip(turns[::2], turns[1::2], strict=True)
    return [{"role": _SPEAKERS[speaker], "content": said.strip()} for speaker, said in pairs]
