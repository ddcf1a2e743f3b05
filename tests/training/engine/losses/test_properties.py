"""What every loss of a policy over pairs, thumbs and demonstrations has in common; new methods are tried too."""

from __future__ import annotations

import math

import pytest
import torch

from tests.training.engine.losses.helpers import variants
from training.engine.losses import LOSSES, Scores
from training.engine.objectives.pairwise import PairwiseObjective
from training.engine.trees import PromptTree

PAIRWISE = [name for name, method in LOSSES.items() if method.shape == "pairwise"]
UNPAIRED = [name for name, method in LOSSES.items() if method.shape == "unpaired"]
POLICY = PAIRWISE + UNPAIRED + [name for name, method in LOSSES.items() if method.shape == "demonstration"]
TRIED = [
    pytest.param(name, told, id="-".join([name, *told.values()])) for name in POLICY for told in variants(LOSSES[name])
]

# Log-probs of four pairs, away from the kinks of hinge losses and from ties: column 0 is chosen.
LOGP = torch.tensor([[-12.5, -11.0], [-3.25, -9.5], [-40.0, -38.25], [-7.75, -7.5]]).double()
REFERENCE = torch.tensor([[-13.0, -10.0], [-4.0, -8.0], [-35.0, -41.0], [-7.0, -7.0]]).double()
LENGTH = torch.tensor([[5.0, 4.0], [2.0, 6.0], [20.0, 18.0], [4.0, 4.0]])


def scores(logp, reference, length):
    """A side of pairs; three fifths of every log-prob are in the part that both sides share."""
    return Scores(logp, length.to(logp), reference, 0.6 * logp, 0.6 * reference, torch.full_like(logp, -0.3).detach())


def labels(count):
    return torch.arange(count) % 2 == 0


def losses(name, logp, reference=None, length=None, *, up=None, **told):
    """The losses of a method from log-probs [B, 2], whatever its shape; the second column is left out where there are
    no pairs."""
    reference = REFERENCE.to(logp) if reference is None else reference
    length = LENGTH if length is None else length
    method = LOSSES[name]
    chosen = scores(logp[:, 0], reference[:, 0], length[:, 0])
    if method.shape == "demonstration":
        return method.fn(chosen, **told)
    if method.shape == "unpaired":
        baseline = torch.tensor(0.5, dtype=logp.dtype)
        return method.fn(chosen, labels(len(logp)) if up is None else up, baseline, **told)
    return method.fn(chosen, scores(logp[:, 1], reference[:, 1], length[:, 1]), **told)


@pytest.mark.parametrize(("name", "told"), TRIED)
def test_gradients_are_the_derivatives(name, told):
    # Finite differences of a loss of 500,000 keep few digits.
    told = told | ({"beta": 0.1} if name == "sppo_hard" else {})
    logp = LOGP.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses(name, x, **told), logp)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "told"), TRIED)
def test_values_and_gradients_stay_finite_at_ten_thousand_nats(name, told, dtype):
    near, far = -1.0, -1e4
    logp = torch.tensor([[a, b] for a in (near, far) for b in (near, far)] * 2, dtype=dtype, requires_grad=True)
    reference = torch.tensor([[far, near]] * 4 + [[near, far]] * 4, dtype=dtype)
    for up in (torch.ones(8, dtype=torch.bool), torch.zeros(8, dtype=torch.bool)):
        found = losses(name, logp, reference, torch.ones(8, 2), up=up, **told)
        (gradient,) = torch.autograd.grad(found.sum(), logp)
        assert torch.isfinite(found).all()
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "told"), TRIED)
def test_values_and_gradients_stay_finite_for_almost_certain_and_for_hopeless_tokens(name, told, dtype):
    ends = (0.0, -1e-8, -1e4)
    logp = torch.tensor([[a, b] for a in ends for b in ends], dtype=dtype, requires_grad=True)
    found = losses(name, logp, torch.full_like(logp, -1.0).detach(), torch.ones(9, 2), **told)
    (gradient,) = torch.autograd.grad(found.sum(), logp)
    assert torch.isfinite(found).all()
    assert torch.isfinite(gradient).all()


