"""bfloat16 arithmetic, float32 weights: what is rounded, what is not, and that everything is put back."""

from __future__ import annotations

import torch

from tests.training.engine.core.helpers import gradients, random_trees
from training.engine.acceleration import recompute_layers
from training.engine.batch import make_batch
from training.engine.modelfiles import load_policy, load_reward
from training.engine.precision import bfloat16_weights
from training.engine.scorer import score, values


def batch():
    return make_batch(random_trees(5, 2), layout="tree", pad_id=0)


def test_layers_compute_in_bfloat16_and_gradients_are_float32(tiny_policy):
    exact = score(tiny_policy, batch())
    exact.logp.sum().backward()
    expected = gradients(tiny_policy)
    seen = []
    hook = tiny_policy.model.layers[1].mlp.register_forward_hook(
        lambda module, inputs, output: seen.append(output.dtype)
    )
    with bfloat16_weights(tiny_policy):
        rough = score(tiny_policy, batch())
        rough.logp.sum().backward()
    hook.remove()
    assert seen == [torch.bfloat16]
    assert rough.logp.dtype == torch.float32
    assert not torch.equal(rough.logp, exact.logp)
    assert torch.allclose(rough.logp, exact.logp, rtol=0.02, atol=0.3)
    found = gradients(tiny_policy)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert gradient.dtype == torch.float32, name
        assert torch.nn.functional.cosine_similarity(gradient.flatten(), expected[name].flatten(), dim=0) > 0.99, name


def test_afterwards_the_model_is_what_it_was(tiny_policy):
    before = dict(tiny_policy.named_parameters())
    exact = score(tiny_policy, batch()).logp
    try:
        with bfloat16_weights(tiny_policy):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert all(value is before[name] for name, value in tiny_policy.named_parameters())
    assert torch.equal(score(tiny_policy, batch()).logp, exact)


def test_layers_that_are_recomputed_give_the_same_gradients_in_bfloat16(tiny_policy):
    found = []
    for recomputed in (False, True):
        if recomputed:
            recompute_layers(tiny_policy)
        with bfloat16_weights(tiny_policy):
            score(tiny_policy, batch()).logp.sum().backward()
        found.append(gradients(tiny_policy))
    for name, gradient in found[0].items():
        # Not to the last bit: the last layer is narrowed only where it is not recomputed, and sums change their order.
        assert (gradient - found[1][name]).norm() < 0.01 * gradient.norm(), name


def test_an_update_too_small_for_bfloat16_is_kept(tiny_policy_dir):
    model, _ = load_policy(tiny_policy_dir)
    weight = model.model.layers[0].mlp.up_proj.weight
    before = weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    with bfloat16_weights(model):
        score(model, batch()).logp.sum().backward()
    optimizer.step()
    assert not torch.equal(weight, before)
    unmoved = (weight.bfloat16() == before.bfloat16()).float().mean()
    assert unmoved > 0.99


def test_a_reward_head_stays_float32(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    exact = values(model, batch())
    with bfloat16_weights(model):
        rough = values(model, batch())
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, rough.bfloat16().float())
    assert torch.allclose(rough, exact, atol=0.05)
