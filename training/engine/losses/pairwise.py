"""Losses over pairs relative to a reference policy: DPO and what changes its labels, its margin or its lengths.

Completion ``chosen[b]`` was preferred to ``rejected[b]`` for the same prompt. In the formulas h = log π(y|x) - log
π_ref(y|x) in nats summed over tokens, D = h_w - h_l, and n is the number of tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.engine.losses.scores import Scores, log_sigmoid, per_pair
from training.engine.methods import Parameter, method

if TYPE_CHECKING:
    from torch import Tensor


@method(shape="pairwise", reference=True, learning_rate=1e-6)
def dpo(chosen: Scores, rejected: Scores, *, beta: float = 0.1) -> Tensor:
    """Direct preference optimisation.

        -log σ(βD)

    Raises the chosen completion over the rejected one, relative to a frozen reference policy. Scores [B] → [B];
    ln 2 while the policy is its reference.

    Use: The first method to try on pairs.
    Pitfall: The log-prob of chosen completions normally falls as well; a high learning rate lets it collapse while
        the accuracy still looks perfect.
    Paper: arXiv:2305.18290, equation 7
    """
    return -log_sigmoid(beta * (chosen.log_ratio - rejected.log_ratio))


@method(shape="pairwise", reference=True, learning_rate=1e-6)
def cdpo(chosen: Scores, rejected: Scores, *, beta: float = 0.1, label_smoothing: float = 0.1) -> Tensor:
    """Conservative DPO.

        -(1 - ε) log σ(βD) - ε log σ(-βD)

    DPO that expects a share ε of the labels to be wrong, so its optimum is at a bounded margin, βD = logit(1 - ε).
    Scores [B] → [B]; ln 2 at D = 0.

    Use: Noisy labels, and whenever DPO runs away from its reference.
    Pitfall: Rows that bring their own p are smoothed twice; take soft_dpo for them.
    Paper: E. Mitchell, A note on DPO with noisy preferences (2023), equation 3
    """
    logits = beta * (chosen.log_ratio - rejected.log_ratio)
    return -(1 - label_smoothing) * log_sigmoid(logits) - label_smoothing * log_sigmoid(-logits)


@method(shape="pairwise", reference=True, learning_rate=1e-6)
def robust_dpo(chosen: Scores, rejected: Scores, *, beta: float = 0.1, label_smoothing: float = 0.1) -> Tensor:
    """Robust DPO.

        [-(1 - ε) log σ(βD) + ε log σ(-βD)] / (1 - 2ε)

    Unbiased for the DPO loss on clean labels when a share ε of the labels was flipped at random. Scores [B] → [B];
    ln 2 at D = 0.

    Use: Flipped labels whose share is known, for example from gold items.
    Pitfall: Unbounded below, and ε near one half blows the gradient up; unlike cDPO it subtracts the flipped term.
    Paper: arXiv:2403.00409, section 3.1
    """
    logits = beta * (chosen.log_ratio - rejected.log_ratio)
    mixed = -(1 - label_smoothing) * log_sigmoid(logits) + label_smoothing * log_sigmoid(-logits)
    return mixed / (1 - 2 * label_smoothing)


@method(shape="pairwise", reference=True, learning_rate=1e-6)
def soft_dpo(chosen: Scores, rejected: Scores, *, beta: float = 0.1, p: Tensor | float = 1.0) -> Tensor:
    """DPO with soft labels.

        -p log σ(βD) - (1 - p) log σ(-βD)

    Each pair brings the probability p that its chosen completion is better. Scores [B], p [B] or one number → [B];
    ln 2 at D = 0 whatever p is, the optimum at βD = logit(p).

    Use: Several annotators per pair: the share of their votes, or the posterior of an aggregation.
    Pitfall: A share of few votes is itself noisy: one of one vote is p = 1.
    Paper: arXiv:2305.18290, equation 7, as the expectation over the label
    """
    logits = beta * (chosen.log_ratio - rejected.log_ratio)
    p = per_pair("p", p, logits)
    return -p * log_sigmoid(logits) - (1 - p) * log_sigmoid(-logits)


@method(shape="pairwise", reference=True, learning_rate=1e-6)
def odpo(chosen: Scores, rejected: Scores, *, beta: float = 0.1, offset: Tensor | float = 0.0) -> Tensor:
    """DPO with an offset.

        -log σ(βD - Δ)

    The chosen completion must lead by an offset Δ that grows with how much better it was said to be. Rows without an
    offset use their margin, the strength that annotators gave. Scores [B], Δ [B] or one number → [B].

    Use: Annotators who say how much better, not only which.
    Pitfall: The offset is in units of βD: an offset of 3 at β = .1 asks for 30 nats.
    Paper: arXiv:2402.10571
    """
    lead = beta * (chosen.log_ratio - rejected.log_ratio)
    return -log_sigmoid(lead - per_pair("offset", offset, lead))


@method(shape="pairwise", reference=True, learning_rate=1e-6)
def hinge(chosen: Scores, rejected: Scores, *, beta: float = 0.05) -> Tensor:
    """Hinge loss on the margin.

        max(0, 1 - βD)

    Asks for a margin of 1/β nats and for nothing beyond it. Scores [B] → [B]; 1 at D = 0.

    Use: Completions sampled by rejection (RSO), or a policy that should stop moving once it is right.
    Pitfall: A satisfied pair has no gradient at all: with a large β everything is satisfied after a few steps.
    Paper: arXiv:2309.06657; arXiv:2305.10425
    """
    return (1 - beta * (chosen.log_ratio - rejected.log_ratio)).relu()


@method(shape="pairwise", reference=True, learning_rate=1e-6)
def ipo(chosen: Scores, rejected: Scores, *, tau: float = 0.1) -> Tensor:
    """Identity preference optimisation.

        (D - 1/(2τ))²

    Regresses the difference of log-ratios, summed over tokens as in the paper, to 1/(2τ) nats, so it cannot run away.
    Scores [B] → [B]; 1/(4τ²) at D = 0.

    Use: Deterministic labels on few pairs, where DPO overfits.
    Pitfall: Its gradient is 1/τ at the start, 200 times DPO's: keep max_grad_norm on. Several libraries average over
        tokens instead; that is ipo_norm.
    Paper: arXiv:2310.12036, equation 17
    """
    return (chosen.log_ratio - rejected.log_ratio - 1 / (2 * tau)).square()


@method(shape="pairwise", reference=True, learning_rate=1e-6, per_token=True)
def ipo_norm(chosen: Scores, rejected: Scores, *, tau: float = 1.0) -> Tensor:
    """IPO on per-token means.

        (h_w/n_w - h_l/n_l - 1/(2τ))²

    IPO with log-ratios averaged over tokens. Scores [B] → [B]; 1/(4τ²) at D = 0.

    Use: Pairs whose lengths differ much, or to repeat results of libraries that average.
    Pitfall: With τ = .1 the target is 5 nats per token, which nothing reaches: the loss is then a straight line.
    Paper: arXiv:2310.12036, equation 17, with means
    """
    return (chosen.mean_log_ratio - rejected.mean_log_ratio - 1 / (2 * tau)).square()


@method(shape="pairwise", reference=True, learning_rate=5e-7, per_token=True)
def dpo_norm(chosen: Scores, rejected: Scores, *, beta: float = 5.0) -> Tensor:
    """Length-normalised DPO.

        -log σ(β(h_w/n_w - h_l/n_l))

    DPO on log-ratios per token, as Tülu 3 uses it. Scores [B] → [B]; ln 2 at D = 0.

    Use: Completions of very different lengths, where summed log-probs follow length.
    Pitfall: Its β is about fifty times DPO's; with .1 hardly anything happens.
    Paper: arXiv:2411.15124, section 5.1
    """
    return -log_sigmoid(beta * (chosen.mean_log_ratio - rejected.mean_log_ratio))


@method(
    shape="pairwise",
    reference=True,
    learning_rate=1e-6,
    parameters=(Parameter("alpha", 0.05, "Price of a token in nats of reward.", minimum=0.0),),
)
def r_dpo(chosen: Scores, rejected: Scores, *, beta: float = 0.1, alpha: float = 0.05) -> Tensor:
    """DPO regularised by length.

        -log σ(βD + α(n_w - n_l))

    DPO for a reward that charges α nats per token: what length alone explains of a preference is not learnt. Scores
    [B] → [B].

    Use: Annotators who prefer longer answers as such.
    Pitfall: The sign is plus: the chosen one's extra length makes the pair count as already explained. α that is too
        large teaches brevity.
    Paper: arXiv:2403.19159
    """
    lead = beta * (chosen.log_ratio - rejected.log_ratio)
    return -log_sigmoid(lead + alpha * (chosen.length - rejected.length))


@method(shape="pairwise", reference=True, learning_rate=1e-6, extras=("prefix",))
def ld_dpo(chosen: Scores, rejected: Scores, *, beta: float = 0.1, ld_alpha: float = 0.5) -> Tensor:
    """Length-desensitised DPO.

        -log σ(β(h'_w - h'_l)),  h' = prefix + α (h - prefix)

    DPO in which tokens behind the shorter length of the two count α; prefix is the log-ratio of the first min(n_w,
    n_l) tokens. Scores [B] with prefix_logp → [B]; α = 1 is DPO.

    Use: Long answers whose tails carry little of the preference.
    Pitfall: Policy and reference alike must have the α; with the policy's only, the first loss is not ln 2.
    Paper: arXiv:2409.06411
    """
    return -log_sigmoid(beta * (_desensitised(chosen, ld_alpha) - _desensitised(rejected, ld_alpha)))


def _desensitised(scores: Scores, alpha: float) -> Tensor:
    if scores.prefix_logp is None or scores.ref_prefix_logp is None:
        raise ValueError("ld_dpo needs scores with prefix_logp and ref_prefix_logp")
    prefix = scores.prefix_logp - scores.ref_prefix_logp
    return prefix + alpha * (scores.log_ratio - prefix)


@method(shape="pairwise", reference=True, learning_rate=1e-6)
def rpo(chosen: Scores, rejected: Scores, *, beta: float = 0.1, nll_weight: float = 1.0) -> Tensor:
    """DPO with the chosen completion's likelihood.

        -log σ(βD) - λ log π(y_w|x) / n_w

    Adds the chosen completion's negative log-likelihood per token, so that its probability does not sink with the
    rejected one's. Scores [B] → [B].

    Use: DPO whose chosen log-probs fall, and reasoning data.
    Pitfall: The mean is taken per completion: a mean over all tokens of a batch, as in other libraries, makes λ depend
        on the batch.
    Paper: arXiv:2404.19733, equation 1
    """
    return -log_sigmoid(beta * (chosen.log_ratio - rejected.log_ratio)) - nll_weight * chosen.mean_logp


@method(shape="pairwise", reference=True, learning_rate=1e-6, extras=("certainty",))
def wpo(chosen: Scores, rejected: Scores, *, beta: float = 0.1) -> Tensor:
    """Weighted preference optimisation.

        -w_w w_l log σ(βD),  w = exp(mean over tokens of (log π - log Σ_v π_v²)),  w_w w_l ≤ 1

    DPO whose pairs weigh as much as the current policy would write them, which brings offline pairs nearer to on-policy
    ones. Scores [B] with certainty → [B]; the weights pass no gradient.

    Use: Pairs that another model wrote.
    Pitfall: Pairs that are far from the policy weigh almost nothing, so the effective batch is small.
    Paper: arXiv:2406.11827, with the sampled alignment of its weights
    """
    if chosen.certainty is None or rejected.certainty is None:
        raise ValueError("wpo needs scores with certainty")
    weight = (chosen.certainty + rejected.certainty).clamp(max=0).exp().detach()
    return -weight * log_sigmoid(beta * (chosen.log_ratio - rejected.log_ratio))


@method(
    shape="pairwise",
    reference=True,
    learning_rate=1e-6,
    parameters=(
        Parameter("mixup_alpha", 0.6, "Share of the policy in the new reference.", minimum=0.0, maximum=1.0),
        Parameter("sync_steps", 512, "Steps between two moves of the reference.", minimum=1),
    ),
)
def tr_dpo(chosen: Scores, rejected: Scores, *, beta: float = 0.1) -> Tensor:
    """Trust-region DPO.

        -log σ(βD),  π_ref ← α π + (1 - α) π_ref every τ steps

    DPO whose reference follows the policy, so that it may move on without leaving its neighbourhood. Scores [B] → [B].

    Use: Long runs in which DPO is held back by its first reference.
    Pitfall: The reference is computed in every step and cannot be cached; with fewer steps than sync_steps it is DPO.
    Paper: arXiv:2404.09656
    """
    return dpo(chosen, rejected, beta=beta)
