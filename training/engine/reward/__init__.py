"""Reward models: the network, what its outputs stand for, its folder, and how sure it is."""

from training.engine.reward.judge import Judge
from training.engine.reward.laplace import Laplace, fit_laplace
from training.engine.reward.model import Pooling, RewardModel, is_bidirectional, new_head
from training.engine.reward.outputs import Outputs, bootstrap_weights
from training.engine.reward.preference import pair_tree, pair_trees, preference
from training.engine.reward.prepare import prepare, read_pairs_together

__all__ = [
    "Judge",
    "Laplace",
    "Outputs",
    "Pooling",
    "RewardModel",
    "bootstrap_weights",
    "fit_laplace",
    "is_bidirectional",
    "new_head",
    "pair_tree",
    "pair_trees",
    "preference",
    "prepare",
    "read_pairs_together",
]
