"""Losses over pairs relative to a reference policy that replace DPO's logistic contrast by another.

h = log π(y|x) - log π_ref(y|x) in nats summed over tokens, w the chosen and l the rejected completion, D = h_w - h_l.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from training.engine.losses.scores import Scores, log_sigmoid, per_pair, sigmoid
from training.engine.methods import Parameter, method

if TYPE_CHECKING:
    from torch import Tensor

# e^80 is still a float32, and so is its product with a β.
_LARGEST_EXPONENT = 80.0


@method(
    shape="pairwise",
    reference=True,
    learning_rate=1e-6,
    parameters=(
        Parameter("label_smoothing", 1e-3, "Share of wrong labels in the target.", minimum=1e-6, maximum=0.499),
    ),
)
def exo(chosen: Scores, rejected: Scores, *, beta: float = 0.1, label_smoothing: float = 1e-3) -> Tensor:
    """Efficient exact optimisation, on pairs.

        q [log q - log(1 - ε)] + (1 - q) [log(1 - q) - log ε],  q = σ(βD)

    The reverse KL from the policy's choice to the smoothed label: it seeks the mode where DPO covers both sides.
    Scores [B] → [B].

    Use: When the policy should commit to the better completion.
    Pitfall: With ε = 0 the loss is infinite, and far on the wrong side the gradient vanishes.
    Paper: arXiv:2402.00856, equation 16
    """
    logits = beta * (chosen.log_ratio - rejected.log_ratio)
    right = sigmoid(logits) * (log_sigmoid(logits) - math.log1p(-label_smoothing))
    wrong = sigmoid(-logits) * (log_sigmoid(-logits) - math.log(label_smoothing))
    return right + wrong


@method(shape="pairwise", reference=True, learning_rate=5e-6)
def nca(chosen: Scores, rejected: Scores, *, beta: float = 0.01) -> Tensor:
    """Noise-contrastive alignment, on pairs.

        -log σ(βh_w) - ½ log σ(-βh_w) - ½ log σ(-βh_l)

    Judges each completion's own log-ratio, not only the difference, so the chosen one's likelihood does not sink.
    Scores [B] → [B]; 2 ln 2 at h = 0.

    Use: Instead of DPO when the chosen log-probs must not fall.
    Pitfall: The chosen one is raised to βh_w = ln 2 and no further; a β of DPO's size stops it early.
    Paper: arXiv:2402.05369, NCA for pairs
    """
    up, down = beta * chosen.log_ratio, beta * rejected.log_ratio
    return -log_sigmoid(up) - 0.5 * log_sigmoid(-up) - 0.5 * log_sigmoid(-down)


@method(shape="pairwise", reference=True, learning_rate=5e-7)
def bco_pair(chosen: Scores, rejected: Scores, *, beta: float = 0.01, delta: float = 0.0) -> Tensor:
    """Binary classifier optimisation, on pairs.

        -log σ(βh_w - δ) - log σ(-(βh_l - δ))

    Each completion is classified by itself as good or bad, with the border at a reward of δ. Scores [B] → [B];
    2 ln 2 at h = 0 and δ = 0.

    Use: Pairs in which both sides can be told good or bad without the other.
    Pitfall: Here δ is a constant; the running mean of the paper belongs to the unpaired bco.
    Paper: arXiv:2404.04656, section 4
    """
    return -log_sigmoid(beta * chosen.log_ratio - delta) - log_sigmoid(delta - beta * rejected.log_ratio)


@method(shape="pairwise", reference=True, learning_rate=5e-7)
def sppo_hard(chosen: Scores, rejected: Scores, *, beta: float = 1e-3) -> Tensor:
    """Self-play preference optimisation, hard labels.

        (h_w - 1/(2β))² + (h_l + 1/(2β))²

    Regresses both log-ratios to the win probabilities 1 and 0 less one half, divided by β. Scores [B] → [B];
    1/(2β²) at h = 0.

    Use: Rounds of self-play, each with the last iterate as reference.
    Pitfall: With β = .001 the targets are ±500 nats and the loss begins at 500,000: only clipping keeps it in hand.
    Paper: arXiv:2405.00675, section 4, with win probabilities 1 and 0
    """
    goal = 1 / (2 * beta)
    return (chosen.log_ratio - goal).square() + (rejected.log_ratio + goal).square()


@method(shape="pairwise", reference=True, learning_rate=1e-6)
def apo_zero(chosen: Scores, rejected: Scores, *, beta: float = 0.1) -> Tensor:
    """Anchored preference optimisation, zero.

        1 - σ(βh_w) + σ(βh_l)

    Raises the chosen completion and lowers the rejected one, each against the reference. Scores [B] → [B]; 1 at h = 0.

    Use: Chosen completions that are better than what the policy writes.
    Pitfall: Bounded, so the gradient vanishes in both tails: a policy that starts far off does not come back.
    Paper: arXiv:2408.06266, equation 7
    """
    return sigmoid(-beta * chosen.log_ratio) + sigmoid(beta * rejected.log_ratio)


@method(shape="pairwise", reference=True, learning_rate=1e-6)
def apo_down(chosen: Scores, rejected: Scores, *, beta: float = 0.1) -> Tensor:
    """Anchored preference optimisation, down.

        σ(βh_w) + 1 - σ(βD)

    Lowers both completions and the rejected one more. Scores [B] → [B]; 1 at h = 0.

    Use: Policies that already write better than the chosen completions.
    Pitfall: It lowers the chosen completions on purpose; on good data that unlearns them.
    Paper: arXiv:2408.06266, equation 8
    """
    lead = chosen.log_ratio - rejected.log_ratio
    return sigmoid(beta * chosen.log_ratio) + sigmoid(-beta * lead)


@method(
    shape="pairwise",
    reference=True,
    learning_rate=1e-6,
    parameters=(
        Parameter(
            "divergence", "reverse_kl", "What holds the policy to its reference.",
            choices=("reverse_kl", "forward_kl", "js", "alpha"),
        ),
        Parameter("alpha", 0.5, "Order of the alpha divergence; read for it only.", minimum=0.01, maximum=1.0),
    ),
)  # fmt: skip
def f_dpo(
    chosen: Scores, rejected: Scores, *, beta: float = 0.1, divergence: str = "reverse_kl", alpha: float = 0.5
) -> Tensor:
    """DPO under another divergence.

        -log σ(β [f'(e^h_w) - f'(e^h_l)])
        reverse KL: f'(e^h) = h;  forward KL: -e^-h;  Jensen–Shannon: log σ(h);  alpha: (1 - e^-αh)/α

    DPO whose reward is held by an f-divergence instead of the reverse KL. Scores [B] → [B]; ln 2 at h = 0.

    Use: Forward KL or Jensen–Shannon to keep more of the reference's variety.
    Pitfall: The setting alpha is the paper's; TRL's coefficient is 1 - α. The exponents of summed ratios are clamped at
        80, beyond which there is no gradient.
    Paper: arXiv:2309.16240, table 1 for the derivatives
    """
    up, down = (_derivative(one.log_ratio, divergence, alpha) for one in (chosen, rejected))
    return -log_sigmoid(beta * (up - down))


def _derivative(log_ratio: Tensor, divergence: str, alpha: float) -> Tensor:
    """f'(e^h) of the divergence, up to a constant that cancels."""
    if divergence == "reverse_kl":
        return log_ratio
    if divergence == "js":
        return log_sigmoid(log_ratio)
    if divergence == "forward_kl":
        return -(-log_ratio).clamp(max=_LARGEST_EXPONENT).exp()
    if divergence == "alpha":
        return -(-alpha * log_ratio).clamp(max=_LARGEST_EXPONENT).expm1() / alpha
    raise ValueError(f"divergence must be reverse_kl, forward_kl, js or alpha, not {divergence!r}")


