"""What a row means, told by its keys (design, section 8)."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from annotate.imports.limits import MAX_METADATA
from annotate.imports.parts import (
    MAX_ID,
    Answer,
    read_answers,
    read_dialogue,
    read_metadata,
    read_name,
    read_prompt,
    read_reply,
    read_seconds,
)
from annotate.imports.problems import RowError, shown
from annotate.imports.strict import check_row
from annotate.models import Project
from annotate.services.content import Message, canonical_json, item_key, prompt_sha256, text_sha256
from annotate.tasktypes import TASK_TYPES, Verdict, VerdictError

CONTENT_KEYS = {"prompt", "completions", "completion", "chosen", "rejected"}
MODEL_KEYS = {"model", "chosen_model", "rejected_model"}
VERDICT_KEYS = {"strength", "both_bad", "rationale", "reasons"}
JUDGEMENT_KEYS = {"ranking", "label", "annotator", "seconds"} | VERDICT_KEYS
KNOWN_KEYS = CONTENT_KEYS | MODEL_KEYS | JUDGEMENT_KEYS | {"id", "metadata"}
COMPLETIONS = {"pairwise": (2, 2), "listwise": (3, None), "binary": (1, 1), "rating": (1, None)}


@dataclass(frozen=True, slots=True)
class Draft:
    """One row that can be stored. No answers: a prompt to sample for.

    Answers stand in the order of their identities, so that swapped sides are the same item and their order gives
    nothing away. The verdict names them by position, “0” being the first of them.
    """

    index: int
    messages: list[Message]
    prompt_sha256: str
    answers: tuple[Answer, ...]
    key: str
    verdict: Verdict | None
    annotator: str
    seconds: float | None
    external_id: str
    metadata: dict[str, Any]

    @property
    def said_sha256(self) -> str:
        return text_sha256(canonical_json(self.verdict))


def read_row(row: object, *, index: int, project: Project) -> Draft:
    """The meaning of a row in this project. Raises RowError naming the field, with the cure."""
    given = {key: value for key, value in check_row(row).items() if value is not None}
    messages, answers, verdict = _content(given)
    external_id = read_name(given.get("id"), "id", MAX_ID)
    annotator = read_name(given.get("annotator"), "annotator")
    seconds = read_seconds(given.get("seconds"))
    if verdict is None and (stray := sorted(JUDGEMENT_KEYS & given.keys())):
        raise RowError(
            stray[0], f"“{stray[0]}” belongs to a judgement, but the row says nothing about which answer is better."
        )
    if verdict is None and not answers and (stray := sorted(MODEL_KEYS & given.keys())):
        raise RowError(stray[0], f"“{stray[0]}” names who wrote a completion, but the row has none.")
    if answers:
        _check_kind(len(answers), verdict, project)
    order = _order(answers, given)
    if verdict is not None:
        verdict |= {key: given[key] for key in VERDICT_KEYS & given.keys()}
        verdict = normal_verdict(_by_position(verdict, order), len(answers), project)
    ordered = tuple(answers[n] for n in order)
    sha256 = prompt_sha256(messages)
    return Draft(
        index=index,
        messages=messages,
        prompt_sha256=sha256,
        answers=ordered,
        key=item_key(sha256, (answer.identity for answer in ordered)) if ordered else "",
        verdict=verdict,
        annotator=annotator,
        seconds=seconds,
        external_id=external_id,
        metadata=_metadata(given),
    )


def _content(given: dict[str, Any]) -> tuple[list[Message], list[Answer], Verdict | None]:
    """The prompt, the answers as the row lists them, and what it says about them, by their numbers in that list."""
    shapes: list[str] = [name for name in ("chosen", "completions", "completion") if name in given]
    if "rejected" in given and "chosen" not in given:
        shapes.append("rejected")
    if len(shapes) > 1:
        raise RowError(shapes[1], f"The row has both “{shapes[0]}” and “{shapes[1]}”; it can be one kind of row only.")
    if not shapes:
        if "prompt" not in given:
            raise RowError("row", f"The row has neither “prompt” nor “chosen” and “rejected”{_has(given)}.")
        return read_prompt(given["prompt"]), [], None
    if shapes[0] in ("chosen", "rejected"):
        return _pair(given)
    if "prompt" not in given:
        raise RowError("prompt", f"“prompt” is missing: “{shapes[0]}” answers something.")
    prompt = read_prompt(given["prompt"])
    if shapes[0] == "completions":
        return _several(given, prompt)
    _refuse(given, "completion", ("ranking", "chosen_model", "rejected_model"))
    model = read_name(given.get("model"), "model")
    answer = Answer(read_reply(given["completion"], "completion", prompt), model)
    if "label" not in given:
        return prompt, [answer], None
    if not isinstance(given["label"], bool):
        raise RowError("label", f"“label” is “{shown(given['label'])}”; write true (thumbs up) or false (thumbs down).")
    return prompt, [answer], {"labels": {0: given["label"]}}


def _pair(given: dict[str, Any]) -> tuple[list[Message], list[Answer], Verdict]:
    for name in ("chosen", "rejected"):
        if name not in given:
            raise RowError(name, f"“{name}” is missing: a pair has both “chosen” and “rejected”.")
    _refuse(given, "chosen", ("ranking", "label", "model"))
    if "prompt" in given:
        prompt = read_prompt(given["prompt"])
        texts = [read_reply(given[name], name, prompt) for name in ("chosen", "rejected")]
    else:
        (prompt, chosen), (other, rejected) = (read_dialogue(given[name], name) for name in ("chosen", "rejected"))
        if prompt != other:
            raise RowError(
                "rejected",
                "What comes before the last reply differs between “chosen” and “rejected”; both must answer the same.",
            )
        texts = [chosen, rejected]
    models = [read_name(given.get(name), name) for name in ("chosen_model", "rejected_model")]
    answers = [Answer(text, model) for text, model in zip(texts, models, strict=True)]
    return prompt, answers, {"ranking": [[0], [1]]}


def _several(given: dict[str, Any], prompt: list[Message]) -> tuple[list[Message], list[Answer], Verdict | None]:
    _refuse(given, "completions", ("label", *sorted(MODEL_KEYS)))
    answers = read_answers(given["completions"], prompt)
    if "ranking" in given:
        return prompt, answers, {"ranking": _ranking(given["ranking"], len(answers))}
    return prompt, answers, {} if "both_bad" in given else None


def _ranking(value: object, count: int) -> list[list[int]]:
    example = "[[0], [2, 1]]: best first, ties share a list"
    if not isinstance(value, list) or not all(isinstance(tied, list) and tied for tied in value):
        raise RowError("ranking", f"“ranking” must be a list of lists of numbers, such as {example}.")
    named = [number for tied in value for number in tied]
    if any(type(number) is not int for number in named) or sorted(named) != list(range(count)):
        raise RowError(
            "ranking", f"“ranking” must name each completion, 0 to {count - 1}, exactly once, as in {example}."
        )
    return value


def _refuse(given: dict[str, Any], shape: str, keys: tuple[str, ...]) -> None:
    if stray := [key for key in keys if key in given]:
        raise RowError(stray[0], f"“{stray[0]}” does not go with “{shape}”. Leave one of them out.")


def _order(answers: list[Answer], given: dict[str, Any]) -> list[int]:
    """Numbers of the row's answers in the order of their identities."""
    order = sorted(range(len(answers)), key=lambda n: answers[n].identity)
    for one, other in pairwise(order):
        if answers[one].identity == answers[other].identity:
            field = "rejected" if "rejected" in given else f"completions[{max(one, other)}]"
            raise RowError(
                field, "Two of the answers are the same text by the same model. Leave the row out, or name the models."
            )
    return order


