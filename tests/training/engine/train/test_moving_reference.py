"""Trust-region DPO: a reference that follows the policy, in the run, in its checkpoints and in what it costs."""

import torch

from tests.training.engine.train.conftest import curve, result_of, run, write_spec
from training.engine.movingreference import MovingReference


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
