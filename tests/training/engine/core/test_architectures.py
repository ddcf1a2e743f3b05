"""Models of many kinds, opened from a folder: scored and trained as transformers itself computes them, or refused."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.training.engine.core.helpers import gradients, one_at_a_time, random_trees
from training.engine.adapters import add_adapters
from training.engine.batch import make_batch
from training.engine.continuation import continues, score_and_continue
from training.engine.errors import EngineError
from training.engine.modelfiles import load_policy, load_reward, save_policy
from training.engine.scorer import score, supports_trees
from training.engine.trees import PromptTree

SIZES: dict[str, Any] = {
    "vocab_size": 416,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 3,
}
SHORT: dict[str, Any] = {name: SIZES[name] for name in ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")}
BOTH_WINDOWS = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
# model type → (settings, whether trees can be packed)
MODELS: dict[str, tuple[dict[str, Any], bool]] = {
    "qwen3": (SIZES, True),
    "mistral": (SIZES | {"sliding_window": 4}, False),
    "gpt2": (SHORT | {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}, True),
    "gpt_neox": ({k: v for k, v in SIZES.items() if k not in ("num_key_value_heads", "head_dim")}, True),
    "cohere": (SIZES | {"use_qk_norm": True, "logit_scale": 0.5}, True),
    "granite": (SIZES | {"logits_scaling": 4.0, "embedding_multiplier": 6.0}, True),
    "mixtral": (SIZES | {"num_local_experts": 4}, True),
    # Attention scores with a soft cap, which SDPA would leave out.
    "gemma2": (SIZES | BOTH_WINDOWS | {"attn_logit_softcapping": 0.1, "final_logit_softcapping": 2.0}, False),
    # Layers of more parts than attention and feed-forward.
    "gemma3n_text": (
        SIZES
        | BOTH_WINDOWS
        | {"vocab_size_per_layer_input": 416, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0}
        | {"laurel_rank": 4, "activation_sparsity_pattern": [0.5, 0.0], "intermediate_size": [48, 48]},
        False,
    ),
    # None of these knows SDPA.
    "gpt_oss": (SIZES | BOTH_WINDOWS | {"num_local_experts": 4}, False),
    "mamba": (SHORT | {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}, False),
    "bloom": (SHORT | {"hidden_size": 32, "n_layer": 2, "n_head": 2}, False),
}


@pytest.fixture
def folder_of(tiny_policy_dir, tmp_path):
    """Writes a random model of a type, with the tiny tokenizer beside it, and returns the folder."""

    def write(kind, settings):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.1)
                model.get_input_embeddings().weight[0] = 0  # as padding has it in many models
        model.save_pretrained(tmp_path)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(tiny_policy_dir / name, tmp_path)
        return tmp_path

    return write


@pytest.mark.parametrize("kind", MODELS)
def test_log_probs_and_gradients_are_those_of_the_plain_model(folder_of, kind):
    settings, packed = MODELS[kind]
    folder = folder_of(kind, settings)
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    model, _ = load_policy(folder)
    assert supports_trees(model) == packed

    trees = random_trees(4, completions=2, seed=2)
    expected = one_at_a_time(plain, trees)
    expected.square().sum().backward()
    slopes = gradients(plain)
    largest = max(slope.abs().max() for slope in slopes.values())
    for layout in ("padded", "tree", "packed") if packed else ("padded",):
        found = score(model, make_batch(trees, layout=layout, pad_id=0)).logp
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        found.square().sum().backward()
        for name, slope in gradients(model).items():
            torch.testing.assert_close(slope, slopes[name], rtol=1e-3, atol=1e-5 * largest, msg=f"{layout} {name}")


@pytest.mark.parametrize("kind", [kind for kind, (_, packed) in MODELS.items() if packed])
def test_models_that_take_trees_read_on_behind_their_prompts(folder_of, kind):
    model, _ = load_policy(folder_of(kind, MODELS[kind][0]))
    assert continues(model, pad_id=0)
    trees = random_trees(4, completions=1, seed=2)
    others = [PromptTree(0, tree.prompt, random_trees(1, 1, seed=9)[0].completions, {}) for tree in trees]
    batch = make_batch(trees, layout="tree", pad_id=0)
    with torch.no_grad():
        _, found = score_and_continue(model, batch, others, pad_id=0)
        torch.testing.assert_close(found, one_at_a_time(model, others), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "mixtral"])
def test_adapters_of_every_kind_of_layer_are_merged_when_saved(folder_of, tmp_path, kind):
    model, tokenizer = load_policy(folder_of(kind, MODELS[kind][0]))
    batch = make_batch(random_trees(3, completions=2), layout="padded", pad_id=0)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        add_adapters(model, rank=2, alpha=4.0)
        before = score(model, batch).logp
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += torch.randn_like(parameter) * 0.1
        expected = score(model, batch).logp
        assert (expected - before).abs().min() > 1e-2
        save_policy(model, tokenizer, tmp_path / "merged")
        merged, _ = load_policy(tmp_path / "merged")
        torch.testing.assert_close(score(merged, batch).logp, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["mamba", "bloom"])
def test_models_that_take_no_positions_can_give_rewards(folder_of, kind):
    folder = folder_of(kind, MODELS[kind][0])
    model, _ = load_reward(folder)
    trees = random_trees(3, completions=2)
    together = model(make_batch(trees, layout="padded", pad_id=0))
    alone = torch.cat([model(make_batch([tree], layout="padded", pad_id=0)) for tree in trees])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_a_model_that_changes_its_weights_as_it_computes_is_refused(folder_of):
    folder = folder_of("rwkv", {"vocab_size": 416, "hidden_size": 32, "num_hidden_layers": 2})
    with pytest.raises(EngineError, match="changes its own weights"):
        load_policy(folder)
