"""The figures of a run's held-out rows, in words."""

from dataclasses import dataclass
from typing import Any

# What else is said of a split: the engine's name, its name for people, digits, and what to make of it.
MORE: tuple[tuple[str, str, int, str], ...] = (
    ("top_accuracy", "Best one on top", 3, "Share of the lists whose best answer the model puts first."),
    ("margin", "Margin", 3, "Reward of the better answer less that of the worse one, on average."),
    (
        "chosen_shift",
        "Better answers moved",
        3,
        "Nats per token, against the reference; below 0, less likely.",
    ),
    ("rejected_shift", "Worse answers moved", 3, "Nats per token, against the reference."),
    ("kl", "Distance from the reference", 4, "KL(reference ‖ policy) on these rows, nats per token."),
    (
        "chosen_nll",
        "Surprise at the better answers",
        3,
        "Nats per token; less is better.",
    ),
    (
        "length_correlation",
        "Reward and length",
        2,
        "Rank correlation: near 1, the model rewards length and little else; 0 is no connection.",
    ),
    (
        "ece",
        "Calibration error",
        3,
        "How far the model’s probability that an answer is better is from how often it is; 0 is best.",
    ),
    ("brier", "Brier score", 3, "Squared error of that probability: 0 is best, 0.25 is tossing a coin."),
)
# How the names of the engine's slices begin or read; what follows the colon is the word in the rows' own column.
GROUPS = {
    "chosen_longer": "The better answer is the longer one",
    "chosen_shorter": "The better answer is the shorter one",
    "equal_length": "Both are equally long",
    "slice": "Slice",
    "group": "Annotators",
}


@dataclass(frozen=True, slots=True)
class Split:
    """What was measured on one split. `more` are (name, value, what it says); `groups` and `aspects` are (name, figures
    of the engine)."""

    name: str
    figures: dict[str, Any]
    more: list[tuple[str, str, str]]
    groups: list[tuple[str, dict[str, Any]]]
    aspects: list[tuple[str, dict[str, Any]]]


def held_out(result: dict[str, Any]) -> list[Split]:
    """Every split that the run was measured on."""
    return [
        Split(
            name=name,
            figures=figures,
            more=[(title, f"{figures[key]:.{digits}f}", about) for key, title, digits, about in MORE if key in figures],
            groups=[(_group(key), one) for key, one in figures.get("slices", {}).items()],
            aspects=list(figures.get("aspects", {}).items()),
        )
        for name, figures in result.get("eval", {}).items()
    ]


def _group(key: str) -> str:
    kind, _, word = key.partition(":")
    return f"{GROUPS.get(kind, kind)} {word}".rstrip()
