"""What the rows of each kind of dataset hold, for the help and docs/methods.md. Standard library only."""

from __future__ import annotations

from training.engine.methods import DatasetKind

# Rows that are understood, one for each form. Tests read them.
EXAMPLES: dict[DatasetKind, tuple[str, ...]] = {
    "pairwise": (
        '{"prompt": "Why is the sky blue?", "chosen": "Air scatters blue light.", "rejected": "It mirrors the sea."}',
        '{"prompt": [{"role": "user", "content": "Hi"}], "chosen": [{"role": "assistant", "content": "Hello."}], '
        '"rejected": [{"role": "assistant", "content": "What?"}]}',
        '{"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}], '
        '"rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "What?"}]}',
        r'{"chosen": "\n\nHuman: Hi\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi\n\nAssistant: What?"}',
    ),
    "binary": (
        '{"prompt": "What is 2 + 2?", "completion": "4.", "label": true}',
        '{"prompt": "What is 2 + 2?", "completion": "4.", "ratings": {"correct": 5, "kind": 3}}',
    ),
    "listwise": (
        '{"prompt": "Name a planet.", "completions": ["Mars.", "The Moon.", "The Sun."], "ranking": [[0], [2, 1]]}',
        '{"prompt": "Name a planet.", "completions": ["Mars.", "The Moon.", "The Sun."], "ranks": [0, 1, 1]}',
        '{"prompt": "Name a planet.", "completions": ["Mars.", "The Moon.", "The Sun."], "scores": [0.9, 0.2, 0.2]}',
    ),
    "demonstration": (
        '{"prompt": "What is 2 + 2?", "completion": "4."}',
        '{"messages": [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "4."}]}',
    ),
}

_SLICE = {"slice": "name of a part of the data that the evaluation shows by itself"}
_GROUPS = {"group": "name of the annotators' group, for reward models with a head for each"} | _SLICE
# Columns that a row may have beside these.
OPTIONAL: dict[DatasetKind, dict[str, str]] = {
    "pairwise": {
        "p": "probability that the chosen one is better, 0 to 1",
        "margin": "how much better it is, for reward models",
        "strength": "1 slightly, 2 better, 3 much better: a margin of a third each",
        "offset": "lead that the chosen one must have (odpo)",
        "gap": "a teacher's reward of the chosen one less the rejected one's (reward_aware_rpo)",
        "tie": "probability that neither is better, 0 to 1; else the share of votes_tie among votes_chosen, "
        "votes_rejected and votes_tie",
    }
    | _GROUPS,
    "binary": {"ratings": "numbers by aspect, for regression; a row that has them needs no label"} | _GROUPS,
    "listwise": {
        "ranks": "a number for each completion: 0 is best, equal ranks tie, null was not ranked",
        "ranking": "the same as lists of places in completions, best first",
        "rewards": "a number for each completion, higher is better; scores is another name; ranks follow from them",
    }
    | _SLICE,
    "demonstration": {},
}
WEIGHT = "how much the row counts; 1 when left out, 0 or more"

# Where the text breaks is where the help breaks it.
FORMS = """A prompt is a text (one user message, put into the model's chat template; TRL would go on from it as plain
text), chat messages, or a transcript that begins with a blank line and "Human:". A completion is a text, the
assistant's message, or the whole conversation or transcript that ends with it; a row without a prompt has it there.
Of a conversation only the last reply is learnt. Numbers are JSON numbers, labels true or false; null counts as left
out. Other columns are ignored, but for system, tools and images: what the model would not see is refused."""


def as_text(kind: DatasetKind) -> str:
    """The rows of a kind, as the help shows them."""
    examples = "\n".join(f"    {row}" for row in EXAMPLES[kind])
    optional = "\n".join(f"    {name}: {meaning}" for name, meaning in (OPTIONAL[kind] | {"weight": WEIGHT}).items())
    return f"{examples}\n  {FORMS.replace(chr(10), chr(10) + '  ')}\n  Further columns, if you have them:\n{optional}"


def as_markdown() -> str:
    """The rows of every kind, as docs/methods.md shows them."""
    parts = [f"## Rows\n\n{FORMS}", f"Every row may have a `weight`: {WEIGHT}."]
    for kind, rows in EXAMPLES.items():
        parts.append(f"### Rows of a {kind} dataset\n\n```json\n" + "\n".join(rows) + "\n```")
        if OPTIONAL[kind]:
            parts.append("\n".join(f"- `{name}`: {meaning}" for name, meaning in OPTIONAL[kind].items()))
    return "\n\n".join(parts)
