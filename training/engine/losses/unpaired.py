"""Losses over single completions with a thumb up or down. h = log π(y|x) - log π_ref(y|x), summed over tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.engine.losses.scores import Scores, log_sigmoid, sigmoid
from training.engine.methods import method

if TYPE_CHECKING:
    from torch import Tensor


@method(shape="unpaired", reference=True, learning_rate=1e-6, baseline="kl")
def kto(
    scores: Scores,
    desirable: Tensor,
    baseline: Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Kahneman–Tversky optimisation.

        up: λ_D (1 - σ(β(h - z₀)));  down: λ_U (1 - σ(β(z₀ - h)))

    Learns from single completions with a thumb up or down, against a baseline z₀ that is measured on mismatched
    completions. Scores, bool [N] and a scalar → [N]; λ/2 at h = z₀. No gradient flows into z₀.

    Use: Thumbs, and pairs that do not come in pairs.
    Pitfall: Needs at least two different prompts in every step, else there is nothing to measure the baseline on; with
        very uneven labels raise the weight of the rarer side.
    Paper: arXiv:2402.01306, section 4
    """
    lead = beta * (scores.log_ratio - baseline.detach())
    return _by_label(desirable, desirable_weight * sigmoid(-lead), undesirable_weight * sigmoid(lead))


@method(shape="unpaired", reference=True, learning_rate=5e-7, baseline="running_mean")
def bco(scores: Scores, desirable: Tensor, baseline: Tensor, *, beta: float = 0.01) -> Tensor:
    """Binary classifier optimisation.

        up: -log σ(βh - δ);  down: -log σ(δ - βh)

    Classifies completions by their reward, with the border δ at the running mean of the two sides' mean rewards.
    Scores, bool [N] and a scalar → [N]; ln 2 at βh = δ.

    Use: Thumbs, cheaper than KTO: its baseline needs no further pass.
    Pitfall: The border δ is the mean of the two sides' means; one over all completions would follow the commoner label.
    Paper: arXiv:2404.04656, section 4
    """
    lead = beta * scores.log_ratio - baseline.detach()
    return _by_label(desirable, -log_sigmoid(lead), -log_sigmoid(-lead))


@method(shape="unpaired", reference=True, learning_rate=1e-6)
def apo_zero_unpaired(scores: Scores, desirable: Tensor, baseline: Tensor, *, beta: float = 0.1) -> Tensor:
    """Anchored preference optimisation, zero, on single completions.

        up: 1 - σ(βh);  down: σ(βh)

    Raises what is liked and lowers what is not, each against the reference. Scores and bool [N] → [N]; ½ at h = 0. The
    baseline is not looked at.

    Use: Thumbs, when good completions are better than what the policy writes.
    Pitfall: Without KTO's baseline a drift of all log-ratios together goes unnoticed.
    Paper: arXiv:2408.06266, equation 7, its two terms apart
    """
    reward = beta * scores.log_ratio
    return _by_label(desirable, sigmoid(-reward), sigmoid(reward))


@method(shape="unpaired", reference=True, learning_rate=1e-6)
def npo(scores: Scores, desirable: Tensor, baseline: Tensor, *, beta: float = 0.1) -> Tensor:
    """Negative preference optimisation.

        down: -(2/β) log σ(-βh);  up: 0

    Unlearns completions with a thumb down, the more slowly the further it has come. Scores and bool [N] → [N];
    (2/β) ln 2 at h = 0 for a thumb down. The baseline is not looked at.

    Use: Nothing but bad examples, or unlearning.
    Pitfall: Thumbs up have no effect and nothing holds other answers up; add 0.1*sft to learn from them too.
    Paper: arXiv:2404.05868, equation 3
    """
    reward = beta * scores.log_ratio
    return _by_label(desirable, 0 * reward, -(2 / beta) * log_sigmoid(-reward))


def _by_label(desirable: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return up.where(desirable, down)