@method(
    shape="pairwise",
    reference=True,
    learning_rate=1e-6,
    parameters=(
        Parameter(
            "direction", "backward", "backward: KL(teacher‖policy); forward: KL(policy‖teacher); squared: no KL.",
            choices=("backward", "forward", "squared"),
        ),
    ),
)  # fmt: skip
def reward_aware_rpo(
    chosen: Scores,
    rejected: Scores,
    *,
    beta: float = 0.1,
    gap: Tensor | float = 1.0,
    eta: float = 1.0,
    direction: str = "backward",
) -> Tensor:
    """Reward-aware preference optimisation.

        KL(Bern(σ(g)) ‖ Bern(σ(βD))),  g = η (r_w - r_l);  forward: arguments swapped;  squared: (βD - g)²

    The policy's reward gap follows a teacher's, so a slightly better completion is not pushed as far as a much better
    one. Scores [B], ``gap`` = r_w - r_l [B] or one number → [B].

    Use: Pairs scored by a reward model or by people on a scale.
    Pitfall: The teacher's rewards must be calibrated: η turns their unit into log-odds.
    Paper: arXiv:2406.11704, section 3.3.2; arXiv:2502.00203
    """
    policy = beta * (chosen.log_ratio - rejected.log_ratio)
    teacher = policy.new_zeros(policy.shape) + eta * per_pair("gap", gap, policy)
    if direction == "squared":
        return (policy - teacher).square()
    if direction not in ("backward", "forward"):
        raise ValueError(f"direction must be backward, forward or squared, not {direction!r}")
    first, second = (teacher, policy) if direction == "backward" else (policy, teacher)
    right = sigmoid(first) * (log_sigmoid(first) - log_sigmoid(second))
    return right + sigmoid(-first) * (log_sigmoid(-first) - log_sigmoid(-second))


