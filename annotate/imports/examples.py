"""What rows look like, one example for each kind. The import page shows them; a test imports each."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    becomes: str
    row: str
    kinds: tuple[str, ...]  # the kinds of project that take it


EVERY = ("pairwise", "listwise", "binary", "rating")

EXAMPLES = (
    Example(
        "A pair with a judgement",
        '{"prompt": "Why is the sky blue?", "chosen": "Air scatters blue light.", "rejected": "It mirrors the sea.",'
        ' "strength": 3, "annotator": "kim"}',
        ("pairwise",),
    ),
    Example(
        "The same as transcripts, split at the last reply",
        r'{"chosen": "\n\nHuman: Hello!\n\nAssistant: Hello. What can I do for you?",'
        r' "rejected": "\n\nHuman: Hello!\n\nAssistant: What do you want?"}',
        ("pairwise",),
    ),
    Example(
        "A tie",
        '{"prompt": "Name a prime.", "completions": ["Seven.", "Eleven."], "ranking": [[0, 1]], "annotator": "kim"}',
        ("pairwise",),
    ),
    Example(
        "Two answers to judge",
        '{"prompt": [{"role": "user", "content": "Name a colour."}], "completions": [{"text": "Red.", "model": "a"},'
        ' {"text": "Seven.", "model": "b"}]}',
        ("pairwise",),
    ),
    Example(
        "Several answers, ranked: best first, ties share a list",
        '{"prompt": "Name a planet.", "completions": ["Mars.", "The Moon.", "The Sun."], "ranking": [[0], [2, 1]]}',
        ("listwise",),
    ),
    Example(
        "Several answers to judge",
        '{"prompt": "Name a river.", "completions": ["The Nile.", "Mont Blanc.", "The Danube."], "id": "rivers-1"}',
        ("listwise", "rating"),
    ),
    Example(
        "An answer with thumbs up or down",
        '{"prompt": "What is 2 + 2?", "completion": "4.", "label": true, "annotator": "kim"}',
        ("binary",),
    ),
    Example("An answer to judge", '{"prompt": "What is 2 + 3?", "completion": "5."}', ("binary", "rating")),
    Example("A prompt to sample answers for", '{"prompt": "Explain tides to a child."}', EVERY),
)
