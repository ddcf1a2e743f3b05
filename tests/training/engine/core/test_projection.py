"""Hand-written gradients of log-probs against automatic differentiation of the plain formula."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from training.engine import projection
from training.engine.projection import Projection


def head(vocabulary=40, width=8, *, bias=False, dtype=torch.float32, **config):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layer = nn.Linear(width, vocabulary, bias=bias, dtype=dtype)
    return layer, Projection(SimpleNamespace(get_output_embeddings=lambda: layer, config=SimpleNamespace(**config)))


def plain(layer, states, target, *, factor=1.0, cap=None):
    logits = layer(states) * factor
    logits = logits if cap is None else torch.tanh(logits / cap) * cap
    return logits.log_softmax(-1).gather(1, target[:, None])[:, 0]


def inputs(count=11, width=8, dtype=torch.float32):
    generator = torch.Generator().manual_seed(5)
    states = (3 * torch.randn(count, width, generator=generator)).to(dtype).requires_grad_()
    return states, torch.randint(0, 40, (count,), generator=generator), torch.randn(count, generator=generator)


@pytest.mark.parametrize("kept", [0, 1 << 20])
@pytest.mark.parametrize(
    ("config", "formula"),
    [
        ({}, {}),
        ({"logit_scale": 0.3}, {"factor": 0.3}),
        ({"logits_scaling": 4.0, "final_logit_softcapping": 2.0}, {"factor": 0.25, "cap": 2.0}),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_log_probs_and_gradients_are_those_of_the_formula(monkeypatch, kept, config, formula, bias):
    monkeypatch.setattr(projection, "KEPT_BYTES", kept)
    layer, fast = head(bias=bias, **config)
    states, target, slopes = inputs()
    learnt = [states, *layer.parameters()]
    expected = plain(layer, states, target, **formula)
    wanted = torch.autograd.grad(expected @ slopes, learnt)
    found, _ = fast.logps(states, target, words=4)
    assert torch.allclose(found, expected, atol=1e-5)
    for one, other in zip(torch.autograd.grad(found @ slopes, learnt), wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_frozen_projection_gets_no_gradient():
    layer, fast = head()
    layer.weight.requires_grad_(False)
    states, target, slopes = inputs()
    (fast.logps(states, target, words=4)[0] @ slopes).backward()
    assert layer.weight.grad is None
    assert states.grad is not None


def test_an_almost_certain_token_keeps_its_gradient_in_bfloat16():
    # p is 0.999, which bfloat16 rounds to 1; the gradient is (1 - p) times the state all the same.
    layer, fast = head()
    states, target, _ = inputs(count=1, dtype=torch.bfloat16)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[target[0]] = 10.6 * states[0] / states[0].norm().square()
    logp, _ = fast.logps(states, target, words=4)
    found = torch.autograd.grad(logp.sum(), layer.weight)[0][target[0]]
    assert torch.allclose(found, -logp.expm1() * states[0].float(), rtol=2e-2)
    assert found.abs().max() > 1e-3


def test_bfloat16_states_meet_a_float32_weight_whose_gradient_is_float32():
    layer, fast = head()
    states, target, slopes = inputs(dtype=torch.bfloat16)
    found, _ = fast.logps(states, target, words=4)
    exact = plain(layer, states.detach().float(), target)
    assert found.dtype == torch.float32
    assert torch.allclose(found, exact, atol=0.05)
    (found @ slopes).backward()
    assert layer.weight.grad.dtype == torch.float32
    wanted = torch.autograd.grad(exact @ slopes, layer.weight)[0]
    assert torch.allclose(layer.weight.grad, wanted, atol=0.05 * float(wanted.abs().max()))


def test_certainty_is_the_log_prob_above_that_of_two_equal_draws():
    layer, fast = head()
    states, target, _ = inputs()
    logp, certainty = fast.logps(states, target, words=4, certainty=True)
    expected = logp - layer(states).softmax(-1).square().sum(-1).log()
    assert torch.allclose(certainty, expected, atol=1e-5)
    assert not certainty.requires_grad
    assert not fast.logps(states, target, words=4)[1].any()


def test_tiles_far_apart_or_shut_out_altogether_stay_finite():
    layer, fast = head(bias=True)
    states, target, slopes = inputs()
    with torch.no_grad():
        layer.bias[:4], layer.bias[4:8], layer.bias[8:12] = -300.0, -torch.inf, 300.0
    target[:4], target[4:] = torch.arange(4), torch.arange(8, 15)
    learnt = [states, layer.weight]
    expected = plain(layer, states, target)
    wanted = torch.autograd.grad(expected @ slopes, learnt)
    found, _ = fast.logps(states, target, words=4)
    assert found.min() < -500
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-4)
    for one, other in zip(torch.autograd.grad(found @ slopes, learnt), wanted, strict=True):
        assert torch.allclose(one, other, atol=5e-4)  # logits of 300 are known to 3e-5
