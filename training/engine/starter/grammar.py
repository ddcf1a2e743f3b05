"""Conversations from the grammar: a question, now and then a system message or earlier turns, and answers."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from training.engine.starter.families import FAMILIES, Drawn
from training.engine.starter.styles import STYLES, WEIGHTS, Content, say

Message = dict[str, str]

SYSTEM_PLAIN = ("You are a helpful assistant.", "You are a kind and honest assistant.")
SYSTEM_FOR_STYLE = {
    "warm": ("Be warm and friendly.", "You are a cheerful assistant."),
    "thorough": ("Answer with all details.", "Explain things well."),
    "list": ("Answer with a list.",),
    "curt": ("Answer in a few words.", "Be brief."),
}
SMALL_TALK = (
    ("Hello!", "Hello! How can I help you today?", "Hello."),
    ("Good morning!", "Good morning! What can I do for you?", "Good morning."),
    ("How are you?", "I am well, thank you. How are you?", "Fine."),
    ("Who are you?", "I am a small language model, and I answer simple questions.", "A language model."),
    ("What can you do?", "I can explain things, give advice and find ideas.", "A few things."),
    ("Are you a human?", "No, I am a computer program that writes text.", "No."),
    ("Good night!", "Good night! Sleep well.", "Good night."),
    ("I am bored.", "How about a walk, a book or a call to a friend?", "Read a book."),
)
FOLLOW_UPS = (
    ("Can you say that in a few words?", "curt"),
    ("Please make it shorter.", "curt"),
    ("Can you tell me more?", "thorough"),
    ("Please explain it in detail.", "thorough"),
    ("Can you say it in a friendlier way?", "warm"),
)
THANKS = (
    ("Thank you!", "You are welcome! Just ask if you need anything else."),
    ("Thanks, that helps.", "I am glad to hear that. Have a lovely day!"),
    ("Great, thanks!", "You are welcome. Tell me how it goes!"),
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt that ends with a user's turn, and distinct answers to it, each in the style at the same place."""

    prompt: tuple[Message, ...]
    answers: tuple[str, ...]
    styles: tuple[str, ...]
    family: str


def converse(rng: random.Random, *, answers: int) -> Conversation:
    """Draws one conversation with at most `answers` answers, in different styles unless the prompt asks for one.

    About one in six has two turns, about one in eight a system message.
    """
    kind = rng.random()
    if kind < 0.04:
        return _small_talk(rng, answers)
    family, (question, content) = _draw(rng)
    if kind < 0.2:
        return _follow_up(family, question, content, rng, answers)
    turns: tuple[Message, ...] = (_turn("user", question),)
    if kind < 0.26:
        style = rng.choice(tuple(SYSTEM_FOR_STYLE))
        turns = (_turn("system", rng.choice(SYSTEM_FOR_STYLE[style])), *turns)
        return _answered(turns, family, content, [style] * answers, rng)
    if kind < 0.32:
        turns = (_turn("system", rng.choice(SYSTEM_PLAIN)), *turns)
    return _answered(turns, family, content, _styles(rng, answers), rng)


def conversations(*, seed: int, count: int, answers: int = 1) -> Iterator[Conversation]:
    """`count` conversations, the same for the same seed on every machine."""
    rng = random.Random(seed)  # noqa: S311
    for _ in range(count):
        yield converse(rng, answers=answers)


def _draw(rng: random.Random) -> tuple[str, Drawn]:
    names = tuple(FAMILIES)
    family = rng.choices(names, [FAMILIES[name][1] for name in names])[0]
    return family, FAMILIES[family][0](rng)


def _styles(rng: random.Random, count: int) -> list[str]:
    """`count` different styles, drawn one after the other by their weights."""
    left = dict(zip(STYLES, WEIGHTS, strict=True))
    drawn: list[str] = []
    while left and len(drawn) < count:
        drawn.append(rng.choices(tuple(left), tuple(left.values()))[0])
        del left[drawn[-1]]
    return drawn


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _answered(
    turns: tuple[Message, ...], family: str, content: Content, styles: Sequence[str], rng: random.Random
) -> Conversation:
    said: dict[str, str] = {}
    for style in styles:
        said.setdefault(say(content, style, rng), style)
    return Conversation(turns, tuple(said), tuple(said.values()), family)


def _small_talk(rng: random.Random, answers: int) -> Conversation:
    said, answer, brief = rng.choice(SMALL_TALK)
    forms = [("warm", f"{answer} It is nice to talk to you."), ("plain", answer), ("curt", brief)]
    chosen = rng.sample(forms, min(answers, len(forms)))
    styles, spoken = zip(*chosen, strict=True)
    return Conversation((_turn("user", said),), spoken, styles, "small talk")


def _follow_up(family: str, question: str, content: Content, rng: random.Random, answers: int) -> Conversation:
    """A second turn about the first one: thanks, another manner, or a new question."""
    before = (_turn("user", question), _turn("assistant", say(content, _styles(rng, 1)[0], rng)))
    kind = rng.random()
    if kind < 0.25:
        said, answer = rng.choice(THANKS)
        return Conversation((*before, _turn("user", said)), (answer,), ("warm",), "thanks")
    if kind < 0.65:
        said, style = rng.choice(FOLLOW_UPS)
        return _answered((*before, _turn("user", said)), family, content, [style] * answers, rng)
    family, (question, content) = _draw(rng)
    return _answered((*before, _turn("user", question)), family, content, _styles(rng, answers), rng)
