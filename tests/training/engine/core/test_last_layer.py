"""The last layer is computed where it is read: the same numbers and gradients, less work."""

from types import SimpleNamespace

import pytest
import torch
from transformers import AttentionInterface

from tests.training.engine.core.helpers import gradients, random_trees
from training.engine import scorer
from training.engine.acceleration import recompute_layers
from training.engine.batch import make_batch
from training.engine.lastlayer import read_only_at
from training.engine.modelfiles import load_reward
from training.engine.reward import model as reward_model
from training.engine.scorer import score


@pytest.fixture(params=["tree", "packed"])
def batch(request):
    return make_batch(random_trees(5, completions=3, longest=12), layout=request.param, pad_id=0)


def without(monkeypatch, module):
    """Has the module compute everything everywhere."""
    monkeypatch.setattr(module, "read_only_at", lambda backbone, rows: torch.enable_grad())


def positions_seen(linear, run):
    """How many positions a linear layer multiplies while `run` runs."""
    seen = []
    multiply = torch.nn.functional.linear

    def counting(states, weight, bias=None):
        if weight is linear.weight:
            seen.append(states.shape[:-1].numel())
        return multiply(states, weight, bias)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "linear", counting)
        run()
    return sum(seen)


def queries_seen(monkeypatch, run):
    """How many queries, padding included, the attention of all layers answers while `run` runs."""
    seen = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def counting(query, *others, **options):
        seen.append(query.shape[0] * query.shape[2])
        return attend(query, *others, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counting)
    run()
    return sum(seen)


def assert_alike_with_and_without(monkeypatch, module, model, outcome):
    """The outcome and the gradients of its squares, with the narrowed last layer and with the whole one."""
    found = []
    for whole in (False, True):
        if whole:
            without(monkeypatch, module)
        value = outcome()
        value.square().sum().backward()
        found.append((value.detach(), gradients(model)))
    (trimmed, slopes), (everywhere, others) = found
    torch.testing.assert_close(trimmed, everywhere, rtol=1e-5, atol=1e-5)
    assert slopes.keys() == others.keys()
    for name, slope in slopes.items():
        torch.testing.assert_close(slope, others[name], rtol=1e-4, atol=1e-4, msg=name)


def test_log_probs_and_gradients_are_those_of_the_whole_layer(tiny_policy, batch, monkeypatch):
    # The gradients are of the order of 1,000, so that float32 would leave differences of its own.
    policy = tiny_policy.double()
    assert_alike_with_and_without(monkeypatch, scorer, policy, lambda: score(policy, batch).logp)


def test_the_last_layer_sees_only_what_is_read(tiny_policy, batch):
    layer = tiny_policy.model.layers[-1]
    everything = batch.input_ids.numel()
    assert len(batch.read) < everything / 1.2
    for linear in (layer.mlp.up_proj, layer.self_attn.q_proj, layer.self_attn.o_proj):
        assert positions_seen(linear, lambda: score(tiny_policy, batch)) == len(batch.read)
    assert positions_seen(layer.self_attn.k_proj, lambda: score(tiny_policy, batch)) == everything
    ids = batch.input_ids
    with torch.no_grad():  # and everything again afterwards
        before = tiny_policy(ids).logits
        score(tiny_policy, batch)
        assert torch.equal(tiny_policy(ids).logits, before)


@pytest.mark.parametrize("pooling", ["last", "tokens"])
def test_rewards_and_their_gradients_are_those_of_the_whole_layer(tiny_policy_dir, batch, monkeypatch, pooling):
    model, _ = load_reward(tiny_policy_dir, pooling=pooling)
    assert_alike_with_and_without(monkeypatch, reward_model, model, lambda: model(batch))


def test_attention_answers_only_the_queries_that_are_read(tiny_policy_dir, batch, monkeypatch):
    model, _ = load_reward(tiny_policy_dir, pooling="last")
    everything = batch.input_ids.numel()
    others = (len(model.backbone.layers) - 1) * everything
    assert len(batch.last) <= queries_seen(monkeypatch, lambda: model(batch)) - others < everything / 2


@pytest.mark.parametrize("read", [(3,), (2, 5, 11), tuple(range(24))], ids=["one row", "uneven rows", "everything"])
def test_rows_with_few_queries_or_none_stand_beside_rows_with_many(tiny_policy, read):
    batch = make_batch(random_trees(3, completions=2), layout="tree", pad_id=0)
    rows = torch.tensor(read)[torch.randperm(len(read))]
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "position_ids": batch.position_ids}
    with torch.no_grad():
        whole = tiny_policy.model(**inputs).last_hidden_state.flatten(0, 1)
        with read_only_at(tiny_policy.model, rows):
            found = tiny_policy.model(**inputs).last_hidden_state.flatten(0, 1)
    torch.testing.assert_close(found[rows], whole[rows], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 3], ids=["one mask", "a mask for each head"])
def test_masks_of_any_kind_give_what_sdpa_gives(heads):
    query, key, value = torch.randn(3, 2, 3, 8, 4)
    mask = torch.rand(1, heads, 8, 8) < 0.5
    mask |= torch.eye(8, dtype=torch.bool)
    attention = SimpleNamespace(rows_read=torch.tensor([2, 7, 12]), is_causal=True)
    found, _ = AttentionInterface()["sdpa"](attention, query, key, value, mask)
    whole = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
    torch.testing.assert_close(found.flatten(0, 1)[[2, 7, 12]], whole.flatten(0, 1)[[2, 7, 12]])


def test_attention_in_both_directions_stays_as_it_is():
    query, key, value = torch.randn(3, 2, 3, 8, 4)
    attention = SimpleNamespace(rows_read=torch.tensor([1]), is_causal=False)
    found, _ = AttentionInterface()["sdpa"](attention, query, key, value, None)
    whole = torch.nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
    torch.testing.assert_close(found, whole)


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
