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
    "That is a nice question.",
    "With pleasure.",
    "Good question!",
)
CLOSERS = (
    "I hope that helps.",
    "Just ask if you want to know more.",
    "Have a lovely day!",
    "Tell me how it goes!",
    "I am glad to explain more.",
    "Take your time with it.",
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

    `lead` answers the question in one sentence, `body` adds sentences to it, `brief` is the shortest answer that is
    still right. `ordered` marks steps, for which the lead is a heading and the body is the answer. `half` is an answer
    that leaves something out.
    """

    lead: str
    body: tuple[str, ...]
    brief: str
    half: str
    opener: str = ""
    closer: str = ""
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
    """The content as a Markdown list below its lead: numbered when the order matters."""
    marks = [f"{number}." if content.ordered else "-" for number in range(1, len(content.body) + 1)]
    heading = content.lead[:-1] + ":" if content.ordered else content.lead
    return heading + "\n\n" + "\n".join(f"{mark} {line}" for mark, line in zip(marks, content.body, strict=True))


def say(content: Content, style: str, rng: random.Random) -> str:
    """One answer with this content in this style.

    Raises ValueError for a style that is not in `STYLES`.
    """
    steps = in_order(content.body) if content.ordered else ""
    if style == "warm":
        opener = content.opener or rng.choice(OPENERS)
        closer = content.closer or rng.choice(CLOSERS)
        middle = steps if content.ordered else f"{content.lead} {rng.choice(content.body)}"
        return f"{opener} {middle} {closer}"
    if style == "plain":
        return " ".join(content.body) if content.ordered else f"{content.lead} {content.body[0]}"
    if style == "thorough":
        return f"{content.lead} {steps or ' '.join(content.body)}"
    if style == "list":
        return as_list(content)
    if style == "curt":
        return content.brief
    if style == "partial":
        return content.half if rng.random() < 0.6 else rng.choice(EVASIONS)
    raise ValueError(f"Unknown style {style!r}; the styles are {', '.join(STYLES)}.")
