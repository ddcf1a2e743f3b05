"""Adapters: the reference is the model without them, and what is saved is what was trained."""

from __future__ import annotations

import math

import pytest
import torch

from tests.training.engine.core.helpers import random_trees
from training.engine.adapters import adapter_layers, adapters_off, add_adapters, merged_weights
from training.engine.batch import make_batch
from training.engine.checkpoint import Checkpoints
from training.engine.modelfiles import load_policy, load_reward, save_policy, save_reward
from training.engine.objectives import Examples, make_objective
from training.engine.scorer import score, values
from training.engine.trainer import Settings, Trainer
from training.engine.trees import PromptTree


def pairs(count):
    return [
        PromptTree(tree.row, tree.prompt, tree.completions, {"p": 1.0, "weight": 1.0, "margin": None})
        for tree in random_trees(count, 2, seed=4)
    ]


@torch.no_grad()
def logps(model, trees):
    return score(model, make_batch(trees, layout="tree", pad_id=0)).logp


def trained(folder, *, checkpoints=None):
    """A policy with adapters after ten steps of DPO, its trainer, and what it said before."""
    model, tokenizer = load_policy(folder)
    trees = pairs(20)
    before = logps(model, trees)
    add_adapters(model, rank=4, alpha=8.0)
    trainer = Trainer(
        model=model,
        objective=make_objective("dpo"),
        examples=Examples(trees, list(before.split(2))),
        settings=Settings(epochs=2, batch_size=4, learning_rate=1e-2, layout="tree"),
        pad_id=0,
        checkpoints=checkpoints,
    )
    totals = trainer.train()
    return model, tokenizer, trees, before, totals


def test_the_reference_is_the_model_with_its_adapters_off_however_long_it_trained(tiny_policy_dir):
    model, _, trees, before, totals = trained(tiny_policy_dir)
    assert totals.step == 10
    assert totals.loss_first == pytest.approx(math.log(2), abs=1e-5)
    assert totals.loss_last < totals.loss_first - 0.1
    assert (logps(model, trees) - before).abs().max() > 1
    with adapters_off(model):
        assert torch.equal(logps(model, trees), before)
    assert (logps(model, trees) - before).abs().max() > 1


def test_every_linear_layer_but_the_vocabulary_projection_has_an_adapter(tiny_policy):
    add_adapters(tiny_policy, rank=2, alpha=4.0)
    assert len(adapter_layers(tiny_policy)) == 2 * 7
    assert not any("lm_head" in name for name in adapter_layers(tiny_policy))
    assert all((".lora_" in name) == value.requires_grad for name, value in tiny_policy.named_parameters())


def test_the_same_seed_draws_the_same_adapters_and_leaves_other_random_numbers_alone(tiny_policy_dir):
    drawn = []
    for _ in range(2):
        model, _ = load_policy(tiny_policy_dir)
        torch.manual_seed(len(drawn))
        state = torch.get_rng_state()
        add_adapters(model, rank=2, alpha=4.0, seed=5)
        assert torch.equal(torch.get_rng_state(), state)
        drawn.append(model.state_dict())
    assert all(torch.equal(value, drawn[1][name]) for name, value in drawn[0].items())


def test_the_saved_folder_opens_without_peft_and_gives_the_same_log_probs(tmp_path, tiny_policy_dir):
    model, tokenizer, trees, *_ = trained(tiny_policy_dir)
    expected = logps(model, trees)
    save_policy(model, tokenizer, tmp_path)
    merged, _ = load_policy(tmp_path)
    assert not adapter_layers(merged)
    assert torch.allclose(logps(merged, trees), expected, atol=1e-4)
    assert torch.equal(logps(model, trees), expected)


def test_the_adapters_beside_it_open_with_peft_on_the_model_they_began_with(tmp_path, tiny_policy_dir, tiny_policy):
    from peft import PeftModel

    model, tokenizer, trees, *_ = trained(tiny_policy_dir)
    save_policy(model, tokenizer, tmp_path)
    opened = PeftModel.from_pretrained(tiny_policy, tmp_path / "adapter")
    assert torch.allclose(logps(opened, trees), logps(model, trees), atol=1e-5)


def test_a_checkpoint_holds_the_adapters_only(tmp_path, tiny_policy):
    from safetensors.torch import load_file

    add_adapters(tiny_policy, rank=2, alpha=4.0)
    optimizer = torch.optim.AdamW(one for one in tiny_policy.parameters() if one.requires_grad)
    Checkpoints(tmp_path).save(step=1, model=tiny_policy, optimizer=optimizer, state={})
    kept = load_file(tmp_path / "step-00000001/weights.safetensors")
    assert kept
    assert all(".lora_" in name for name in kept)


def test_a_reward_model_trains_its_head_beside_the_adapters_and_is_saved_merged(tmp_path, tiny_policy_dir):
    model, tokenizer = load_reward(tiny_policy_dir)
    add_adapters(model.backbone, rank=2, alpha=4.0)
    head = model.head.weight.detach().clone()
    trees = pairs(8)
    Trainer(
        model=model,
        objective=make_objective("bradley_terry"),
        examples=Examples(trees),
        settings=Settings(epochs=3, batch_size=4, learning_rate=1e-2, layout="tree"),
        pad_id=0,
    ).train()
    assert not torch.equal(model.head.weight, head)
    save_reward(model, tokenizer, tmp_path)
    merged, _ = load_reward(tmp_path)
    batch = make_batch(trees, layout="tree", pad_id=0)
    with torch.no_grad():
        assert torch.allclose(values(merged, batch), values(model, batch), atol=1e-4)


def test_merged_weights_have_the_names_and_shapes_of_the_model_without_adapters(tiny_policy):
    before = {name: value.shape for name, value in tiny_policy.state_dict().items()}
    add_adapters(tiny_policy, rank=2, alpha=4.0)
    assert {name: value.shape for name, value in merged_weights(tiny_policy).items()} == before
