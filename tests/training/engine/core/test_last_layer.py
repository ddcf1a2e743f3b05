"""The last feed-forward block is computed where it is read: the same numbers and gradients, less work."""

import pytest
import torch

from tests.training.engine.core.helpers import gradients, random_trees
from training.engine import scorer
from training.engine.acceleration import recompute_layers
from training.engine.batch import make_batch
from training.engine.lastlayer import read_only_at
from training.engine.modelfiles import load_reward
from training.engine.reward import model as reward_model
from training.engine.scorer import score


@pytest.fixture
def batch():
    return make_batch(random_trees(5, completions=3), layout="tree", pad_id=0)


def without(monkeypatch, module):
    """Has the module compute everything everywhere."""
    monkeypatch.setattr(module, "read_only_at", lambda backbone, rows: torch.enable_grad())


def positions_seen(block, run):
    """How many positions the block computes while `run` runs."""
    seen = []
    hook = block.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[:-1].numel()))
    inner = block.up_proj.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[0]))
    run()
    hook.remove()
    inner.remove()
    return seen[0]


def test_log_probs_and_gradients_are_those_of_the_whole_layer(tiny_policy, batch, monkeypatch):
    found = []
    for whole in (False, True):
        if whole:
            without(monkeypatch, scorer)
        logp = score(tiny_policy, batch).logp
        logp.square().sum().backward()
        found.append((logp.detach(), gradients(tiny_policy)))
    (trimmed, slopes), (everywhere, others) = found
    torch.testing.assert_close(trimmed, everywhere, rtol=1e-5, atol=1e-5)
    assert slopes.keys() == others.keys()
    for name, slope in slopes.items():
        torch.testing.assert_close(slope, others[name], rtol=1e-4, atol=1e-4, msg=name)


def test_the_block_sees_only_what_is_read(tiny_policy, batch):
    block = tiny_policy.model.layers[-1].mlp
    assert positions_seen(block, lambda: score(tiny_policy, batch)) == len(batch.source.unique())
    assert len(batch.source.unique()) < batch.input_ids.numel() / 1.2
    ids = batch.input_ids
    with torch.no_grad():  # and everything again afterwards
        before = tiny_policy(ids).logits
        score(tiny_policy, batch)
        assert torch.equal(tiny_policy(ids).logits, before)


@pytest.mark.parametrize("pooling", ["last", "tokens"])
def test_rewards_and_their_gradients_are_those_of_the_whole_layer(tiny_policy_dir, batch, monkeypatch, pooling):
    model, _ = load_reward(tiny_policy_dir, pooling=pooling)
    found = []
    for whole in (False, True):
        if whole:
            without(monkeypatch, reward_model)
        value = model(batch)
        value.square().sum().backward()
        found.append((value.detach(), gradients(model)))
    (trimmed, slopes), (everywhere, others) = found
    torch.testing.assert_close(trimmed, everywhere, rtol=1e-5, atol=1e-5)
    for name, slope in slopes.items():
        torch.testing.assert_close(slope, others[name], rtol=1e-4, atol=1e-4, msg=name)


def test_layers_that_are_computed_again_are_left_alone(tiny_policy, batch):
    block = tiny_policy.model.layers[-1].mlp
    recompute_layers(tiny_policy)
    with read_only_at(tiny_policy.model, batch.read):
        assert "forward" not in vars(block)


def test_a_block_of_another_kind_is_left_alone(tiny_policy, batch):
    class Experts(torch.nn.Module):
        pass

    tiny_policy.model.layers[-1].mlp = Experts()
    with read_only_at(tiny_policy.model, batch.read):
        assert "forward" not in vars(tiny_policy.model.layers[-1].mlp)
    with read_only_at(torch.nn.Linear(2, 2), batch.read):
        pass
