"""How sure a reward model is of a difference: a Laplace approximation of its last layer.

The head is the maximum of a posterior with a Gaussian prior; around it the log-posterior is replaced by its second
order expansion (MacKay 1992; for last layers of networks Daxberger et al., arXiv:2106.14806, section 3). With φ the
difference of the two completions' features, the likelihood of a pair is σ(wᵀφ), and so

    H = λI + Σ weight · σ(1 - σ) · φφᵀ,      variance of a difference wᵀφ = φᵀ H⁻¹ φ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.engine.batch import Batch, Layout, make_batch, micro_batches

if TYPE_CHECKING:
    from training.engine.reward.model import RewardModel
    from training.engine.trees import PromptTree


class Laplace:
    """The posterior of a head's weights: ``precision`` is H, float64 [D, D]."""

    def __init__(self, precision: Tensor) -> None:
        self.precision = precision.double()
        # torch.linalg.LinAlgError when H is not positive definite, which no data can make it.
        self._factor = torch.linalg.cholesky(self.precision)

    def variance(self, difference: Tensor) -> Tensor:
        """Variance of the rewards' difference, float64 [B], for differences of features [B, D]."""
        scaled = torch.linalg.solve_triangular(self._factor, difference.double().T, upper=False)
        return scaled.square().sum(0)


def feature_differences(model: RewardModel, batch: Batch) -> Tensor:
    """What the head reads of a batch of pairs, as the difference of both sides: float32 [B, D]."""
    features = model.features(batch)
    difference = features[0::2] - features[1::2]
    return difference / 2 if model.separator is not None else difference


def fit_laplace(
    model: RewardModel,
    trees: Sequence[PromptTree],
    *,
    prior: float,
    layout: Layout,
    pad_id: int,
    token_budget: int,
    between: Callable[[], None] | None = None,
) -> Laplace:
    """The Laplace approximation over the pairs a model was trained on; ``prior`` is λ, the precision of the weights.

    The curvature is that of the Bradley–Terry likelihood at the model's value, for losses with ties too: it leaves
    out what ties tell. ``between`` is called after each micro-batch.
    """
    device = next(model.parameters()).device
    rows = model.outputs.compose(model.head.weight.detach().T)  # [D, O]: what each output reads
    direction = model.outputs.combine(rows).double()
    precision = prior * torch.eye(len(direction), dtype=torch.float64, device=device)
    for indices in micro_batches(trees, range(len(trees)), layout=layout, token_budget=token_budget):
        members = [trees[index] for index in indices]
        with torch.no_grad():
            batch = make_batch(members, layout=layout, pad_id=pad_id, device=device)
            difference = feature_differences(model, batch).double()
        margin = difference.new_tensor([tree.targets.get("margin") or 0.0 for tree in members])
        weight = difference.new_tensor([tree.targets["weight"] for tree in members])
        gap = difference @ direction - margin
        curvature = weight * torch.sigmoid(gap) * torch.sigmoid(-gap)
        precision += difference.T @ (curvature[:, None] * difference)
        if between:
            between()
    return Laplace(precision)
