"""Every loss against a float64 derivation in numpy, written from the formula, and its properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.engine.losses import LOSSES, Scores
from training.engine.methods import METHODS, dataset_kind

CHOSEN = np.array([-12.5, -3.25, -40.0, -7.75])
REJECTED = np.array([-11.0, -9.5, -38.5, -7.75])
REF_CHOSEN = np.array([-13.0, -4.0, -35.0, -7.75])
REF_REJECTED = np.array([-10.0, -8.0, -41.0, -7.75])
P = np.array([1.0, 0.8, 0.5, 0.65])
VALUES = np.array([0.3, -1.2, 2.5, 0.0])
OTHER_VALUES = np.array([-0.4, 0.9, 2.25, 0.0])
MARGIN = np.array([0.0, 1.0, 2.0 / 3.0, 3.0])


def sigma(x):
    return 1.0 / (1.0 + np.exp(-x))


def tensor(values, dtype=torch.float64, grad=False):
    return torch.tensor(values, dtype=dtype, requires_grad=grad)


def scores(logp, ref=None, dtype=torch.float64):
    return Scores(tensor(logp, dtype), torch.ones(len(logp)), None if ref is None else tensor(ref, dtype))


def pair(dtype=torch.float64):
    return scores(CHOSEN, REF_CHOSEN, dtype), scores(REJECTED, REF_REJECTED, dtype)


def assert_close(found, expected):
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-13)


def test_dpo_is_minus_log_sigmoid_of_beta_times_the_difference_of_ratios():
    # From the likelihoods themselves: -log of w/(w + l), with w and l the β-th powers of the ratios of probabilities.
    winner, loser = np.exp(CHOSEN - REF_CHOSEN) ** 0.3, np.exp(REJECTED - REF_REJECTED) ** 0.3
    assert_close(LOSSES["dpo"].fn(*pair(), beta=0.3), -np.log(winner / (winner + loser)))
    # Worked by hand: D = 0.5 - (-1) = 1.5 and β = 0.1, so ln(1 + e^-0.15).
    assert LOSSES["dpo"].fn(*pair())[0].item() == pytest.approx(0.620957, abs=1e-6)


def test_a_soft_label_mixes_the_losses_of_both_directions():
    chosen, rejected = pair()
    winner, loser = np.exp(CHOSEN - REF_CHOSEN) ** 0.3, np.exp(REJECTED - REF_REJECTED) ** 0.3
    expected = -P * np.log(winner / (winner + loser)) - (1 - P) * np.log(loser / (winner + loser))
    fn = LOSSES["dpo"].fn
    assert_close(fn(chosen, rejected, beta=0.3, p=tensor(P)), expected)
    swapped = fn(rejected, chosen, beta=0.3, p=1 - tensor(P))
    assert_close(swapped, expected)
    assert_close(tensor(P) * fn(chosen, rejected, beta=0.3) + tensor(1 - P) * fn(rejected, chosen, beta=0.3), expected)


@pytest.mark.parametrize("beta", [0.01, 0.1, 5.0])
def test_dpo_starts_at_ln_two_whatever_beta_and_label(beta):
    same = scores(CHOSEN, CHOSEN), scores(REJECTED, REJECTED)
    assert_close(LOSSES["dpo"].fn(*same, beta=beta), np.full(4, math.log(2)))
    assert_close(LOSSES["dpo"].fn(*same, beta=beta, p=tensor(P)), np.full(4, math.log(2)))


def test_kto_by_the_value_function_of_its_paper():
    labels = np.array([True, False, True, False])
    ratio, z0, beta, up, down = CHOSEN - REF_CHOSEN, 0.4, 0.2, 1.5, 0.75
    value = np.where(labels, up * sigma(beta * (ratio - z0)), down * sigma(beta * (z0 - ratio)))
    expected = np.where(labels, up, down) - value
    found = LOSSES["kto"].fn(
        scores(CHOSEN, REF_CHOSEN),
        torch.tensor(labels),
        tensor(z0),
        beta=beta,
        desirable_weight=up,
        undesirable_weight=down,
    )
    assert_close(found, expected)


def test_kto_is_one_half_at_the_baseline_and_passes_no_gradient_into_it():
    logp, baseline = tensor([1.0, 1.0], grad=True), tensor(0.25, grad=True)
    loss = LOSSES["kto"].fn(Scores(logp, logp, tensor([0.75, 0.75])), torch.tensor([True, False]), baseline)
    assert loss.tolist() == [0.5, 0.5]
    loss.sum().backward()
    assert baseline.grad is None
    assert logp.grad[0] < 0 < logp.grad[1]  # a step down the loss raises what is liked and lowers what is not


def test_bradley_terry_with_margin_soft_label_and_centring():
    gap = VALUES - OTHER_VALUES - MARGIN
    plain = np.log1p(np.exp(-(VALUES - OTHER_VALUES)))
    fn = LOSSES["bradley_terry"].fn
    values, others = tensor(VALUES), tensor(OTHER_VALUES)
    assert_close(fn(values, others, centre=0.0), plain)
    expected = -P * np.log(sigma(gap)) - (1 - P) * np.log(1 - sigma(gap)) + 0.05 * (VALUES + OTHER_VALUES) ** 2
    assert_close(fn(values, others, tensor(MARGIN), tensor(P), centre=0.05), expected)


def test_the_minimum_of_bradley_terry_is_at_margin_plus_log_odds():
    gap = tensor([1.0 + math.log(0.8 / 0.2)], grad=True)
    loss = LOSSES["bradley_terry"].fn(gap, torch.zeros(1).double(), tensor([1.0]), tensor([0.8]), centre=0.0)
    loss.backward()
    assert abs(gap.grad.item()) < 1e-12


def test_sft_is_the_negative_log_likelihood():
    tokens = [np.log([0.5, 0.25]), np.log([0.125])]
    found = LOSSES["sft"].fn(scores([token.sum() for token in tokens]))
    assert_close(found, [3 * math.log(2), 3 * math.log(2)])


def call(name, x, dtype=torch.float64):
    """The loss of a method as a function of one tensor [4], everything else fixed."""
    zero = torch.zeros(4, dtype=dtype)
    if name == "bradley_terry":
        return LOSSES[name].fn(x, zero, tensor(MARGIN, dtype), tensor(P, dtype))
    own = Scores(x, zero, zero)
    if name == "kto":
        return LOSSES[name].fn(own, torch.tensor([True, False, True, False]), torch.tensor(0.5, dtype=dtype))
    if name == "sft":
        return LOSSES[name].fn(own)
    return LOSSES[name].fn(own, Scores(zero, zero, zero), p=tensor(P, dtype))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradients_are_the_derivatives(name):
    assert torch.autograd.gradcheck(lambda x: call(name, x), tensor(CHOSEN - REF_CHOSEN, grad=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_values_and_gradients_stay_finite_at_ten_thousand_nats(name, dtype):
    x = torch.tensor([1e4, -1e4, 1e4, -1e4], dtype=dtype, requires_grad=True)
    loss = call(name, x, dtype)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_items_do_not_influence_each_other(name):
    x = tensor(CHOSEN - REF_CHOSEN)
    whole = call(name, x)
    changed = x.clone()
    changed[0] += 1
    assert torch.equal(call(name, changed)[1:], whole[1:])
    assert whole.shape == (4,)


@settings(max_examples=80, deadline=None)
@given(low=st.floats(-50, 50), rise=st.floats(0.01, 20), beta=st.floats(0.01, 2))
def test_dpo_falls_as_the_margin_grows_and_ignores_what_both_sides_share(low, rise, beta):
    def loss(ratio, shift=0.0):
        chosen, rejected = scores([ratio + shift], [0.0]), scores([shift], [0.0])
        return LOSSES["dpo"].fn(chosen, rejected, beta=beta).item()

    assert loss(low + rise) <= loss(low)
    assert loss(low, shift=3.0) == pytest.approx(loss(low), rel=1e-9)
    # σ(x) + σ(-x) = 1: the two directions of a pair are the two outcomes of one event.
    assert math.exp(-loss(low)) + math.exp(-loss(-low)) == pytest.approx(1.0)


def test_a_loss_that_needs_a_reference_says_so_when_it_has_none():
    bare = scores(CHOSEN)
    with pytest.raises(ValueError, match="reference"):
        LOSSES["dpo"].fn(bare, bare)


def test_scores_can_be_sliced_into_the_two_sides_of_pairs():
    both = scores([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 0.0, 1.0])
    assert both[0::2].log_ratio.tolist() == [1.0, 3.0]
    assert both[torch.tensor([False, True, False, True])].log_ratio.tolist() == [1.0, 3.0]


def test_every_method_has_a_loss_whose_defaults_are_those_of_the_table():
    import inspect

    assert LOSSES.keys() == METHODS.keys()
    for name, spec in LOSSES.items():
        signature = inspect.signature(spec.fn).parameters
        for parameter, default in spec.defaults.items():
            assert signature[parameter].default == default, (name, parameter)
        assert spec.fn.__doc__
        assert spec.paper
        assert dataset_kind(name) in {"pairwise", "binary", "demonstration", "listwise"}


def test_the_table_of_methods_loads_without_torch():
    import subprocess
    import sys

    code = (
        "import sys, training.engine.methods, training.engine.errors, training.engine.modelfiles;"
        "assert not {'torch', 'numpy', 'transformers', 'safetensors', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
