"""Objectives, one per shape of data: what a micro-batch adds to a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.engine.losses import LOSSES
from training.engine.objectives.base import Contribution, Examples, Objective, PolicyObjective, Record
from training.engine.objectives.demonstration import DemonstrationObjective
from training.engine.objectives.listwise import ListwiseObjective
from training.engine.objectives.paft import PaftObjective
from training.engine.objectives.pairwise import PairwiseObjective
from training.engine.objectives.reward import RatingObjective, RewardObjective
from training.engine.objectives.unpaired import UnpairedObjective

SHAPES: dict[str, type[Objective]] = {
    "pairwise": PairwiseObjective,
    "reward": RewardObjective,
    "rating": RatingObjective,
    "unpaired": UnpairedObjective,
    "listwise": ListwiseObjective,
    "demonstration": DemonstrationObjective,
}


# Methods that train more than one part of a model have an objective of their own.
NAMED: dict[str, type[Objective]] = {"paft": PaftObjective}


def make_objective(method: str, config: Mapping[str, Any] | None = None) -> Objective:
    """The objective of a method; its settings are taken out of a run's config, or are the defaults."""
    return (NAMED.get(method) or SHAPES[LOSSES[method].shape])(method, config)


__all__ = ["Contribution", "Examples", "Objective", "PolicyObjective", "Record", "make_objective"]