def _by_position(verdict: Verdict, order: list[int]) -> Verdict:
    position = {number: str(n) for n, number in enumerate(order)}
    found = dict(verdict)
    if "ranking" in verdict:
        found["ranking"] = [[position[number] for number in tied] for tied in verdict["ranking"]]
    if "labels" in verdict:
        found["labels"] = {position[number]: label for number, label in verdict["labels"].items()}
    return found


def normal_verdict(verdict: Verdict, count: int, project: Project) -> Verdict:
    """The one spelling of a verdict about `count` completions that are named by position."""
    return check_verdict(verdict, [str(n) for n in range(count)], project)


def check_verdict(verdict: Verdict, uids: list[str], project: Project) -> Verdict:
    """By the rules of the project's task type. Raises RowError."""
    task = TASK_TYPES.get(project.kind)
    if task is None:
        if stray := sorted(verdict.keys() & VERDICT_KEYS):
            raise RowError(stray[0], f"“{stray[0]}” is not part of a {project.kind} judgement. Leave it out.")
        return {"ranking": [sorted(tied) for tied in verdict["ranking"]]}
    try:
        return task.check_verdict(verdict, uids, project)
    except VerdictError as error:
        raise RowError(error.field or "row", error.message) from None


def _check_kind(count: int, verdict: Verdict | None, project: Project) -> None:
    least, most = COMPLETIONS[project.kind]
    if verdict is not None:
        kind = "binary" if "labels" in verdict else "pairwise" if count == 2 else "listwise"
        if kind != project.kind:
            raise RowError(
                "row",
                f"This row is a {kind} judgement, and the project is {project.kind}. Import it into a {kind} project.",
            )
    if count < least or (most and count > most):
        wanted = f"{least}" if most == least else f"{least} or more"
        raise RowError(
            "completions", f"The row has {count} completions; an item of a {project.kind} project has {wanted}."
        )


def _metadata(given: dict[str, Any]) -> dict[str, Any]:
    """What is kept beside the item: `metadata`, and every key that we do not know."""
    metadata = {key: value for key, value in given.items() if key not in KNOWN_KEYS}
    metadata |= read_metadata(given.get("metadata"), "metadata")
    if metadata and (size := len(canonical_json(metadata))) > MAX_METADATA:
        raise RowError(
            "metadata",
            f"The keys beside the content hold {size:,} characters; at most {MAX_METADATA:,} are kept. Leave some out.",
        )
    return metadata


def _has(given: dict[str, Any]) -> str:
    if not given:
        return "; it is empty. Leave it out"
    names = ", ".join(f"“{shown(key, 30)}”" for key in list(given)[:8])
    return f"; it has {names}. Rename its keys as in the examples of the import page"
