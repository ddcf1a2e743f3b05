"""Losses over lists: K ≥ 2 completions of one prompt, ranked or with rewards.

All take ``values`` float [N], N completions of G prompts laid flat, ``group`` long [N], the prompt of each completion
(0 … G-1), and ``rank`` long [N]: 0 is best, equal ranks tie, and a negative rank was not ranked and stands behind those
that were. They return one loss per prompt, [G]. A policy passes u = β·(log π(y|x) - log π_ref(y|x)) as values, a reward
model its rewards. K may differ between prompts. ValueError for other shapes, and for numbers of prompts with a gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from training.engine.losses.scores import log_sigmoid
from training.engine.methods import Parameter, method

if TYPE_CHECKING:
    from torch import Tensor


@method(shape="listwise", reference=True, learning_rate=1e-6, trains="either", value_beta=0.1)
def plackett_luce(values: Tensor, group: Tensor, rank: Tensor) -> Tensor:
    """Plackett–Luce ranking.

        Σ_k [ logsumexp_{j: rank_j ≥ rank_k} u_j - u_k ]

    The likelihood of the whole ranking, drawn from best to worst: each completion is chosen over all that are still
    left. With K = 2 it is DPO for a policy and Bradley–Terry for a reward model. Tied completions are each chosen over
    their own tier and everything behind it (Breslow's treatment of ties), which draws them together; completions that
    were not ranked only stand in the denominators. values, group, rank [N] → [G].

    Use: Rankings of three and more in which every place was decided with care.
    Pitfall: The places at the bottom count as much as those at the top, and are often the noisiest.
    Paper: arXiv:2305.18290, appendix A.3; Plackett 1975; ties Breslow 1974
    """
    lists = _lists(values, group, rank)
    left = (lists.place[:, None, :] >= lists.place[:, :, None]) & lists.real[:, None, :]
    terms = _logsumexp(lists.values[:, None, :], left | _same(left)) - lists.values
    return terms.where(lists.ranked, 0).sum(1)


@method(shape="listwise", learning_rate=1e-5, trains="reward")
def all_pairs(values: Tensor, group: Tensor, rank: Tensor) -> Tensor:
    """All pairs of a list.

        -1/P · Σ_{i before j} log σ(r_i - r_j),  P = the number of pairs of which one is better

    Bradley–Terry over every untied pair of a prompt, as one element of the batch: one forward pass for each completion
    instead of K - 1, and every prompt has the same weight whatever its K. values, group, rank [N] → [G]; 0 for a prompt
    in which all tie.

    Use: Reward models on rankings; at K = 2 it is Bradley–Terry.
    Pitfall: Pairs of one prompt in different batches over-fit after an epoch; build lists, not pairs.
    Paper: arXiv:2203.02155, equation 1
    """
    lists = _lists(values, group, rank)
    before = (lists.place[:, :, None] < lists.place[:, None, :]) & lists.real[:, :, None] & lists.real[:, None, :]
    losses = -log_sigmoid(lists.values[:, :, None] - lists.values[:, None, :])
    return losses.where(before, 0).sum((1, 2)) / before.sum((1, 2)).clamp(min=1)


_ALPHA = Parameter(
    "alpha", 0.25, "Temperature of the rewards in the target; smaller puts more weight on the best.", minimum=1e-3
)
_BETA_R = Parameter(
    "beta_r", 0.25, "Temperature of the rewards in the target; smaller puts more weight on the best.", minimum=1e-3
)


@method(shape="listwise", reference=True, learning_rate=1e-6, value_beta=0.01, parameters=(_ALPHA,))
def infonca(
    values: Tensor, group: Tensor, rank: Tensor, *, alpha: float = 0.25, rewards: Tensor | None = None
) -> Tensor:
    """InfoNCA.

        -Σ_i t_i · log softmax_i(u),  t = softmax(r / alpha)

    Cross entropy between the rewards' distribution over a prompt's completions and the policy's, so the size of the
    rewards counts and not only their order. values, group, rank, rewards [N] → [G]; without rewards, a completion's
    reward is the share of the others that it is ranked before, ties half, and so it is where a reward is NaN.

    Use: Completions with scores of a reward model or with shares of votes.
    Pitfall: Only differences count, so all log-probs may fall together; nca_list prevents it.
    Paper: arXiv:2402.05369 (InfoNCA)
    """
    lists = _lists(values, group, rank)
    target = _softmax(_rewards(lists, rewards) / alpha, lists.real)
    return -(target.exp() * _softmax(lists.values, lists.real)).where(lists.real, 0).sum(1)


@method(shape="listwise", reference=True, learning_rate=1e-6, value_beta=0.01, parameters=(_ALPHA,))
def nca_list(
    values: Tensor, group: Tensor, rank: Tensor, *, alpha: float = 0.25, rewards: Tensor | None = None
) -> Tensor:
    """Noise-contrastive alignment over lists.

        -Σ_i [ t_i · log σ(u_i) + 1/K · log σ(-u_i) ],  t = softmax(r / alpha)

    Tells each completion from noise by its own log-ratio, so that the likelihood of good completions does not fall
    together with that of bad ones. values, group, rank, rewards [N] → [G]; rewards as in infonca.

    Use: Where DPO or InfoNCA let the log-probs of the best completions fall.
    Pitfall: The loss at the start is 2 ln 2 and stays near it; watch the margin instead.
    Paper: arXiv:2402.05369 (NCA)
    """
    lists = _lists(values, group, rank)
    target = _softmax(_rewards(lists, rewards) / alpha, lists.real).exp()
    terms = target * log_sigmoid(lists.values) + log_sigmoid(-lists.values) / lists.real.sum(1, keepdim=True)
    return -terms.where(lists.real, 0).sum(1)


@method(shape="listwise", reference=True, learning_rate=1e-6, value_beta=0.1, parameters=(_BETA_R,))
def exo_list(
    values: Tensor, group: Tensor, rank: Tensor, *, beta_r: float = 0.25, rewards: Tensor | None = None
) -> Tensor:
    """Efficient exact optimisation over lists.

        KL( softmax(u) ‖ softmax(r / beta_r) )

    The reverse KL, which concentrates on the best completions as reinforcement learning does, where InfoNCA's forward
    KL covers all of them. values, group, rank, rewards [N] → [G]; rewards as in infonca.

    Use: K completions of the policy that is the reference, each scored by a reward model.
    Pitfall: Exact only if the completions were sampled from the reference policy.
    Paper: arXiv:2402.00856 (EXO with a reward model)
    """
    lists = _lists(values, group, rank)
    policy, target = (_softmax(each, lists.real) for each in (lists.values, _rewards(lists, rewards) / beta_r))
    return (policy.exp() * (policy - target)).where(lists.real, 0).sum(1)


@method(shape="listwise", reference=True, learning_rate=1e-6, value_beta=0.1)
def rnce(values: Tensor, group: Tensor, rank: Tensor, *, negatives: int = 0, noise: Tensor | None = None) -> Tensor:
    """Ranking noise-contrastive estimation.

        -log( e^{u_0} / Σ_{i=0…M} e^{u_i} ),  0 = the best, 1…M = worse ones

    The best completion of a prompt against M of the worse ones at once, drawn uniformly without replacement; with M = 1
    it is DPO. values, group, rank [N] → [G]; of several that are best the mean is taken. ``noise`` [N], independent and
    continuous, decides the draw (the largest are taken); without it, torch's generator does.

    Use: One good completion and many worse ones whose order is unknown.
    Pitfall: The order among the worse ones is ignored; plackett_luce uses it.
    Paper: arXiv:2502.04567 (RNCE)
    """
    lists = _lists(values, group, rank)
    return _best_against(lists, _drawn(lists, lists.table(_noise(noise, values)), negatives))


@method(shape="listwise", reference=True, learning_rate=1e-6, value_beta=0.1)
def mc_po(values: Tensor, group: Tensor, rank: Tensor, *, negatives: int = 1, noise: Tensor | None = None) -> Tensor:
    """Monte-Carlo preference optimisation.

        -log( e^{u_0} / Σ_{i=0…M} e^{u_i} ),  1…M ~ softmax(u) among those worse than the best

    RNCE with hard negatives, chosen as in contrastive divergence by a Markov chain that the current policy drives: over
    the worse completions of a prompt it comes to rest at softmax(u), so those that the policy over-rates most come most
    often. Over a list that can be drawn from at once, and further steps of the chain would change nothing. The draw is
    made anew in every step and passes no gradient. values, group, rank [N] → [G]. ``noise`` [N], standard Gumbel,
    decides it (the M largest u + noise are taken, which for M = 1 is a draw from the softmax and for more one without
    replacement); without it, torch's generator does.

    Use: Many sampled completions per prompt, of which most are easily told from the best.
    Pitfall: Hard negatives that are wrongly judged worse pull harder than any others; clean the labels first.
    Paper: arXiv:2502.04567 (MC-PO)
    """
    lists = _lists(values, group, rank)
    hardness = lists.values.detach() + lists.table(_noise(noise, values))
    return _best_against(lists, _drawn(lists, hardness, negatives))


class _Lists(NamedTuple):
    """Ragged lists as tables [G, K] of the longest K: where a completion is (``real``), and in which place (0 is best;
    completions that were not ranked share the last one)."""

    values: Tensor
    place: Tensor
    real: Tensor
    ranked: Tensor
    row: Tensor
    column: Tensor

    def table(self, each: Tensor) -> Tensor:
        """[N] → [G, K], 0 where there is nothing."""
        return each.new_zeros(self.values.shape).index_put((self.row, self.column), each)


def _lists(values: Tensor, group: Tensor, rank: Tensor) -> _Lists:
    import torch

    if values.dim() != 1 or not values.shape == group.shape == rank.shape or not len(values):
        shapes = ", ".join(str(list(each.shape)) for each in (values, group, rank))
        raise ValueError(f"values, group and rank must be [N] alike, with at least one completion, not {shapes}")
    count = torch.bincount(group)
    fewest, longest = (int(each) for each in torch.aminmax(count))
    if not fewest:
        absent = int(count.argmin())
        raise ValueError(f"group must number the prompts 0, 1, … without a gap, but {absent} has no completion")
    order = group.argsort(stable=True)
    column = torch.empty_like(order)
    column[order] = torch.arange(len(order), device=group.device) - (count.cumsum(0) - count)[group[order]]
    shape, where = (len(count), longest), (group, column)
    last = torch.iinfo(rank.dtype).max
    place = rank.new_full(shape, last).index_put(where, rank.where(rank >= 0, last))
    real = torch.zeros(shape, dtype=torch.bool, device=group.device).index_put(where, torch.ones_like(rank).bool())
    return _Lists(values.new_zeros(shape).index_put(where, values), place, real, place < last, group, column)


def _same(pairs: Tensor) -> Tensor:
    """bool [K, K]: a completion and itself. Nothing is left of an empty row without it, and log 0 has no gradient."""
    import torch

    return torch.eye(pairs.shape[-1], dtype=torch.bool, device=pairs.device)


def _logsumexp(values: Tensor, among: Tensor) -> Tensor:
    return values.masked_fill(~among, -float("inf")).logsumexp(-1)


def _softmax(values: Tensor, real: Tensor) -> Tensor:
    """Logarithm of the softmax over each list, [G, K]; 0 where there is nothing."""
    return (values - _logsumexp(values, real)[:, None]).where(real, 0)


def _rewards(lists: _Lists, rewards: Tensor | None) -> Tensor:
    """Rewards as a table; where there are none, the share of the others that a completion is ranked before, ties
    half: what the column `scores` of a listwise dataset holds if everybody ranked alike."""
    others = lists.real[:, None, :] & ~_same(lists.real)
    before = (lists.place[:, :, None] < lists.place[:, None, :]) & others
    equal = (lists.place[:, :, None] == lists.place[:, None, :]) & others
    beaten = before.sum(2) + equal.sum(2).to(lists.values.dtype) / 2
    shares = beaten / others.sum(2).clamp(min=1)
    if rewards is None:
        return shares
    given = lists.table(rewards).to(shares.dtype)
    return given.where(~given.isnan(), shares)


def _noise(noise: Tensor | None, like: Tensor) -> Tensor:
    """Standard Gumbel noise [N], from torch's generator where none is given."""
    import torch

    return -torch.empty_like(like).exponential_().log() if noise is None else noise


def _drawn(lists: _Lists, keys: Tensor, negatives: int) -> Tensor:
    """bool [G, K]: of the completions that are worse than the best, the ``negatives`` with the largest keys; 0 for
    all."""
    worse = (lists.place > lists.place.amin(1, keepdim=True)) & lists.real
    if not negatives or negatives >= worse.shape[1]:
        return worse
    chosen = keys.masked_fill(~worse, -float("inf")).topk(negatives, dim=1).indices
    return worse & worse.new_zeros(worse.shape).scatter(1, chosen, True)


def _best_against(lists: _Lists, drawn: Tensor) -> Tensor:
    """[G]: -log of the share that the best has of e^u over itself and those drawn; the mean over several best."""
    best = (lists.place == lists.place.amin(1, keepdim=True)) & lists.real
    among = drawn[:, None, :] | _same(drawn)
    losses = _logsumexp(lists.values[:, None, :], among) - lists.values
    return losses.where(best, 0).sum(1) / best.sum(1)
