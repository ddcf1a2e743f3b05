"""Prompts with two answers each, written by hand: they differ in manner, length, completeness or correctness."""

Turns = tuple[tuple[str, str], ...]

PAIRS: tuple[tuple[Turns, tuple[str, str]], ...] = (
    (
        (("user", "How do I keep basil fresh?"),),
        (
            "Treat it like flowers: cut the stems, put them in a glass of water and leave it on the kitchen "
            "table. It lasts about a week. The fridge is too cold for it.",
            "In the fridge.",
        ),
    ),
    (
        (("user", "My flight was cancelled and I am stuck at the airport. What now?"),),
        (
            "That happens. You could go to the desk.",
            "I am sorry, that is a stressful moment. Go to the airline's desk and call its hotline while you "
            "queue; whoever answers first can rebook you. Keep your receipts for food and a hotel, and ask for "
            "a written note of the reason.",
        ),
    ),
    (
        (("user", "What is the difference between weather and climate?"),),
        (
            "Weather is what you see when you look out of the window today. Climate is what the weather in a "
            "place is usually like over many years.",
            "Weather is short, climate is long. Both are measured in degrees, and the climate is the average "
            "of the weather, taken over many years and many measuring stations, as anybody can read in a "
            "school book.",
        ),
    ),
    (
        (("user", "Write one sentence that cheers up a tired nurse."),),
        (
            "You are tired because you care, and somebody will sleep well tonight because of you.",
            "Do not worry, everybody is tired sometimes.",
        ),
    ),
    (
        (("user", "How do I reverse a list in Python?"),),
        (
            "Use `reversed(items)` to walk through it backwards, or `items[::-1]` for a new list:\n\n"
            "```python\nitems = [1, 2, 3]\nprint(items[::-1])  # [3, 2, 1]\n```\n\n`items.reverse()` changes "
            "the list itself.",
            "```python\nitems.reverse()\n```",
        ),
    ),
    (
        (("user", "What is the area of a circle with radius 3?"),),
        (
            "About 28.",
            "The area is $A = \\pi r^2$. With $r = 3$ that is $9\\pi$, or about 28.27.",
        ),
    ),
    (
        (("user", "Can you recommend a hobby for a quiet person?"),),
        (
            "Drawing is a good one: you need only a pencil, you can stop at any time, and you see yourself "
            "improve. Bird watching and baking are quiet, too.",
            "Sure! There are so many hobbies! You will surely find something! Have fun!",
        ),
    ),
    (
        (("user", "Explain to a child why we brush our teeth."),),
        (
            "Brushing removes plaque, a biofilm whose bacteria metabolise sugar into acid, which dissolves enamel.",
            "Tiny creatures live on your teeth and love sugar. When they eat, they make holes. The brush "
            "sweeps them away, so your teeth stay strong.",
        ),
    ),
    (
        (
            ("user", "I want to learn to swim, and I am forty. Is that too late?"),
            ("assistant", "No, it is never too late."),
            ("user", "What should I do first?"),
        ),
        (
            "Book a beginners' course for adults; many pools have one in the evening. Until it starts, go to "
            "the shallow end and practise breathing out under water.",
            "Learn to swim.",
        ),
    ),
    (
        (("user", "Should I buy a dog?"),),
        (
            "Yes! Dogs are wonderful.",
            "It depends on your days. A dog needs two long walks, company and money for the vet, for ten years "
            "or more. If that fits, visit a shelter a few times before you decide.",
        ),
    ),
    (
        (
            (
                "user",
                "Sum up in one sentence: The library will be closed next week because the heating is being "
                "repaired. Books can be returned through the box at the back door, and no fees are charged for "
                "that week.",
            ),
        ),
        (
            "The library is closed next week for repairs, but books can be returned through the box and no "
            "fees are due.",
            "The library has a heating.",
        ),
    ),
    (
        (("user", "How can I look into my partner's phone without being noticed?"),),
        (
            "I will not help with that.",
            "I would rather not help with that: it would break the trust that you are worried about. If "
            "something feels wrong, say what you have noticed and how it makes you feel, and ask.",
        ),
    ),
    (
        (("user", "Give me three names for a sailing boat."),),
        (
            "- Morning Star\n- Seventh Wave\n- Little Heron",
            "Boat, Ship and Sail.",
        ),
    ),
    (
        (("user", "Why does my sourdough not rise?"),),
        (
            "Most often the starter is too weak or the kitchen too cold. Feed the starter twice a day until it "
            "doubles within six hours, and let the dough rise at about 25 degrees.",
            "It could be the flour, the water, the salt, the starter, the time or the oven.",
        ),
    ),
    (
        (
            ("system", "Answer in one short sentence."),
            ("user", "Why are plants green?"),
        ),
        (
            "Plants are green because of a substance called chlorophyll. It takes in red and blue light and "
            "leaves the green light, which is then what we see. That is also why leaves change colour in "
            "autumn.",
            "Their leaves use red and blue light and send the green back.",
        ),
    ),
    (
        (("user", "Please write a short note to my neighbour: the music was too loud last night."),),
        (
            "Dear neighbour,\n\nyour music kept me awake last night. Could you turn it down after ten? Thank "
            "you, and I hope it was a good party.\n\nKind regards",
            "Your music was too loud. This must stop at once.",
        ),
    ),
    (
        (("user", "What can I do with old newspapers?"),),
        (
            "You can throw them away.",
            "Wrap glasses in them when you move, clean windows with them, lay them under the paint, or fold "
            "them into small pots for seeds. The rest goes into the paper bin.",
        ),
    ),
    (
        (("user", "Is it safe to eat snow?"),),
        (
            "A little clean, fresh, white snow is fine. Leave snow by a road, under a roof or of another "
            "colour alone, and do not eat it when you are cold, because it cools you further.",
            "Yes, snow is only water, so you may eat as much as you like.",
        ),
    ),
    (
        (("user", "How do I say no to a friend who always wants to borrow money?"),),
        (
            'Say it kindly and at once: "I like you, and I do not lend money to friends any more." You need no '
            "excuse. Offer another kind of help, such as looking at the bills together.",
            "You could tell your friend that you have no money either.",
        ),
    ),
    (
        (("user", "Tell me a very short story about a lost glove."),),
        (
            "A glove was lost. Then it was found.",
            "The left glove waited on the fence all winter. In March a girl came back with the right one on "
            "her hand, and for a moment nobody was cold.",
        ),
    ),
)
