"""Messages become token ids, with the boundary between prompt and completion found in token space.

Decoders use the chat template of their tokenizer; encoders without one read the conversation as plain
"role: content" lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from training.engine.errors import EngineError
from training.engine.rows import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = Sequence[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Rendered:
    """Token ids of a prompt and its completions; ``truncated`` when earlier messages had to be left out, ``merged``
    when the tokenizer would have joined the end of the prompt and the beginning of an answer into one token."""

    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    truncated: bool = False
    merged: bool = False


class ChatRenderer:
    """Renders with the tokenizer's chat template and checks what training on the result would get wrong.

    ``ends`` are the tokens that end a turn. ``condition`` is the text that the template adds behind the prompt for a
    policy that was trained with it (see ``conditioned_template``), or "".
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        if tokenizer.chat_template is None:
            raise EngineError(
                "The tokenizer has no chat template, so it cannot be told where an answer begins and ends. "
                "Use a model that was tuned for chat, or add chat_template.jinja to the model folder.",
                field="model",
            )
        if tokenizer.eos_token_id is None:
            raise EngineError("The tokenizer names no eos_token; add it to tokenizer_config.json.", field="model")
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.ends = _end_ids(tokenizer)
        self._plain_template, self.condition = _without_condition(tokenizer.chat_template)

    def prompt_ids(self, prompt: Messages) -> tuple[int, ...]:
        """The ids a sampler is given for ``prompt``: rendered with the generation prompt and the template's condition,
        no further special tokens."""
        return self._ids(self._template(prompt, answer=None) + self.condition)

    @property
    def lead(self) -> str:
        """The white space that the template writes between the generation prompt and every answer, or "". A policy
        writes it too, so of what was sampled it belongs to the template and not to the answer."""
        asked = [{"role": "user", "content": "a"}]
        try:
            head, full = self._template(asked, answer=None), self._template(asked, answer="b")
        except EngineError:  # a template that wants more than a question
            return ""
        between = full.removeprefix(head).partition("b")[0] if full.startswith(head) else ""
        return between if between.isspace() else ""

    def lacks_begin(self, prompt: tuple[int, ...]) -> bool:
        """Whether a rendered prompt has no begin token although the tokenizer by itself would put one in front."""
        begin = self.tokenizer.bos_token_id
        return begin is not None and prompt[:1] != (begin,) and self.tokenizer("a")["input_ids"][:1] == [begin]

    def render(
        self,
        row: Row,
        prompt: Messages,
        answers: Sequence[str],
        *,
        condition: str | None = None,
        columns: Sequence[str] = (),
    ) -> Rendered | None:
        """Prompt and answers as ids, or None when one of the sequences is longer than ``max_length``.

        ``condition`` stands between the generation prompt and the answers and belongs to the prompt; None takes that
        of the template. ``columns`` are those of the answers, for errors to name. An answer is what follows the ids of
        the prompt, as a sampler would go on from them: where the tokenizer would merge across the boundary, the answer
        is tokenised by itself.
        """
        head_text = self._template(prompt, answer=None, row=row)
        behind = self.condition if condition is None else condition
        head = self._ids(head_text + behind)
        begin = self.tokenizer.bos_token_id
        if begin is not None and head[:2] == (begin, begin):
            raise row.error(
                "prompt", "the rendered prompt begins with two begin tokens; remove one from the chat template."
            )
        merged = False
        tails: list[tuple[int, ...]] = []
        for answer, name in zip_longest(answers, columns, fillvalue="completion"):
            tail_text = self._answer_text(row, prompt, head_text, answer)
            full = self._ids(head_text + behind + tail_text)
            apart = full[: len(head)] != head
            # Where nothing merges the joint ids are right even for tokenizers that put a blank before every text.
            tail = self._ids_behind(tail_text) if apart else full[len(head) :]
            tails.append(self._until_end(row, name, tail))
            merged = merged or apart
        if len(head) + max(map(len, tails)) > self.max_length:
            return None
        return Rendered(head, tuple(tails), merged=merged)

    def _answer_text(self, row: Row, prompt: Messages, head_text: str, answer: str) -> str:
        """What the template writes behind the prompt for this answer: the answer, its end token and what follows."""
        full_text = self._template(prompt, answer=answer, row=row)
        if not full_text.startswith(head_text):
            raise row.error(
                "prompt",
                "the chat template renders the prompt differently once an answer follows, so the boundary is lost; "
                "use a template whose generation prompt is the beginning of the assistant's turn.",
            )
        return full_text[len(head_text) :]

    def _ids_behind(self, text: str) -> tuple[int, ...]:
        """The ids of a text that goes on from another one: without the blank that some tokenizers put before every text
        and that the model would never write there."""
        anchor, anchored = self._ids("\n"), self._ids("\n" + text)
        return anchored[len(anchor) :] if anchored[: len(anchor)] == anchor else self._ids(text)

    def _until_end(self, row: Row, name: str, tail: tuple[int, ...]) -> tuple[int, ...]:
        """The answer up to and including its end token; the white space that templates put after it is left out."""
        end = next((index for index, token in enumerate(tail) if token in self.ends), None)
        if end is None:
            raise row.error(
                "prompt",
                "the chat template does not end the answer with an end token, so the policy would never learn to stop; "
                "add eos_token after the assistant's content in the template.",
            )
        if self.tokenizer.decode(list(tail[end + 1 :])).strip():
            raise row.error(
                name, "the answer contains the text of an end token; remove it, it would teach stopping early."
            )
        if end == 0:
            raise row.error(name, "the answer has no tokens before its end token; remove the row.")
        return tail[: end + 1]

    def _template(self, prompt: Messages, *, answer: str | None, row: Row | None = None) -> str:
        conversation = list(prompt)
        if answer is not None:
            conversation.append({"role": "assistant", "content": answer})
        try:
            rendered = self.tokenizer.apply_chat_template(
                conversation,
                tokenize=False,
                add_generation_prompt=answer is None,
                chat_template=self._plain_template,
            )
        except Exception as error:  # jinja's errors and whatever a template raises on purpose
            what = (
                f"the model's chat template refuses this conversation ({error}); change its messages or the template."
            )
            raise (row.error("prompt", what) if row else EngineError(what, field="prompt")) from error
        return str(rendered)

    def _ids(self, rendered: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(rendered, add_special_tokens=False, verbose=False)["input_ids"])


