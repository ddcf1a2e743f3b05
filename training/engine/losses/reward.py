"""Losses of reward models, over the values that the model gives to completions.

Pairs: ``chosen`` and ``rejected`` are float [B], ``margin`` [B] grows with how much better the chosen one is (None: 0)
and ``p`` [B] is the share of judgements that prefer it, a tie counted as half (None: 1). ``tie`` [B] is the share of
ties (None: 0), at most 2·min(p, 1 - p). Losses are [B].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.engine.losses.scores import log_sigmoid
from training.engine.methods import method

if TYPE_CHECKING:
    from torch import Tensor


@method(shape="reward", learning_rate=1e-5)
def bradley_terry(
    chosen: Tensor, rejected: Tensor, margin: Tensor | None = None, p: Tensor | None = None, *, centre: float = 0.01
) -> Tensor:
    """Bradley–Terry reward model.

        -p log σ(Δ) - (1 - p) log σ(-Δ) + centre (r_w + r_l)²,  Δ = r_w - r_l - margin

    Gives every completion one number, so that the chosen completion of a pair gets the higher one. It is the cross
    entropy of a logistic model: for 0 < p < 1 and centre = 0 its minimum is at a difference of margin + logit(p).
    chosen, rejected, margin, p: [B] → [B].

    Use: The first reward model to train on pairs.
    Pitfall: Over-fits after the first epoch; judge it by held-out accuracy and calibration, not by its loss. Centring
        shrinks rewards that spread widely: set centre to 0 where the probabilities are to be believed.
    Paper: Bradley and Terry 1952; arXiv:2203.02155, equation 1; margin arXiv:2307.09288, equation 2; centring
        arXiv:2312.09244
    """
    return _cross_entropy(_gap(chosen, rejected, margin), p) + centre * (chosen + rejected).square()


@method(shape="reward", learning_rate=1e-5)
def davidson(
    chosen: Tensor,
    rejected: Tensor,
    margin: Tensor | None = None,
    p: Tensor | None = None,
    tie: Tensor | None = None,
    *,
    tie_odds: Tensor | float = 1.0,
    centre: float = 0.01,
) -> Tensor:
    """Bradley–Terry with ties after Davidson.

        P(win) ∝ exp(Δ/2),  P(tie) ∝ ν,  P(loss) ∝ exp(-Δ/2),  Δ = r_w - r_l - margin
        -(p - t/2) log P(win) - t log P(tie) - (1 - p - t/2) log P(loss) + centre (r_w + r_l)²

    Learns from ties instead of dropping them: a tie says that two completions are close. ν is how often equals tie for
    each time that one of them wins; the model learns it. Given no tie, the chosen one wins with probability σ(Δ).
    chosen, rejected, margin, p, tie: [B], ``tie_odds`` = ν: scalar → [B]; at 0 it is Bradley–Terry, for which no pair
    may be a tie.

    Use: Annotators may call a tie, and often do.
    Pitfall: One ν for all annotators; where some never tie, it describes nobody.
    Paper: Davidson 1970, JASA 65, p. 317
    """
    return _tie_loss(davidson_log_probs(_gap(chosen, rejected, margin), tie_odds), p, tie) + (
        centre * (chosen + rejected).square()
    )


@method(shape="reward", learning_rate=1e-5)
def rao_kupper(
    chosen: Tensor,
    rejected: Tensor,
    margin: Tensor | None = None,
    p: Tensor | None = None,
    tie: Tensor | None = None,
    *,
    tie_odds: Tensor | float = 1.0,
    centre: float = 0.01,
) -> Tensor:
    """Bradley–Terry with ties after Rao and Kupper.

        P(win) = σ(Δ - log θ),  P(loss) = σ(-Δ - log θ),  P(tie) = (θ² - 1) P(win) P(loss),  Δ = r_w - r_l - margin
        -(p - t/2) log P(win) - t log P(tie) - (1 - p - t/2) log P(loss) + centre (r_w + r_l)²

    Ties are differences below the annotator's threshold log θ. θ - 1 is, as ν of Davidson's model, how often equals tie
    for each time that one of them wins; the model learns it. chosen, rejected, margin, p, tie: [B], ``tie_odds`` =
    θ - 1: scalar → [B].

    Use: Ties mean "I cannot see a difference" rather than "both are equally good".
    Pitfall: Rewards are scaled by the threshold: compare them between models after normalisation only.
    Paper: Rao and Kupper 1967, JASA 62, p. 194
    """
    return _tie_loss(rao_kupper_log_probs(_gap(chosen, rejected, margin), tie_odds), p, tie) + (
        centre * (chosen + rejected).square()
    )


@method(shape="reward", learning_rate=1e-5)
def preference_model(first: Tensor, second: Tensor, margin: Tensor | None = None, p: Tensor | None = None) -> Tensor:
    """Pairwise preference model.

        -p log σ(Δ) - (1 - p) log σ(-Δ),  Δ = (f(x, y_w, y_l) - f(x, y_l, y_w)) / 2 - margin

    Reads both completions at once, in both orders, and says which is better; the difference of the two orders makes
    the answer independent of the order. Preferences need not be transitive.
    first, second: [B], the model's logits for chosen before rejected and for rejected before chosen → [B].

    Use: Comparisons that one number per completion cannot express; judging a pair of samples.
    Pitfall: K completions need K(K - 1) readings of twice the length, and rank nothing by themselves.
    Paper: PairRM, arXiv:2306.02561
    """
    return _cross_entropy(_gap(first / 2, second / 2, margin), p)


@method(shape="rating", learning_rate=1e-5)
def regression(values: Tensor, ratings: Tensor) -> Tensor:
    """Reward model by regression.

        mean over the rated aspects a of (r_a - rating_a)²

    Predicts the ratings themselves, one output per aspect, or 0 and 1 from thumbs. The reward is the mean of the
    aspects. values, ratings: [N] or [N, A], NaN where an aspect was not rated → [N]; 0 for a row without ratings.

    Use: Ratings on a scale that annotators share.
    Pitfall: Scales differ between annotators; without calibration of the ratings, pairs carry more.
    Paper: HelpSteer, arXiv:2311.09528; multi-aspect heads ArmoRM, arXiv:2406.12845
    """
    rated = ~ratings.isnan()
    # NaN times zero is NaN, in the gradient too: the missing ones are replaced before the difference is taken.
    errors = (values - ratings.where(rated, values.detach())).square()
    if errors.dim() == 1:
        return errors
    return errors.sum(-1) / rated.sum(-1).clamp(min=1)


def davidson_log_probs(gap: Tensor, tie_odds: Tensor | float) -> Tensor:
    """log P of (win, tie, loss) for differences [B]: [B, 3] (Davidson 1970)."""
    import torch

    log_odds = torch.as_tensor(tie_odds, dtype=gap.dtype, device=gap.device).log().expand_as(gap)
    return torch.stack((gap / 2, log_odds, -gap / 2), dim=-1).log_softmax(-1)


def rao_kupper_log_probs(gap: Tensor, tie_odds: Tensor | float) -> Tensor:
    """log P of (win, tie, loss) for differences [B]: [B, 3] (Rao and Kupper 1967, with θ = 1 + tie_odds)."""
    import torch

    odds = torch.as_tensor(tie_odds, dtype=gap.dtype, device=gap.device)
    threshold = odds.log1p()
    win, loss = log_sigmoid(gap - threshold), log_sigmoid(-gap - threshold)
    # θ² - 1 = (θ - 1)(θ + 1): the difference of squares loses its digits where θ is near one.
    return torch.stack((win, odds.log() + (odds + 2).log() + win + loss, loss), dim=-1)


def _gap(chosen: Tensor, rejected: Tensor, margin: Tensor | None) -> Tensor:
    return chosen - rejected if margin is None else chosen - rejected - margin


def _cross_entropy(gap: Tensor, p: Tensor | None) -> Tensor:
    return -log_sigmoid(gap) if p is None else -p * log_sigmoid(gap) - (1 - p) * log_sigmoid(-gap)


def _tie_loss(log_probs: Tensor, p: Tensor | None, tie: Tensor | None) -> Tensor:
    """Cross entropy of the three outcomes: [B]."""
    win, tied, loss = log_probs.unbind(-1)
    share = win.new_ones(()) if p is None else p
    half = win.new_zeros(()) if tie is None else tie / 2
    # Where a tie cannot be, at odds of 0, none times log 0 is nothing.
    ties = (2 * half * tied).where(half > 0, 0)
    return -(share - half) * win - ties - (1 - share - half) * loss
