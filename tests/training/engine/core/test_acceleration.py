"""Recomputing and compiling change memory and time, not numbers."""

from __future__ import annotations

import pytest
import torch

from tests.training.engine.core.helpers import gradients, random_trees
from training.engine.acceleration import compile_layers, recompute_layers
from training.engine.adapters import add_adapters
from training.engine.batch import make_batch
from training.engine.errors import EngineError
from training.engine.scorer import score, tree_layout


@pytest.mark.parametrize("adapters", [False, True])
def test_recomputed_layers_give_the_same_gradients(tiny_policy, adapters):
    if adapters:
        add_adapters(tiny_policy, rank=2, alpha=4.0)
    # To the last bit only where the last layer is whole in both: packed, these rows are too full to narrow it.
    batch = make_batch(random_trees(4, 2), layout="packed", pad_id=0)
    calls = []
    tiny_policy.model.layers[0].self_attn.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    score(tiny_policy, batch).logp.sum().backward()
    expected = gradients(tiny_policy)
    assert len(calls) == 1
    recompute_layers(tiny_policy)
    score(tiny_policy, batch).logp.sum().backward()
    assert len(calls) == 3
    found = gradients(tiny_policy)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert torch.equal(gradient, expected[name]), name


def test_a_pass_without_gradients_runs_every_layer_once(tiny_policy):
    recompute_layers(tiny_policy)
    calls = []
    tiny_policy.model.layers[0].register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        score(tiny_policy, make_batch(random_trees(2, 2), layout="tree", pad_id=0))
    assert len(calls) == 1


def test_a_model_that_cannot_recompute_says_so(tiny_policy):
    tiny_policy.supports_gradient_checkpointing = False
    with pytest.raises(EngineError, match="gradient_checkpointing"):
        recompute_layers(tiny_policy)


def test_compiled_layers_give_the_same_gradients(tiny_policy, monkeypatch):
    honest = torch.nn.Module.compile
    # Tracing is what a model can break; the compiler behind it would take half a minute.
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **how: honest(module, backend="eager", **how))
    assert tree_layout(tiny_policy) == "tree"
    batches = [make_batch(random_trees(count, 2, seed=count), layout="packed", pad_id=0) for count in (4, 3)]
    expected = []
    for batch in batches:
        score(tiny_policy, batch).logp.sum().backward()
        expected.append(gradients(tiny_policy))
    compile_layers(tiny_policy)
    assert tree_layout(tiny_policy) == "packed"
    for batch, wanted in zip(batches, expected, strict=True):
        score(tiny_policy, batch).logp.sum().backward()
        for name, gradient in gradients(tiny_policy).items():
            assert torch.allclose(gradient, wanted[name], rtol=1e-4, atol=1e-5), name


def test_without_a_compiler_compiling_is_refused(tiny_policy, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(EngineError, match="compiler"):
        compile_layers(tiny_policy)
