"""The scorer gives what the model itself would give, whatever the chunk, and knows which models it may pack."""

from __future__ import annotations

import pytest
import torch

from tests.training.engine.core.helpers import gradients, one_at_a_time, random_trees
from training.engine import projection
from training.engine.batch import make_batch
from training.engine.errors import EngineError
from training.engine.scorer import score, supports_trees, token_logps, verify_scorer
from training.engine.trees import PromptTree


def tiny(config_class, model_class, **changes):
    config = config_class(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=128,
        initializer_range=0.3,
        pad_token_id=0,
        **changes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return model_class(config).eval()


@pytest.mark.parametrize("words", [1, 7, 4096])
def test_the_size_of_a_tile_changes_nothing(tiny_policy, words):
    batch = make_batch(random_trees(4, 2), layout="tree", pad_id=0)
    whole = score(tiny_policy, batch)
    whole.logp.sum().backward()
    expected = gradients(tiny_policy)
    parts = score(tiny_policy, batch, words=words)
    parts.logp.sum().backward()
    assert torch.allclose(parts.logp, whole.logp, atol=1e-5)
    for name, gradient in gradients(tiny_policy).items():
        assert torch.allclose(gradient, expected[name], rtol=1e-4, atol=1e-5), name


def test_logits_of_a_few_words_exist_at_a_time_and_those_of_the_first_are_kept(tiny_policy, monkeypatch):
    batch = make_batch(random_trees(12, 2, longest=40), layout="tree", pad_id=0)
    tokens = batch.target.numel()
    seen, honest = [], projection._logits

    def watched(*given):
        logits = honest(*given)
        seen.append(logits.shape[1])
        return logits

    monkeypatch.setattr(projection, "_logits", watched)
    vocabulary = tiny_policy.config.vocab_size
    for room, again in ((0, vocabulary), (40 * tokens * 4, vocabulary - 32), (1 << 30, 0)):
        monkeypatch.setattr(projection, "KEPT_BYTES", room)
        seen.clear()
        score(tiny_policy, batch, words=16).logp.sum().backward()
        assert max(seen) == 16
        assert sum(seen) == vocabulary + again  # forward, and what was not kept once more in the backward pass
    assert tokens < batch.tokens


def test_what_some_losses_want_besides_is_computed_from_the_same_tokens(tiny_policy):
    trees = random_trees(4, 2, seed=6)
    batch = make_batch(trees, layout="tree", pad_id=0)
    tokens = token_logps(tiny_policy, batch)
    plain = score(tiny_policy, batch)
    assert plain.prefix_logp is None
    assert plain.certainty is None
    found = score(tiny_policy, batch, reference=2 * tokens.detach(), extras=frozenset({"prefix", "certainty"}))
    assert torch.equal(found.logp, plain.logp)
    assert torch.allclose(found.ref_logp, 2 * plain.logp)
    parts = tokens.split([len(each) for tree in trees for each in tree.completions])
    for index, tree in enumerate(trees):
        shorter = min(map(len, tree.completions))
        for number in (2 * index, 2 * index + 1):
            assert torch.allclose(found.prefix_logp[number], parts[number][:shorter].sum(), atol=1e-5)
            assert torch.allclose(found.ref_prefix_logp[number], 2 * parts[number][:shorter].sum(), atol=1e-5)
    assert found.prefix_logp.requires_grad
    assert not found.certainty.requires_grad
    longest = float(-torch.log(torch.tensor(1 / 400)))
    assert (found.certainty < longest).all()


def test_scores_are_float32_sums_with_lengths_and_pass_the_reference_on(tiny_policy):
    trees = random_trees(3, 2)
    batch = make_batch(trees, layout="tree", pad_id=0)
    reference = torch.arange(6.0)
    scores = score(tiny_policy.to(torch.bfloat16), batch, reference=reference)
    assert scores.logp.dtype == torch.float32
    assert scores.length.tolist() == [len(completion) for tree in trees for completion in tree.completions]
    assert scores.ref_logp is reference


def test_token_log_probs_are_negative_and_add_up(tiny_policy):
    batch = make_batch(random_trees(3, 2), layout="tree", pad_id=0)
    tokens = token_logps(tiny_policy, batch)
    assert (tokens < 0).all()
    sums = torch.stack([tokens[batch.completion == number].sum() for number in range(6)])
    assert torch.allclose(sums, score(tiny_policy, batch).logp, atol=1e-5)


def test_trees_that_were_read_for_an_encoder_have_no_log_probs(tiny_policy):
    batch = make_batch([PromptTree(0, (), ((4, 5),), {})], layout="padded", pad_id=0)
    with pytest.raises(EngineError, match="encoder"):
        score(tiny_policy, batch)


def test_soft_capped_and_scaled_logits_are_scored_as_the_model_makes_them():
    from transformers import CohereConfig, CohereForCausalLM, Gemma2Config, Gemma2ForCausalLM

    trees = random_trees(3, 2)
    for model in (
        tiny(Gemma2Config, Gemma2ForCausalLM, final_logit_softcapping=2.0, sliding_window=64),
        tiny(CohereConfig, CohereForCausalLM, logit_scale=0.3),
    ):
        verify_scorer(model)
        logp = score(model, make_batch(trees, layout="padded", pad_id=0)).logp
        assert torch.allclose(logp, one_at_a_time(model, trees), rtol=1e-4, atol=1e-4)


def test_logits_that_the_scorer_does_not_know_are_refused(tiny_policy):
    honest = tiny_policy.forward

    def shifted(*args, **kwargs):
        output = honest(*args, **kwargs)
        output.logits[..., 7] += 3
        return output

    tiny_policy.forward = shifted
    with pytest.raises(EngineError, match="llama"):
        verify_scorer(tiny_policy)


def test_weights_that_are_no_numbers_are_named_as_the_trouble(tiny_policy):
    with torch.no_grad():
        tiny_policy.model.norm.weight[3] = float("nan")
    with pytest.raises(EngineError, match="weights are damaged"):
        verify_scorer(tiny_policy)


def test_a_plain_decoder_can_be_packed(tiny_policy):
    from transformers import GPT2Config, GPT2LMHeadModel

    assert supports_trees(tiny_policy)
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=2, n_positions=64)).eval()
    assert supports_trees(gpt2)


def test_windows_state_spaces_encoders_and_other_attention_cannot_be_packed(tiny_policy, tiny_encoder):
    from transformers import MambaConfig, MambaForCausalLM, MistralConfig, MistralForCausalLM

    assert not supports_trees(tiny_encoder)
    assert not supports_trees(tiny(MistralConfig, MistralForCausalLM, sliding_window=8))
    mamba = MambaForCausalLM(MambaConfig(vocab_size=400, hidden_size=32, state_size=4, num_hidden_layers=1)).eval()
    assert not supports_trees(mamba)
    tiny_policy.config._attn_implementation = "eager"
    assert not supports_trees(tiny_policy)


def test_an_adapter_is_scored_with_its_weights(tiny_policy):
    from peft import LoraConfig, get_peft_model

    batch = make_batch(random_trees(3, 2), layout="tree", pad_id=0)
    before = score(tiny_policy, batch).logp.detach()
    adapted = get_peft_model(tiny_policy, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    assert not torch.allclose(score(adapted, batch).logp, before, atol=1e-3)
    with adapted.disable_adapter():
        assert torch.allclose(score(adapted, batch).logp, before, atol=1e-5)
