"""The parts of a row: chat messages, transcripts, completions, and the small fields beside them."""

import math
import re
from dataclasses import dataclass, field
from typing import Any

from annotate.imports.limits import MAX_COMPLETIONS, MAX_MESSAGES, MAX_TEXT
from annotate.imports.problems import RowError, shown
from annotate.services.content import Message, text_sha256

ROLES = ("system", "user", "assistant", "tool")
SPEAKERS = {"Human": "user", "Assistant": "assistant"}
TURN = re.compile(r"\n\n(Human|Assistant):")
REPLY = "\n\nAssistant:"
MAX_NAME = 150
MAX_ID = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """One completion of a row. Its identity is its text and who wrote it."""

    text: str
    model: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, str]:
        return text_sha256(self.text), self.model


def read_text(value: object, name: str, empty: str = "") -> str:
    """A text with something in it; `empty` is what to say of one without."""
    if not isinstance(value, str):
        raise RowError(name, f"“{name}” must be a text.")
    if len(value) > MAX_TEXT:
        raise RowError(name, f"“{name}” has {len(value):,} characters; at most {MAX_TEXT:,} are taken. Shorten it.")
    if not value.strip():
        raise RowError(name, empty or f"“{name}” is empty. Write a text, or leave the row out.")
    return value


def read_prompt(value: object) -> list[Message]:
    """Chat messages, from a text (one user message), a transcript, or chat messages."""
    if isinstance(value, list):
        messages = read_messages(value, "prompt")
    else:
        text = read_text(value, "prompt")
        messages = transcript(text.removesuffix(REPLY), "prompt") if TURN.match(text) else [user(text)]
    _check_asks(messages, "prompt")
    return messages


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def read_messages(value: list[Any], name: str) -> list[Message]:
    if not 1 <= len(value) <= MAX_MESSAGES:
        raise RowError(name, f"“{name}” has {len(value):,} messages; write 1 to {MAX_MESSAGES:,}.")
    return [_message(message, f"{name}[{n}]") for n, message in enumerate(value)]


def _message(value: object, name: str) -> Message:
    if not isinstance(value, dict) or not {"role", "content"} <= value.keys():
        raise RowError(name, f"“{name}” must be a chat message, {{“role”: …, “content”: …}}.")
    if extra := [key for key in value if key not in ("role", "content") and value[key] is not None]:
        raise RowError(name, f"“{name}” has the key “{shown(extra[0])}”; a message has “role” and “content” only.")
    if value["role"] not in ROLES:
        role = shown(value["role"])
        raise RowError(f"{name}.role", f"“{name}.role” is “{role}”; write one of {', '.join(ROLES)}.")
    content = value["content"]
    if not (value["role"] == "system" and content == ""):
        read_text(content, f"{name}.content")
    return {"role": value["role"], "content": content}


def transcript(text: str, name: str) -> list[Message]:
    """The turns of `\\n\\nHuman: … \\n\\nAssistant: …`."""
    before, *turns = TURN.split(text)
    if before.strip() or not turns:
        raise RowError(name, f"“{name}” must begin with a blank line and “Human:”, as transcripts do.")
    pairs = zip(turns[::2], turns[1::2], strict=True)
    messages = [{"role": SPEAKERS[speaker], "content": said.strip()} for speaker, said in pairs]
    return read_messages(messages, name)


def read_dialogue(value: object, name: str) -> tuple[list[Message], str]:
    """A whole conversation, as a transcript or as chat messages: what was asked, and its last reply."""
    if isinstance(value, list):
        *prompt, last = read_messages(value, name)
        if last["role"] != "assistant":
            raise RowError(
                name, f"The last message of “{name}” is by the {last['role']}; it must be the assistant's reply."
            )
        reply = last["content"]
    else:
        asked, found, reply = read_text(value, name).rpartition(REPLY)
        if not found:
            raise RowError(
                name,
                f"Without “prompt”, “{name}” must be a transcript:"
                " a blank line, “Human:”, …, a blank line, “Assistant:”.",
            )
        empty = f"The last reply of “{name}” is empty. Leave the row out, or write the reply."
        reply = read_text(reply.strip(), name, empty)
        prompt = transcript(asked, name)
    if not prompt:
        raise RowError(name, f"“{name}” holds a reply without what it replies to. Add the user's message, or “prompt”.")
    _check_asks(prompt, name)
    return prompt, reply


def _check_asks(messages: list[Message], name: str) -> None:
    if messages[-1]["role"] == "assistant":
        raise RowError(
            name, f"“{name}” has two replies in a row: what comes before the last reply must not be a reply."
        )


def read_reply(value: object, name: str, prompt: list[Message]) -> str:
    """An answer to a prompt that is given beside it: a text, or chat messages that end with the reply."""
    if not isinstance(value, list):
        return read_text(value, name)
    *before, last = read_messages(value, name)
    if last["role"] != "assistant" or before not in ([], prompt):
        raise RowError(
            name, f"“{name}” must be the assistant's reply alone, or the prompt's messages and then the reply."
        )
    return last["content"]


def read_answers(value: object, prompt: list[Message]) -> list[Answer]:
    """`completions`: texts, or objects {text, model, metadata}; `completion` is understood for `text`."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_COMPLETIONS:
        raise RowError(
            "completions", f"“completions” must be a list of 1 to {MAX_COMPLETIONS} texts or objects with “text”."
        )
    return [_answer(part, f"completions[{n}]", prompt) for n, part in enumerate(value)]


def _answer(value: object, name: str, prompt: list[Message]) -> Answer:
    if not isinstance(value, dict):
        return Answer(read_reply(value, name, prompt))
    texts = [key for key in ("text", "completion") if value.get(key) is not None]
    if len(texts) != 1:
        raise RowError(name, f"“{name}” must have its text under “text”.")
    metadata = read_metadata(value.get("metadata"), f"{name}.metadata")
    known = ("text", "completion", "model", "metadata")
    metadata |= {key: inner for key, inner in value.items() if key not in known and inner is not None}
    text = read_reply(value[texts[0]], f"{name}.{texts[0]}", prompt)
    return Answer(text, read_name(value.get("model"), f"{name}.model"), metadata)


def read_metadata(value: object, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RowError(name, f"“{name}” must be an object.")
    return dict(value)


def read_name(value: object, name: str, longest: int = MAX_NAME) -> str:
    """A name or a number that stands for one; empty for none."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(name, f"“{name}” must be a text.")
    try:
        text = str(value).strip()
    except ValueError:  # Python writes no integer of more than 4,300 digits
        text = "9" * (longest + 1)
    if not text:
        raise RowError(name, f"“{name}” is empty. Write a name, or leave it out.")
    if len(text) > longest:
        raise RowError(name, f"“{name}” has {len(text):,} characters; at most {longest} are taken.")
    return text


def read_seconds(value: object) -> float | None:
    """How long the judgement took."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf or value > 1e9:
        raise RowError("seconds", "“seconds” must be a number of seconds, 0 or more.")
    return float(value)