LN_2 = math.log(2)
# What the docstrings promise while the policy is its reference, at the default settings.
STARTS = dict.fromkeys(
    ["dpo", "cdpo", "robust_dpo", "soft_dpo", "odpo", "dpo_norm", "ld_dpo", "tr_dpo", "f_dpo", "aot"], LN_2
) | {
    "hinge": 1.0, "ipo": 25.0, "ipo_norm": 0.25, "nca": 2 * LN_2, "bco_pair": 2 * LN_2, "sppo_hard": 500_000.0,
    "apo_zero": 1.0, "apo_down": 1.0, "discopop": (LN_2 + 1) / 2, "apo_zero_unpaired": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("name", STARTS)
def test_the_loss_begins_where_the_docstring_says(name):
    found = losses(name, REFERENCE, REFERENCE)
    torch.testing.assert_close(found, torch.full_like(found, STARTS[name]), rtol=1e-12, atol=0)


def test_the_weights_of_wpo_scale_its_beginning():
    found = losses("wpo", REFERENCE, REFERENCE)
    torch.testing.assert_close(found, torch.full_like(found, LN_2 * math.exp(-0.6)), rtol=1e-12, atol=0)


def test_npo_begins_at_ln_2_over_half_of_beta_for_a_thumb_down():
    found = losses("npo", REFERENCE, REFERENCE, up=torch.tensor([False] * 4), beta=0.25)
    torch.testing.assert_close(found, torch.full_like(found, 8 * LN_2), rtol=1e-12, atol=0)


def test_bco_is_ln_2_at_its_border():
    found = losses("bco", REFERENCE + 50.0, REFERENCE, beta=0.01)
    torch.testing.assert_close(found, torch.full_like(found, LN_2), rtol=1e-12, atol=0)


# DiscoPOP pulls the wrong way around zero, as its docstring says.
@pytest.mark.parametrize("name", sorted(set(PAIRWISE) - {"discopop"}))
def test_a_step_down_the_loss_raises_the_chosen_over_the_rejected(name):
    for told in variants(LOSSES[name]):
        logp = REFERENCE.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(losses(name, logp, REFERENCE, **told).sum(), logp)
        assert (gradient[:, 0] < gradient[:, 1]).all(), told


@pytest.mark.parametrize("name", UNPAIRED)
def test_a_step_down_the_loss_lowers_what_has_a_thumb_down_and_never_what_has_one_up(name):
    logp = REFERENCE.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(losses(name, logp, REFERENCE).sum(), logp)
    up = labels(4)
    assert (gradient[up, 0] <= 0).all()
    assert (gradient[~up, 0] > 0).all()


@pytest.mark.parametrize(("name", "told"), TRIED)
def test_the_order_of_a_batch_does_not_matter(name, told):
    order = torch.tensor([2, 0, 3, 1])
    whole = losses(name, LOGP, **told)
    shuffled = losses(name, LOGP[order], REFERENCE[order], LENGTH[order], up=labels(4)[order], **told)
    torch.testing.assert_close(shuffled, whole[order], rtol=1e-12, atol=0)
    assert whole.shape == (4,)


@pytest.mark.parametrize(("name", "told"), TRIED)
def test_a_batch_is_the_sum_of_its_parts_unless_the_method_compares_a_whole_step(name, told):
    parts = [losses(name, LOGP[at], REFERENCE[at], LENGTH[at], **told) for at in (slice(0, 2), slice(2, 4))]
    whole = losses(name, LOGP, **told)
    assert torch.allclose(torch.cat(parts), whole, rtol=1e-12, atol=0) is not LOSSES[name].whole_step


def tree(**targets):
    return PromptTree(0, (1,), ((2, 3), (4, 3)), {"weight": 1.0} | targets)


def objective_losses(name, told, trees, columns):
    """What the objective makes of pairs whose sides are these two columns."""
    flat = scores(*(each[:, columns].reshape(-1) for each in (LOGP, REFERENCE, LENGTH)))
    return PairwiseObjective(name, told).losses(trees, flat, None)


@pytest.mark.parametrize("p", [0.5, 0.8])
@pytest.mark.parametrize(("name", "told"), [one for one in TRIED if one.values[0] in PAIRWISE])
def test_a_pair_with_its_sides_swapped_and_its_label_turned_is_the_same_pair(name, told, p):
    gap = 0.7
    straight = objective_losses(name, told, [tree(p=p, gap=gap)] * 4, [0, 1])
    turned = objective_losses(name, told, [tree(p=1 - p, gap=-gap)] * 4, [1, 0])
    torch.testing.assert_close(straight, turned, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", POLICY)
def test_a_method_with_a_reference_says_so_when_there_is_none(name):
    method = LOSSES[name]
    bare = Scores(LOGP[:, 0], LENGTH[:, 0])
    others = {"pairwise": (bare,), "unpaired": (labels(4), torch.zeros(())), "demonstration": ()}[method.shape]
    if method.needs_reference:
        with pytest.raises(ValueError, match=r"ref_logp|ref_prefix_logp|certainty"):
            method.fn(bare, *others)
    else:
        assert torch.isfinite(method.fn(bare, *others)).all()


def test_scores_can_be_sliced_into_the_two_sides_of_pairs():
    both = Scores(torch.tensor([1.0, 2, 3, 4]), torch.ones(4), torch.tensor([0.0, 1, 0, 1]))
    assert both[0::2].log_ratio.tolist() == [1.0, 3.0]
    assert both[torch.tensor([False, True, False, True])].log_ratio.tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    ("columns", "cure"),
    [
        # A column of a table would make [2, 2] of two completions, one number for each pair of them.
        ({"ref_logp": torch.zeros(2, 1)}, r"ref_logp .* of shape \[2\] as logp, not shape \[2, 1\]"),
        ({"length": torch.ones(1)}, r"length .* of shape \[2\] as logp, not shape \[1\]"),
        ({"certainty": torch.tensor(0.5)}, r"certainty .* of shape \[2\] as logp, not shape \[\]"),
        ({"length": [1, 1]}, r"length .* not a list"),
        # Log-probs of tokens, which nobody has added up.
        ({"logp": torch.zeros(2, 7)}, r"logp .* \[N\], one number per completion, not shape \[2, 7\]"),
        ({"logp": [0.0, 0.0]}, r"logp .* \[N\], one number per completion, not a list"),
    ],
)
def test_scores_of_other_shapes_are_refused(columns, cure):
    with pytest.raises(ValueError, match=cure):
        Scores(**{"logp": torch.zeros(2), "length": torch.ones(2), **columns})


def test_an_empty_completion_counts_as_one_token():
    empty = Scores(torch.tensor([0.0, -6.0]), torch.tensor([0.0, 3.0]), torch.tensor([0.0, -3.0]))
    assert empty.mean_logp.tolist() == [0.0, -2.0]
    assert empty.mean_log_ratio.tolist() == [0.0, -1.0]
