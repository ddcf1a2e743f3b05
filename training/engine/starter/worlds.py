"""The small closed worlds that the starter grammar speaks about: explanations, words and worries.

Everything here is plain data written for this project. A policy of a few million weights can learn it by heart,
which is what makes its answers read as sentences; procedures are in `procedures.py`, the open
slots (names, objects, days) in `slots.py`.
"""

from typing import NamedTuple


class Explanation(NamedTuple):
    """A fact with its reason: `question` asks for it, `clause` completes "Can you explain why …?"."""

    question: str
    clause: str
    core: str
    details: tuple[str, ...]
    brief: str


class Word(NamedTuple):
    """A noun with its meaning; `noun` carries its article."""

    noun: str
    core: str
    details: tuple[str, ...]
    brief: str


class Worry(NamedTuple):
    """Something that troubles a person, in the person's words, and what may help."""

    said: str
    sympathy: str
    tips: tuple[str, ...]


EXPLANATIONS = (
    Explanation(
        "Why is the sky blue?",
        "the sky is blue",
        "The air scatters blue light more than red light.",
        (
            "Sunlight holds all colours at once.",
            "The blue part bounces around in the air and reaches us from every side.",
            "In the evening the light travels further, so the red part is left.",
        ),
        "Air scatters blue light.",
    ),
    Explanation(
        "Why do leaves turn red in autumn?",
        "leaves turn red in autumn",
        "The trees take the green out of their leaves before winter.",
        (
            "The green helps them to live from the light of the sun.",
            "When it is gone, the red and yellow below it can be seen.",
            "Then the leaves fall and the tree rests.",
        ),
        "The green goes and the red stays.",
    ),
    Explanation(
        "Why is the sea salty?",
        "the sea is salty",
        "Rivers carry a little salt from the rocks into the sea.",
        (
            "The water rises into the air again, but the salt stays behind.",
            "This has gone on for millions of years.",
            "That is why a lake with a river out of it is not salty.",
        ),
        "Rivers bring salt from the rocks.",
    ),
    Explanation(
        "Why does ice float?",
        "ice floats",
        "Ice is lighter than the same amount of water.",
        (
            "Water grows when it freezes.",
            "That is also why a full bottle can break in the freezer.",
            "Fish are glad of it, because a lake freezes from the top.",
        ),
        "Ice is lighter than water.",
    ),
    Explanation(
        "Why do cats purr?",
        "cats purr",
        "Cats purr mostly when they feel safe and warm.",
        (
            "They make the sound with small muscles in the throat.",
            "A mother also purrs for her kittens.",
            "Some cats purr when they are hurt, to calm themselves.",
        ),
        "They feel safe.",
    ),
    Explanation(
        "Why does the moon change its shape?",
        "the moon changes its shape",
        "We see only the part of the moon that the sun lights up.",
        (
            "The moon goes around the earth once a month.",
            "On the way we see its bright side from different angles.",
            "The moon itself always stays round.",
        ),
        "We see only its sunny part.",
    ),
    Explanation(
        "Why do we yawn?",
        "we yawn",
        "Nobody knows it for certain, but yawning seems to wake us up.",
        (
            "A deep breath cools the head a little.",
            "We yawn more when we are tired or bored.",
            "Seeing another person yawn is often enough.",
        ),
        "It seems to wake us up.",
    ),
    Explanation(
        "Why do bees make honey?",
        "bees make honey",
        "Honey is the food that bees store for the winter.",
        (
            "In summer they collect sweet juice from flowers.",
            "They dry it with their wings until it is thick.",
            "A good hive makes more than it needs.",
        ),
        "It is their winter food.",
    ),
    Explanation(
        "Why does bread rise?",
        "bread rises",
        "Yeast eats sugar in the dough and makes small bubbles of gas.",
        (
            "The dough is stretchy, so the bubbles stay inside.",
            "Warmth makes the yeast work faster.",
            "The oven then makes the bubbles firm.",
        ),
        "Yeast fills it with gas.",
    ),
    Explanation(
        "Why do stars twinkle?",
        "stars twinkle",
        "The light of a star is bent by moving air.",
        (
            "Warm and cold air never stand still.",
            "So the light jumps a little on its way to us.",
            "From the moon, stars would not twinkle at all.",
        ),
        "Moving air bends their light.",
    ),
    Explanation(
        "Why do onions make us cry?",
        "onions make us cry",
        "A cut onion sends a sharp gas into the air.",
        (
            "The eyes make tears to wash the gas away.",
            "A sharp knife and a cold onion help.",
            "Cooked onions have lost the gas.",
        ),
        "They give off a sharp gas.",
    ),
)

