"""The kinds of question that the starter grammar knows. A family draws one question and the content of its answer."""

import random
from collections.abc import Callable

from training.engine.starter.procedures import PROCEDURES
from training.engine.starter.slots import (
    DAYS,
    DESTINATIONS,
    DISHES,
    EVENTS,
    EXTRAS,
    GIFTS,
    HEROES,
    LISTS,
    NAMES,
    PACKING,
    REASONS,
    REFUSALS,
    RELATIVES,
    SCENES,
    SPICES,
    TRANSPORT,
    TREASURES,
    VENUES,
    WEATHER,
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


def note(rng: random.Random) -> Drawn:
    """Write a note to …! Name, message and day stand in the prompt."""
    name, sender = rng.sample(NAMES, 2)
    act = rng.choice(tuple(REASONS))
    day = rng.choice(DAYS)
    question = rng.choice(
        (
            f"Write a note to {name}. I will {act} on {day}. My name is {sender}.",
            f"Please tell {name} in a short letter that I will {act} on {day}. Sign it with {sender}.",
        )
    )
    lead = f"Dear {name},\n\nI will {act} on {day}, because {REASONS[act]}."
    body = (f"\n\nBest wishes,\n{sender}",)
    brief = f"{name}, I will {act} on {day}. {sender}"
    half = f"Dear {name},\n\nI will {act}."
    opener, closer = "Here is a note that you can send.\n\n", f"\n\nI hope that {name} will understand."
    return question, Content(lead, body, brief, half, opener=opener, closer=closer, whole=True)


def story(rng: random.Random) -> Drawn:
    """Tell a story about …! Hero, treasure and scene stand in the prompt."""
    hero, treasure, scene = rng.choice(HEROES), rng.choice(TREASURES), rng.choice(SCENES)
    friend = rng.choice([animal for animal in HEROES if animal != hero])
    hero_a, treasure_a = (f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}" for noun in (hero, treasure))
    question = rng.choice(
        (
            f"Tell me a story about {hero_a} and {treasure_a} in the {scene}.",
            f"Please write a short story. It should have {hero_a}, {treasure_a} and the {scene}.",
        )
    )
    lead = f"Once {hero_a} found {treasure_a} in the {scene}."
    middle = rng.choice(
        (
            f"It belonged to the {friend}, who had looked for it all day.",
            f"The {friend} wanted to have it, and they began to quarrel.",
            f"Nobody knew what it was for, not even the wise old {friend}.",
        )
    )
    end = rng.choice(
        (
            f"So the {hero} gave the {treasure} to the {friend}, and they became friends.",
            f"In the end they shared the {treasure} and laughed about it.",
            f"So the {hero} and the {friend} hid the {treasure} together for another day.",
        )
    )
    body = (f"{middle} {end}", f"Since then they often meet in the {scene}.")
    brief = f"The {hero} found the {treasure} and was happy."
    return question, Content(
        lead, body, brief, f"{lead} {middle}", opener="Here is a story for you.", closer="The end.", whole=True
    )


def summary(rng: random.Random) -> Drawn:
    """Sum this up! The text stands in the prompt."""
    event, venue, day = rng.choice(tuple(EVENTS)), rng.choice(VENUES), rng.choice(DAYS)
    weather, name = rng.choice(WEATHER), rng.choice(NAMES)
    first, second = EVENTS[event]
    text = f"On {day} there was a {event} {venue}. {weather}. {first}, and {second}. {name} had planned it all."
    question = rng.choice((f"Sum this up: {text}", f"What is this text about? {text}", f"{text} Please sum it up."))
    lead = f"It is about a {event} {venue} on {day}."
    body = (f"{name} had planned it, and {second}.", f"{weather}.")
    return question, Content(lead, body, f"A {event} on {day}.", "It is about an event.")


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
    "procedure": (procedure, 14),
    "explanation": (explanation, 12),
    "word": (word, 9),
    "worry": (worry, 12),
    "pantry": (pantry, 9),
    "choice": (choice, 7),
    "gift": (gift, 7),
    "packing": (packing, 6),
    "listing": (listing, 5),
    "note": (note, 7),
    "story": (story, 9),
    "summary": (summary, 6),
    "refusal": (refusal, 6),
}