def conditioned_template(template: str, condition: str) -> str:
    """A chat template whose generation prompt ends with ``condition``, in place of one that it may have already, so
    that every sampler asks a policy of conditional SFT for what it learnt to do behind it."""
    # jinja drops one line break at the end of a template; followed by more it would be written.
    plain = (_without_condition(template)[0] or template).removesuffix("\n")
    quoted = condition.replace("\\", "\\\\").replace("'", "\\'")
    return f"{plain}{{% if add_generation_prompt %}}{{{{ '{quoted}' }}}}{{% endif %}}"


_CONDITION = re.compile(r"\{% if add_generation_prompt %\}\{\{ '((?:[^'\\]|\\.)*)' \}\}\{% endif %\}\Z", re.DOTALL)


def _without_condition(template: object) -> tuple[str | None, str]:
    """The template without its condition, and the condition; (None, "") for one without, which is used as it is.

    A generation prompt of its own is written in the same way, so the condition is a second one behind it.
    """
    found = _CONDITION.search(template) if isinstance(template, str) else None
    if found is None or not isinstance(template, str) or "add_generation_prompt" not in template[: found.start()]:
        return None, ""
    return template[: found.start()], re.sub(r"\\(.)", r"\1", found[1])


class EncoderRenderer:
    """Renders a whole conversation for an encoder; what does not fit is left out from the beginning, message by
    message."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = min(max_length, tokenizer.model_max_length)

    def render(self, row: Row, prompt: Messages, answers: Sequence[str]) -> Rendered | None:
        """The conversation with each answer as ids, all with the same messages, or None when an answer alone is
        too long."""
        for start in range(len(prompt) + 1):
            sequences = tuple(self._ids(prompt[start:], answer) for answer in answers)
            if max(len(sequence) for sequence in sequences) <= self.max_length:
                return Rendered((), sequences, truncated=start > 0)
        return None

    def _ids(self, prompt: Messages, answer: str) -> tuple[int, ...]:
        conversation = [*prompt, {"role": "assistant", "content": answer}]
        if self.tokenizer.chat_template is None:
            plain = "\n".join(f"{message['role']}: {message['content']}" for message in conversation)
            return tuple(self.tokenizer(plain, verbose=False)["input_ids"])
        rendered = str(self.tokenizer.apply_chat_template(conversation, tokenize=False))
        return tuple(self.tokenizer(rendered, add_special_tokens=False, verbose=False)["input_ids"])


def _end_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The end token and the end-of-turn tokens that well-known templates use in its place."""
    turns = {"<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|eom_id|>", "<|endoftext|>", "</s>"}
    added = {token.content: index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset({tokenizer.eos_token_id} | {index for content, index in added.items() if content in turns})
