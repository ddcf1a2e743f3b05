"""A reference that the spec names is read in the way that it can be read, or refused."""

import json
import shutil

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

from tests.training.engine.train.conftest import result_of, run, write_spec
from training.engine.cli import REFUSED


def folder_with(model, tokenizer_dir, folder):
    shutil.copytree(tokenizer_dir, folder, ignore=shutil.ignore_patterns("*.safetensors", "*config.json"))
    shutil.copy(tokenizer_dir / "tokenizer_config.json", folder)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def windowed(tiny_policy, tiny_policy_dir, tmp_path):
    """The tiny policy with a window of eight tokens, so that it cannot be masked by completion."""
    shared = tiny_policy.config.to_dict()
    for name in ("model_type", "architectures", "layer_types"):
        shared.pop(name, None)
    model = MistralForCausalLM(MistralConfig(**shared | {"sliding_window": 8}))
    model.load_state_dict(tiny_policy.state_dict())
    return folder_with(model, tiny_policy_dir, tmp_path / "windowed")


def spec_with(folder, method, model, reference, **config):
    path = write_spec(folder, method, model, **config)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"reference": str(reference)}))
    return path


def test_a_reference_that_cannot_be_masked_is_read_in_padded_rows(tmp_path, tiny_policy_dir, windowed):
    losses = []
    for layout in ("tree", "padded"):
        spec = spec_with(tmp_path / layout, "dpo", tiny_policy_dir, windowed, layout=layout, batch_size=24)
        assert run(spec, tmp_path / layout / "out") == 0
        losses.append(result_of(tmp_path / layout / "out")["loss_first"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert abs(losses[0] - 0.693147) > 1e-4


def test_a_moving_reference_that_cannot_be_masked_is_refused(tmp_path, tiny_policy_dir, windowed, capsys):
    assert run(spec_with(tmp_path / "in", "tr_dpo", tiny_policy_dir, windowed), tmp_path / "out") == REFUSED
    assert "Set layout to padded" in capsys.readouterr().err
    spec = spec_with(tmp_path / "padded", "tr_dpo", tiny_policy_dir, windowed, layout="padded", sync_steps=1)
    assert run(spec, tmp_path / "padded/out") == 0


def test_a_reference_with_too_few_positions_is_refused(tmp_path, tiny_policy_dir, capsys):
    with torch.random.fork_rng():
        small = GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=32, n_layer=1, n_head=2, n_positions=40))
    reference = folder_with(small, tiny_policy_dir, tmp_path / "small")
    assert run(spec_with(tmp_path / "in", "kto", tiny_policy_dir, reference), tmp_path / "out") == REFUSED
    assert "Set max_length to 40" in capsys.readouterr().err
