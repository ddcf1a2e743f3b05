"""The manners in which the starter policy answers: one content, six styles, so that people have something to prefer."""

import random
from dataclasses import dataclass

STYLES = ("warm", "plain", "thorough", "list", "curt", "partial")
WEIGHTS = (24, 24, 16, 10, 14, 12)

OPENERS = (
    "Of course!",
    "Gladly!",
    "I am happy to help.",
    "Thank you for asking.",
    "Thank you for your message.",
    "With pleasure.",
    "Let us see.",
)
CLOSERS = (
    "I hope that helps.",
    "Just ask if you want to know more.",
    "Have a lovely day!",
    "Tell me how it goes!",
    "I am glad to explain more.",
    "I am always here for you.",
)
EVASIONS = (
    "It depends.",
    "That is hard to say.",
    "I am not sure.",
    "You could look it up.",
    "There are many ways to see it.",
    "I do not know much about that.",
    "Maybe ask somebody else.",
)
CONNECTORS = ("First,", "Then", "After that,", "Finally,")


@dataclass(frozen=True, slots=True)
class Content:
    """What an answer says, before it is said in a style.

    `lead` answers the question in one sentence and `body` adds sentences to it; `brief` is the shortest answer that is
    still right, `half` one that leaves the main thing out. `opener` and `closer` frame the warm answer where they fit
    better than the general ones. `heading` stands above a list, and without one the content is never a list. `ordered`
    marks steps: the body alone is the answer.
    """

    lead: str
    body: tuple[str, ...]
    brief: str
    half: str
    opener: str = ""
    closer: str = ""
    heading: str = ""
    ordered: bool = False


def lower_first(sentence: str) -> str:
    """The sentence with its first letter small, for use after a connector; "I" stays as it is."""
    return sentence if sentence.startswith(("I ", "I'")) else sentence[0].lower() + sentence[1:]


def upper_first(sentence: str) -> str:
    """The sentence with its first letter large."""
    return sentence[0].upper() + sentence[1:]


def in_order(steps: tuple[str, ...]) -> str:
    """Four steps as running text: First, … Then … After that, … Finally, …"""
    return " ".join(f"{word} {lower_first(step)}" for word, step in zip(CONNECTORS, steps, strict=True))


def as_list(content: Content) -> str:
    """The content as a Markdown list below its heading: numbered when the order matters."""
    lines = content.body if content.ordered else (content.lead, *content.body)
    marks = [f"{number}." if content.ordered else "-" for number in range(1, len(lines) + 1)]
    return content.heading + "\n\n" + "\n".join(f"{mark} {line}" for mark, line in zip(marks, lines, strict=True))


def say(content: Content, style: str, rng: random.Random) -> str:
    """One answer with this content in this style.

    A content without a heading makes no sense as a list and is said thoroughly instead.
    Raises ValueError for a style that is not in `STYLES`.
    """
    if style not in STYLES:
        raise ValueError(f"Unknown style {style!r}; the styles are {', '.join(STYLES)}.")
    if style == "list" and content.heading:
        return as_list(content)
    if style == "curt":
        return content.brief
    if style == "partial":
        return content.half if rng.random() < 0.6 else rng.choice(EVASIONS)
    return _sentences(content, style, rng)


def _sentences(content: Content, style: str, rng: random.Random) -> str:
    """Running text: warm frames it with an opener and a closer, plain says only what is needed, the rest says all."""
    if content.ordered:
        text = in_order(content.body) if style != "plain" else " ".join(content.body)
    else:
        kept = {"plain": rng.randint(0, 1), "warm": rng.randint(1, len(content.body))}
        text = " ".join((content.lead, *content.body[: kept.get(style, len(content.body))]))
    if style != "warm":
        return text
    opener, closer = content.opener or rng.choice(OPENERS), content.closer or rng.choice(CLOSERS)
    return f"{opener} {text} {closer}"