@method(shape="pairwise", reference=True, learning_rate=1e-6, whole_step=True)
def aot(chosen: Scores, rejected: Scores, *, beta: float = 0.1) -> Tensor:
    """Alignment via optimal transport.

        -log σ(β (s_(b) - r_(b))),  s = sorted(log π_w - log π_l),  r = sorted(log π_ref,w - log π_ref,l)

    The distribution of the policy's margins shall dominate the reference's: both are sorted, then compared rank by
    rank. Scores [B] → [B], pair by pair; B are the pairs of a whole optimiser step. ln 2 while the policy is its
    reference.

    Use: Distributional alignment with large batches.
    Pitfall: The loss of a pair depends on the others of its step: with few pairs a step there is nothing to sort.
    Paper: arXiv:2406.05882, section 3
    """
    if chosen.ref_logp is None or rejected.ref_logp is None:
        raise ValueError("this loss compares with a reference policy, but the scores carry no ref_logp")
    policy = chosen.logp - rejected.logp
    reference = (chosen.ref_logp - rejected.ref_logp).sort().values
    rank = policy.argsort(stable=True).argsort()
    return -log_sigmoid(beta * (policy - reference[rank]))


@method(
    shape="pairwise",
    reference=True,
    learning_rate=1e-6,
    parameters=(
        Parameter("tau", 0.05, "Temperature of the blend of logistic and exponential.", minimum=1e-3, maximum=1.0),
    ),
)
def discopop(chosen: Scores, rejected: Scores, *, beta: float = 0.1, tau: float = 0.05) -> Tensor:
    """Discovered preference optimisation (log-ratio modulated loss).

        (1 - m) (-log σ(x)) + m e^-x,  x = βD,  m = σ(x/τ)

    A loss found by search: logistic where the pair is wrong, exponential where it is right. Scores [B] → [B];
    ½ ln 2 + ½ at D = 0.

    Use: As a rival to DPO on your own data.
    Pitfall: Not convex: for τ = .05 its slope has the wrong sign from x = -0.12 to 0.07, and x = 0 is where every pair
        begins.
    Paper: arXiv:2406.08414, equation 5
    """
    x = beta * (chosen.log_ratio - rejected.log_ratio)
    # m e^-x as one exponential: for x far below zero e^-x alone overflows, although the product vanishes.
    return -sigmoid(-x / tau) * log_sigmoid(x) + (log_sigmoid(x / tau) - x).exp()
