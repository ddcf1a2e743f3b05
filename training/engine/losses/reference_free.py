"""Losses over pairs that need no reference policy. m is the mean log-prob per token, n the number of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.engine.losses.scores import Scores, log_odds, log_sigmoid
from training.engine.methods import Parameter, method

if TYPE_CHECKING:
    from torch import Tensor

# e^80 is still a float32.
_LARGEST_EXPONENT = 80.0


@method(shape="pairwise", learning_rate=6e-7, per_token=True)
def simpo(chosen: Scores, rejected: Scores, *, beta: float = 2.0, gamma_beta_ratio: float = 0.5) -> Tensor:
    """Simple preference optimisation.

        -log σ(β (m_w - m_l) - γ),  γ = β · ratio

    Compares mean log-probs, what a sampler ranks by, with a target margin. Scores [B] → [B].

    Use: Pairs from the policy itself, when no second model fits into memory.
    Pitfall: Libraries give the margin in three units (γ, γ/β); here it is γ/β. Nothing holds the policy to where it
        began: learning rates above 1e-5 degenerate.
    Paper: arXiv:2405.14734, equation 6
    """
    return -log_sigmoid(beta * (chosen.mean_logp - rejected.mean_logp - gamma_beta_ratio))


@method(shape="pairwise", learning_rate=1e-6)
def cpo(chosen: Scores, rejected: Scores, *, beta: float = 0.1, nll_weight: float = 1.0) -> Tensor:
    """Contrastive preference optimisation.

        -log σ(β (log π_w - log π_l)) - λ log π_w / n_w

    DPO with a uniform reference, plus the chosen completion's likelihood per token. Scores [B] → [B].

    Use: Translation and other tasks whose chosen completions are good demonstrations.
    Pitfall: Log-probs are sums, so the longer completion starts behind.
    Paper: arXiv:2401.08417
    """
    return -log_sigmoid(beta * (chosen.logp - rejected.logp)) - nll_weight * chosen.mean_logp


@method(shape="pairwise", learning_rate=8e-6, per_token=True)
def orpo(chosen: Scores, rejected: Scores, *, odds_weight: float = 0.1) -> Tensor:
    """Odds-ratio preference optimisation.

        -m_w - λ log σ(lo(m_w) - lo(m_l)),  lo(m) = m - log(1 - e^m)

    Fine-tunes on the chosen completion and penalises the odds of the rejected one, in one stage. Scores [B] → [B].

    Use: A base model that has not been fine-tuned yet.
    Pitfall: The likelihood is over the completion's tokens; the paper's code counts the prompt's as well.
    Paper: arXiv:2403.07691, equations 6 and 7
    """
    return -chosen.mean_logp - odds_weight * log_sigmoid(log_odds(chosen.mean_logp) - log_odds(rejected.mean_logp))


@method(shape="pairwise", learning_rate=1e-6)
def slic(chosen: Scores, rejected: Scores, *, margin: float = 1.0, nll_weight: float = 0.1) -> Tensor:
    """Sequence likelihood calibration.

        max(0, δ - log π_w + log π_l) - λ log π_w / n_w

    A hinge on the log-probs themselves with a likelihood term against drifting away. Scores [B] → [B].

    Use: Pairs of samples of the policy, ranked by people or a model.
    Pitfall: The margin is in nats of whole completions: 1 nat is little for long ones.
    Paper: arXiv:2305.10425, equation 1
    """
    return (margin - chosen.logp + rejected.logp).relu() - nll_weight * chosen.mean_logp


@method(
    shape="pairwise",
    learning_rate=6e-7,
    per_token=True,
    parameters=(
        Parameter("alpha", 0.25, "Shape of the reward; near 0 it is SimPO's.", minimum=0.01, maximum=1.0),
    ),
)  # fmt: skip
def alpha_po(
    chosen: Scores, rejected: Scores, *, beta: float = 2.0, alpha: float = 0.25, gamma_beta_ratio: float = 0.5
) -> Tensor:
    """Alpha preference optimisation.

        -log σ(β (r_w - r_l) - γ),  r = (1 - e^-αm) / α,  γ = β · ratio

    SimPO with a bent reward: unlikely completions are pushed harder. Scores [B] → [B].

    Use: Where SimPO lets the chosen likelihood sink.
    Pitfall: The power e^-αm grows fast for unlikely completions; its exponent is clamped at 80.
    Paper: arXiv:2501.03884
    """
    up, down = ((-alpha * one.mean_logp).clamp(max=_LARGEST_EXPONENT) for one in (chosen, rejected))
    return -log_sigmoid(beta * ((down.expm1() - up.expm1()) / alpha - gamma_beta_ratio))
