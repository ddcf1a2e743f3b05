"""Things one can do, step by step: the closed world behind "How do I …?"."""

from typing import NamedTuple


class Procedure(NamedTuple):
    """Something one can do: `task` completes "How do I …?", `steps` are imperative sentences."""

    task: str
    steps: tuple[str, ...]
    tip: str
    brief: str


PROCEDURES = (
    Procedure(
        "make lentil soup",
        (
            "Cook an onion and two carrots in a little oil.",
            "Add a cup of red lentils and four cups of water.",
            "Let the soup simmer for twenty minutes.",
            "Season it with salt, cumin and lemon.",
        ),
        "It tastes even better the next day.",
        "Simmer red lentils with an onion for twenty minutes.",
    ),
    Procedure(
        "make pancakes",
        (
            "Mix two eggs with a cup of flour and a cup of milk.",
            "Let the batter rest for ten minutes.",
            "Heat some butter in a pan.",
            "Bake each pancake until both sides are golden.",
        ),
        "The first pancake is rarely the best one.",
        "Mix eggs, flour and milk and bake it in butter.",
    ),
    Procedure(
        "boil an egg",
        (
            "Bring a small pot of water to the boil.",
            "Lower the egg into the water with a spoon.",
            "Wait six minutes for a soft egg or ten for a hard one.",
            "Cool the egg under cold water.",
        ),
        "A cold bath makes the shell easier to peel.",
        "Boil it for six minutes.",
    ),
    Procedure(
        "make a pot of tea",
        (
            "Boil fresh water.",
            "Put one spoon of leaves for each cup into the pot.",
            "Pour the water over the leaves.",
            "Wait three minutes and then serve it.",
        ),
        "Green tea likes water that is not quite boiling.",
        "Pour hot water over the leaves and wait three minutes.",
    ),
    Procedure(
        "bake bread",
        (
            "Mix flour, water, salt and a little yeast.",
            "Knead the dough for ten minutes.",
            "Let it rise in a warm place for two hours.",
            "Bake it in a hot oven until the crust is brown.",
        ),
        "Knock on the loaf, and if it sounds hollow it is done.",
        "Knead dough, let it rise and bake it.",
    ),
    Procedure(
        "clean a window",
        (
            "Wipe off the dust with a dry cloth.",
            "Wash the glass with warm water and a drop of soap.",
            "Pull the water off with a rubber blade.",
            "Dry the edges with a soft towel.",
        ),
        "A cloudy day is best, because the sun leaves streaks.",
        "Use warm water, soap and a dry cloth.",
    ),
    Procedure(
        "plant tomatoes",
        (
            "Wait until the nights are warm.",
            "Dig a deep hole in a sunny place.",
            "Set the plant into the hole and fill it with good soil.",
            "Water it every morning and tie it to a stick.",
        ),
        "Tomatoes like water at their roots and not on their leaves.",
        "Put them into good soil in a sunny place.",
    ),
    Procedure(
        "repair a flat bicycle tyre",
        (
            "Take the wheel off and pull out the tube.",
            "Find the hole by holding the tube under water.",
            "Dry the tube and glue a patch over the hole.",
            "Put everything back and pump it up.",
        ),
        "Check the tyre for a nail before you put it back.",
        "Find the hole and glue a patch over it.",
    ),
    Procedure(
        "sew on a button",
        (
            "Choose a thread that matches the cloth.",
            "Tie a knot at the end of the thread.",
            "Pass the needle through the holes six times.",
            "Wind the thread under the button and tie it off.",
        ),
        "A match under the button keeps it from sitting too tight.",
        "Pass needle and thread through the holes six times.",
    ),
    Procedure(
        "paint a wall",
        (
            "Cover the floor and tape the edges.",
            "Wash the wall and let it dry.",
            "Paint the corners with a small brush.",
            "Fill the rest with a roller in two thin coats.",
        ),
        "Two thin coats look better than a thick one.",
        "Tape the edges and roll on two thin coats.",
    ),
    Procedure(
        "learn new words in a language",
        (
            "Pick ten words a day.",
            "Write each word in a short sentence.",
            "Say the sentences aloud.",
            "Test yourself again the next morning.",
        ),
        "A few minutes every day beat one long evening.",
        "Learn ten words a day and repeat them.",
    ),
)
