"""Trust-region DPO: a reference that follows the policy, in the run, in its checkpoints and in what it costs."""

import json
import shutil

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.training.engine.core.helpers import random_trees
from tests.training.engine.train.conftest import curve, result_of, run, write_spec
from training.engine.adapters import add_adapters, merged_weights
from training.engine.batch import make_batch
from training.engine.errors import EngineError
from training.engine.movingreference import MovingReference, moving_reference
from training.engine.objectives import make_objective
from training.engine.scorer import score


def test_the_reference_moves_towards_the_policy_when_it_is_time(tiny_policy):
    reference = MovingReference(tiny_policy, mixup_alpha=0.25, sync_steps=3)
    before = [one.detach().clone() for one in tiny_policy.parameters()]
    with torch.no_grad():
        for parameter in tiny_policy.parameters():
            parameter.add_(1.0)
    reference.after_step(2, tiny_policy)
    for kept, own in zip(before, reference.model.parameters(), strict=True):
        assert torch.equal(kept, own)
    reference.after_step(3, tiny_policy)
    for kept, own in zip(before, reference.model.parameters(), strict=True):
        torch.testing.assert_close(own, kept + 0.25)


def test_the_reference_of_a_policy_with_adapters_moves_by_what_they_add_to_its_weights(tiny_policy):
    add_adapters(tiny_policy, rank=2, alpha=4.0)
    reference = MovingReference(tiny_policy, mixup_alpha=0.25, sync_steps=1)
    at = {}
    for step in (1, 2):
        with torch.no_grad():
            for parameter in tiny_policy.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        before = {name: one.clone() for name, one in reference.weights().items()}
        reference.after_step(step, tiny_policy)
        at = {name: 0.75 * one + 0.25 * merged_weights(tiny_policy)[name] for name, one in before.items()}
    merged = LlamaForCausalLM(tiny_policy.config).eval()
    merged.load_state_dict(at, strict=False)
    batch = make_batch(random_trees(3, completions=2), layout="padded", pad_id=0)
    with torch.no_grad():
        torch.testing.assert_close(score(reference.model, batch).logp, score(merged, batch).logp, rtol=1e-4, atol=1e-4)


def test_a_run_with_adapters_moves_a_reference_from_another_folder_and_counts_its_time(tmp_path, tiny_policy_dir):
    settings = {"lora_rank": 2, "sync_steps": 1, "batch_size": 12}
    spec = write_spec(tmp_path, "tr_dpo", tiny_policy_dir, **settings)
    other = tmp_path / "other"
    shutil.copytree(tiny_policy_dir, other)
    document = json.loads(spec.read_text()) | {"reference": str(other)}
    spec.write_text(json.dumps(document))
    assert run(spec, tmp_path / "out") == 0
    result = result_of(tmp_path / "out")
    assert 0 < result["reference_seconds"] < result["train_seconds"]


def test_a_reference_of_another_shape_is_refused(tiny_policy):
    smaller = LlamaForCausalLM(LlamaConfig(**tiny_policy.config.to_dict() | {"intermediate_size": 64}))
    with pytest.raises(EngineError, match="other shapes"):
        moving_reference(make_objective("tr_dpo"), tiny_policy, smaller)


def test_a_run_begins_at_ln_two_and_comes_back_to_it_when_reference_becomes_policy(tmp_path, tiny_policy_dir):
    settings = {"epochs": 2, "learning_rate": 1e-3, "warmup": 0.0, "mixup_alpha": 1.0, "sync_steps": 1}
    spec = write_spec(tmp_path, "tr_dpo", tiny_policy_dir, **settings)
    assert run(spec, tmp_path / "out") == 0
    # With the policy itself as its reference after every step, each step begins at D = 0.
    assert all(abs(line["loss"] - 0.693147) < 1e-4 for line in curve(tmp_path / "out"))


def test_a_reference_that_never_moves_is_that_of_dpo(tmp_path, tiny_policy_dir):
    common = {"epochs": 1, "learning_rate": 1e-3}
    moving = write_spec(tmp_path / "tr", "tr_dpo", tiny_policy_dir, **common)
    fixed = write_spec(tmp_path / "dpo", "dpo", tiny_policy_dir, **common)
    assert run(moving, tmp_path / "tr/out") == 0
    assert run(fixed, tmp_path / "dpo/out") == 0
    assert abs(result_of(tmp_path / "tr/out")["loss_last"] - result_of(tmp_path / "dpo/out")["loss_last"]) < 1e-4
