"""Losses: small pure functions, one file per shape of data. LOSSES is the table of all of them.

A loss returns one value per item (pair, completion or prompt), never a mean: the trainer weighs the items, adds them
up and divides by the count of the whole optimiser step. Signatures by shape: pairwise ``fn(chosen, rejected, *, …) →
[B]`` over Scores; unpaired ``fn(scores, desirable, baseline, *, …) → [N]``; listwise ``fn(values, group, rank, *, …) →
[G]``; demonstration ``fn(scores, *, …) → [N]``; reward ``fn(chosen_values, rejected_values, margin, p, *, …) → [B]``;
rating ``fn(values, ratings, *, …) → [N]``.
"""

# In the order in which people meet the methods in lists and forms.
# isort: off
from training.engine.losses import pairwise, contrasts, reference_free, unpaired, listwise, demonstration, reward

# isort: on
from training.engine.losses.scores import Scores
from training.engine.methods import METHODS, Method

LOSSES: dict[str, Method] = METHODS

__all__ = [
    "LOSSES",
    "Method",
    "Scores",
    "contrasts",
    "demonstration",
    "listwise",
    "pairwise",
    "reference_free",
    "reward",
    "unpaired",
]
