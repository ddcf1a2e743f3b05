"""Parts of a verdict that mean the same in every task type: rationale, reasons, spans and the edit."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from annotate.tasktypes.types import Verdict, VerdictError

MAX_RATIONALE = 20_000
MAX_EDIT = 200_000
MAX_LABEL = 100
MAX_REASONS = 50
MAX_SPANS = 500


def check_object(value: object, field: str, allowed: Collection[str], required: Collection[str] = ()) -> dict[str, Any]:
    """A JSON object with no keys but these."""
    name = field or "verdict"
    if not isinstance(value, dict):
        raise VerdictError(field, f"“{name}” must be an object with {_listed(allowed)}.")
    if unknown := sorted(str(key) for key in value if key not in allowed):
        key = unknown[0][:MAX_LABEL].encode(errors="replace").decode()
        raise VerdictError(_inside(field, key), f"“{key}” is not part of {name}; it has {_listed(allowed)}.")
    if missing := [key for key in required if key not in value]:
        raise VerdictError(_inside(field, missing[0]), f"“{missing[0]}” is missing from {name}.")
    return value


def check_text(value: object, field: str, *, longest: int) -> str:
    """A text that every database can keep: no NUL, no half of a surrogate pair."""
    if not isinstance(value, str):
        raise VerdictError(field, f"“{field}” must be a text.")
    if len(value) > longest:
        raise VerdictError(field, f"“{field}” has {len(value):,} characters; at most {longest:,} are kept.")
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise VerdictError(field, f"“{field}” contains a character that is not text (NUL or half a surrogate pair).")
    return value


def check_flag(value: object, field: str) -> bool:
    if not isinstance(value, bool):
        raise VerdictError(field, f"“{field}” must be true or false.")
    return value


def check_uid(value: object, field: str, uids: Collection[str]) -> str:
    if not isinstance(value, str) or value not in uids:
        raise VerdictError(field, f"“{field}” names a completion that is not part of this item.")
    return value


def check_shared(verdict: Mapping[str, Any], uids: Sequence[str]) -> Verdict:
    """The normal form of the shared parts that are there. What says nothing (null, "", [], false) is left out."""
    found = {key: SHARED[key](verdict[key], uids) for key in SHARED if verdict.get(key) is not None}
    return {key: value for key, value in found.items() if value}


def check_against_texts(verdict: Verdict, texts: Mapping[str, str]) -> None:
    """What can be said only with the completions at hand: spans lie inside them, an edit changes something.

    texts: uid → text of each of the item's completions. Offsets count Unicode code points.
    """
    for n, span in enumerate(verdict.get("spans", [])):
        length = len(texts[span["completion"]])
        if span["end"] > length:
            message = f"Span {n} ends at {span['end']}, but its completion has {length} characters."
            raise VerdictError(f"spans.{n}.end", message)
    edit = verdict.get("edit")
    if edit and edit["text"] == texts[edit["completion"]]:
        raise VerdictError("edit.text", "The correction is the same as the completion. Change it or leave it out.")


def _rationale(value: object, uids: Sequence[str]) -> str:
    return check_text(value, "rationale", longest=MAX_RATIONALE).strip()


def _reasons(value: object, uids: Sequence[str]) -> list[str]:
    if not isinstance(value, list) or len(value) > MAX_REASONS:
        raise VerdictError("reasons", f"“reasons” must be a list of at most {MAX_REASONS} short texts.")
    reasons = [check_text(reason, f"reasons.{n}", longest=MAX_LABEL).strip() for n, reason in enumerate(value)]
    return sorted({reason for reason in reasons if reason})


def _spans(value: object, uids: Sequence[str]) -> list[dict[str, Any]]:
    if not isinstance(value, list) or len(value) > MAX_SPANS:
        raise VerdictError("spans", f"“spans” must be a list of at most {MAX_SPANS} spans.")
    spans = [_span(span, f"spans.{n}", uids) for n, span in enumerate(value)]
    return sorted(spans, key=lambda span: (span["completion"], span["start"], span["end"], span["label"]))


def _span(value: object, field: str, uids: Sequence[str]) -> dict[str, Any]:
    parts = ("completion", "start", "end", "label", "comment")
    span = check_object(value, field, parts, required=parts[:4])
    found = {"completion": check_uid(span["completion"], f"{field}.completion", uids)}
    start, end = span["start"], span["end"]
    for name in ("start", "end"):
        if not isinstance(span[name], int) or isinstance(span[name], bool):
            raise VerdictError(f"{field}.{name}", f"“{name}” must be a whole number of characters.")
    if not 0 <= start < end:
        raise VerdictError(f"{field}.end", f"A span from {start} to {end} marks nothing.")
    label = check_text(span["label"], f"{field}.label", longest=MAX_LABEL).strip()
    if not label:
        raise VerdictError(f"{field}.label", "A span needs a label that says what is marked.")
    found |= {"start": start, "end": end, "label": label}
    comment = check_text(span.get("comment") or "", f"{field}.comment", longest=MAX_RATIONALE).strip()
    return found | ({"comment": comment} if comment else {})


def _edit(value: object, uids: Sequence[str]) -> dict[str, str]:
    edit = check_object(value, "edit", ("completion", "text"), required=("completion", "text"))
    uid = check_uid(edit["completion"], "edit.completion", uids)
    text = check_text(edit["text"], "edit.text", longest=MAX_EDIT)
    if not text.strip():
        raise VerdictError("edit.text", "The correction is empty. Write one or leave it out.")
    return {"completion": uid, "text": text}


SHARED: dict[str, Callable[[object, Sequence[str]], Any]] = {
    "rationale": _rationale,
    "reasons": _reasons,
    "spans": _spans,
    "edit": _edit,
}


def _inside(field: str, key: str) -> str:
    return f"{field}.{key}" if field else key


def _listed(keys: Collection[str]) -> str:
    return ", ".join(f"“{key}”" for key in keys)
