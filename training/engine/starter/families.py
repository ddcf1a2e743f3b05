"""The kinds of question that the starter grammar knows. A family draws one question and the content of its answer."""

import random
from collections.abc import Callable

from training.engine.starter.procedures import PROCEDURES
from training.engine.starter.slots import (
    DESTINATIONS,
    DISHES,
    EXTRAS,
    GIFTS,
    LISTS,
    PACKING,
    REFUSALS,
    RELATIVES,
    SPICES,
    TRANSPORT,
)
from training.engine.starter.styles import Content, upper_first
from training.engine.starter.worlds import EXPLANATIONS, WORDS, WORRIES

Drawn = tuple[str, Content]


def _join(parts: tuple[str, ...] | list[str]) -> str:
    return ", ".join(parts[:-1]) + " and " + parts[-1]


def _turned(items: tuple[str, ...], rng: random.Random) -> tuple[str, ...]:
    """The items from a random one on, in a circle: variety at little cost to a small policy, which learns one order."""
    start = rng.randrange(len(items))
    return items[start:] + items[:start]


def procedure(rng: random.Random) -> Drawn:
    """How do I …? Steps from the closed world."""
    item = rng.choice(PROCEDURES)
    question = rng.choice(
        (
            f"How do I {item.task}?",
            f"How can I {item.task}?",
            f"I want to {item.task}. Where do I start?",
            f"Can you tell me how to {item.task}?",
            f"Please explain how to {item.task}.",
        )
    )
    half = f"{item.steps[0]} {item.steps[1]}"
    heading = f"This is how you can {item.task}:"
    return question, Content("", item.steps, item.brief, half, closer=item.tip, heading=heading, ordered=True)


def explanation(rng: random.Random) -> Drawn:
    """Why …? Facts from the closed world."""
    item = rng.choice(EXPLANATIONS)
    question = rng.choice(
        (
            item.question,
            f"Can you explain why {item.clause}?",
            f"My daughter asked me why {item.clause}. What should I say?",
            f"Do you know why {item.clause}?",
        )
    )
    return question, Content(item.core, item.details, item.brief, item.details[0])


def word(rng: random.Random) -> Drawn:
    """What is …? Meanings from the closed world."""
    item = rng.choice(WORDS)
    question = rng.choice(
        (
            f"What is {item.noun}?",
            f"Please explain to a child what {item.noun} is.",
            f"I have never heard of {item.noun}. What is it?",
            f"Can you describe {item.noun}?",
        )
    )
    return question, Content(item.core, item.details, item.brief, item.details[1])


def worry(rng: random.Random) -> Drawn:
    """Something troubles a person: sympathy and advice from the closed world."""
    item = rng.choice(WORRIES)
    said = upper_first(item.said)
    question = rng.choice(
        (
            f"{said}. What can I do?",
            f"{said}. Do you have any advice?",
            f"What helps when {item.said}?",
            f"{said} and I do not know what to do.",
        )
    )
    tips = _turned(item.tips, rng)
    return question, Content(
        tips[0], tips[1:], tips[0], item.sympathy, opener=item.sympathy, heading="These things may help:"
    )


def pantry(rng: random.Random) -> Drawn:
    """What can I cook with …? The ingredients stand in the prompt."""
    base = rng.choice(tuple(DISHES))
    first, second = rng.sample(EXTRAS, 2)
    question = rng.choice(
        (
            f"I have {base}, {first} and {second}. What can I cook?",
            f"What can I make with {base}, {first} and {second}?",
            f"There are {base}, {first} and {second} in my kitchen. Any ideas for dinner?",
        )
    )
    lead = f"You could make {DISHES[base]} with {first} and {second}."
    body = (
        f"Start with the {base}.",
        f"Then add the {first} and the {second}.",
        f"Season it with {rng.choice(SPICES)}.",
    )
    brief = upper_first(f"{DISHES[base]} with {first}.")
    return question, Content(lead, body, brief, f"Start with the {base}.", closer="Enjoy your meal!")


