"""Characters that cannot be seen but change what is read: shown as small chips that name them.

They hide instructions, reorder text (CVE-2021-42574, “Trojan Source”) or mark a text so that its model is known again.
"""

import html
import re
import unicodedata

_RANGES = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # controls, except tab and line ends
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0"  # soft hyphen, joiners, fillers
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # zero width, separators, bidi controls
    "\ud800-\udfff"  # halves of surrogate pairs, which no page can carry
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # musical controls, tags, variation selectors by the hundred
)
RUN = re.compile(f"[{_RANGES}]+")
JOINERS = "\u200c\u200d"
SHOWN = 8


def with_chips(escaped: str) -> str:
    """HTML-escaped text with each invisible character replaced by a chip; a long run becomes a few and a count."""
    return RUN.sub(_chips, escaped)


def plainly(text: str) -> str:
    """The same in plain text, for attributes and titles: each invisible character becomes `⟨U+202E⟩`."""
    return RUN.sub(lambda run: "".join(f"⟨{_code(character)}⟩" for character in run[0]), text)


def _chips(run: re.Match[str]) -> str:
    if _joins(run):
        return run[0]
    chips = [
        f'<span class="chip chip-control" title="{html.escape(_name(character))}">{_code(character)}</span>'
        for character in run[0][:SHOWN]
    ]
    if (more := len(run[0]) - SHOWN) > 0:
        chips.append(f'<span class="chip chip-control">{more:,} more invisible characters</span>')
    return "".join(chips)


def _joins(run: re.Match[str]) -> bool:
    """A single joiner where writing needs it: inside an emoji, or between letters of Persian, Hindi and the like."""
    before, after = run.string[run.start() - 1 : run.start()], run.string[run.end() : run.end() + 1]
    if len(run[0]) != 1 or run[0] not in JOINERS or not before or not after:
        return False
    return all(ord(side) > 0x2FF and unicodedata.category(side)[0] not in "CZ" for side in before + after)


def _code(character: str) -> str:
    return f"U+{ord(character):04X}"


def _name(character: str) -> str:
    return unicodedata.name(character, "control character").capitalize()