WORDS = (
    Word(
        "a glacier",
        "A glacier is a slow river of ice.",
        ("It grows from snow that never melts.", "Its weight pushes it down the valley."),
        "A river of ice.",
    ),
    Word(
        "a harbour",
        "A harbour is a safe place for ships.",
        ("A wall keeps the waves out.", "Goods and people go ashore there."),
        "A safe place for ships.",
    ),
    Word(
        "a compass",
        "A compass is a tool that shows where north is.",
        ("Its needle is a small magnet.", "Sailors have used it for a thousand years."),
        "A tool that points north.",
    ),
    Word(
        "an orchard",
        "An orchard is a field of fruit trees.",
        ("In spring it is full of flowers and bees.", "In autumn the fruit is picked."),
        "A field of fruit trees.",
    ),
    Word(
        "a lighthouse",
        "A lighthouse is a tower with a strong lamp on the coast.",
        ("It warns ships of rocks at night.", "Each one blinks in its own rhythm."),
        "A tower that warns ships.",
    ),
    Word(
        "a library",
        "A library is a house where everyone may borrow books.",
        ("You need only a card.", "It is also a quiet place to work."),
        "A house full of books.",
    ),
    Word(
        "an island",
        "An island is a piece of land with water all around it.",
        ("Some islands are the tops of old volcanoes.", "You reach them by boat or by bridge."),
        "Land with water around it.",
    ),
    Word(
        "a desert",
        "A desert is a land where it hardly ever rains.",
        ("The days are hot and the nights can be cold.", "Some plants there store water for years."),
        "A very dry land.",
    ),
    Word(
        "a choir",
        "A choir is a group of people who sing together.",
        ("High and low voices share the work.", "You do not have to be perfect to join one."),
        "People who sing together.",
    ),
    Word(
        "an anchor",
        "An anchor is a heavy hook that holds a ship in place.",
        ("It hangs on a long chain.", "It digs itself into the ground of the sea."),
        "A hook that holds a ship.",
    ),
    Word(
        "a telescope",
        "A telescope is a tube that makes far things look near.",
        ("It gathers light with a lens or a mirror.", "With a small one you can see the moons of Jupiter."),
        "A tube for seeing far.",
    ),
)

WORRIES = (
    Worry(
        "I cannot sleep",
        "That sounds tiring.",
        (
            "Go to bed at the same time every evening.",
            "Leave your phone in another room.",
            "Read a few pages of a calm book.",
            "Talk to a doctor if it lasts for weeks.",
        ),
    ),
    Worry(
        "I am nervous about my exam",
        "Many people feel like that before an exam.",
        (
            "Make a small plan for each day.",
            "Explain the subject aloud to a friend.",
            "Sleep well the night before.",
            "Breathe slowly before you begin.",
        ),
    ),
    Worry(
        "I had a quarrel with my friend",
        "I am sorry to hear that.",
        (
            "Wait until you are both calm.",
            "Ask how your friend saw it.",
            "Say what hurt you without blame.",
            "Offer to make a fresh start.",
        ),
    ),
    Worry(
        "I feel lonely in my new town",
        "A new town can feel cold at first.",
        (
            "Say hello to your neighbours.",
            "Join a choir or a sports club.",
            "Call an old friend in the evening.",
            "Give it a little time.",
        ),
    ),
    Worry(
        "I have too much work",
        "That is a heavy load.",
        (
            "Write everything down.",
            "Choose the three things that matter most.",
            "Ask somebody for help with the rest.",
            "Take a real break at noon.",
        ),
    ),
    Worry(
        "my dog is afraid of thunder",
        "Poor dog.",
        (
            "Close the windows and turn on some music.",
            "Give it a dark and quiet corner.",
            "Stay calm yourself.",
            "Ask a vet if it gets worse.",
        ),
    ),
    Worry(
        "I always forget names",
        "You are not alone with that.",
        (
            "Repeat the name as soon as you hear it.",
            "Link it to a picture in your mind.",
            "Write it down in the evening.",
            "Simply ask again with a smile.",
        ),
    ),
    Worry(
        "I am often late",
        "That can be changed.",
        (
            "Lay out your things the evening before.",
            "Set an alarm for the moment you must leave.",
            "Add ten minutes to every trip.",
            "Tell people early when it does not work out.",
        ),
    ),
    Worry(
        "my son does not like vegetables",
        "That is very common.",
        (
            "Let him help in the kitchen.",
            "Serve small pieces with a dip.",
            "Eat them yourself with joy.",
            "Offer each kind many times.",
        ),
    ),
)