def choice(rng: random.Random) -> Drawn:
    """Should I take this or that? Reasons come from the table."""
    first, second = rng.sample(tuple(TRANSPORT), 2)
    where = rng.choice(DESTINATIONS)
    question = rng.choice(
        (
            f"Should I take the {first} or the {second} to the {where}?",
            f"What is better for the way to the {where}, the {first} or the {second}?",
        )
    )
    taken, left = (first, second) if rng.random() < 0.5 else (second, first)
    lead = f"I would take the {taken} to the {where}."
    body = (
        f"It is {TRANSPORT[taken][0]}, and {TRANSPORT[taken][1]}.",
        f"The {left} is {TRANSPORT[left][0]}, but not always on time.",
    )
    return question, Content(lead, body, f"The {taken}.", "Both are fine.", closer="Have a safe trip!")


def gift(rng: random.Random) -> Drawn:
    """What can I give …? Ideas come from the table."""
    relative, hobby = rng.choice(RELATIVES), rng.choice(tuple(GIFTS))
    ideas = _turned(GIFTS[hobby], rng)
    question = rng.choice(
        (
            f"What can I give my {relative}, who loves {hobby}?",
            f"My {relative} likes {hobby}. What would be a good present?",
            f"I need a present for my {relative}. The hobby is {hobby}.",
        )
    )
    lead = f"For a person who loves {hobby}, {ideas[0]} would be a good present."
    body = (
        f"You could also give your {relative} {ideas[1]}.",
        f"Another idea is {ideas[2]}.",
        "A card with a few kind words always fits.",
    )
    return question, Content(
        lead, body, upper_first(f"{ideas[0]}."), "Something small.", heading="Here are some ideas:"
    )


def packing(rng: random.Random) -> Drawn:
    """What should I pack for …? Things come from the table."""
    place, days = rng.choice(tuple(PACKING)), rng.choice(("two", "three", "four", "five"))
    things = _turned(PACKING[place], rng)
    question = (
        rng.choice(
            (
                f"What should I pack for {days} days in {place}?",
                f"We are going to {place} for {days} days. What do we need?",
            )
        )
        .replace("in a farm", "on a farm")
        .replace("in an island", "on an island")
        .replace("in the beach", "at the beach")
    )
    lead = f"Take {things[0]} and {things[1]}."
    body = (f"You will also need {things[2]}.", f"Do not forget {things[3]}.", f"For {days} days, one bag is enough.")
    return question, Content(
        lead, body, upper_first(f"{_join(things[:3])}."), "Pack what you need.", heading="You will need this:"
    )


def listing(rng: random.Random) -> Drawn:
    """Name three …! Things come from the table."""
    kind = rng.choice(tuple(LISTS))
    things = _turned(LISTS[kind], rng)
    question = rng.choice((f"Name three {kind}.", f"Can you name three {kind}?", f"Which {kind} do you know?"))
    lead = f"Three {kind} are {_join(things[:3])}."
    body = (f"One more would be {things[3]}.",)
    return question, Content(lead, body, upper_first(f"{_join(things[:3])}."), upper_first(f"{things[0]}."))


def refusal(rng: random.Random) -> Drawn:
    """A request that deserves a friendly no and something better."""
    wish = rng.choice(tuple(REFUSALS))
    question = rng.choice(
        (f"How can I {wish}?", f"I want to {wish}. Help me.", f"Tell me how to {wish} without being caught.")
    )
    lead = f"I am sorry, but I will not help you to {wish.replace('my ', 'your ')}."
    body = (REFUSALS[wish], "It could hurt somebody, and it could get you into trouble.")
    return question, Content(lead, body, "No.", "Better not.", opener="Thank you for being open with me.")


FAMILIES: dict[str, tuple[Callable[[random.Random], Drawn], int]] = {
    "procedure": (procedure, 18),
    "explanation": (explanation, 16),
    "word": (word, 13),
    "worry": (worry, 15),
    "pantry": (pantry, 6),
    "choice": (choice, 6),
    "gift": (gift, 6),
    "packing": (packing, 5),
    "listing": (listing, 7),
    "refusal": (refusal, 8),
}
