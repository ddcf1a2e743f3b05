"""The starter's tokenizer and chat template: nothing is lost, and answers begin where training says they do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from training.engine.rendering import ChatRenderer
from training.engine.rows import Row
from training.engine.starter.grammar import conversations
from training.engine.starter.policy import conversation_trees
from training.engine.starter.tokenizer import BEGIN, END, PAD, train_tokenizer

TALKS = list(conversations(seed=1, count=200, answers=2))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TALKS, vocabulary=600)


def test_the_special_tokens_are_distinct_and_have_their_roles(tokenizer: PreTrainedTokenizerFast) -> None:
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == (PAD, BEGIN, END)
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3


def test_a_conversation_survives_the_round_trip(tokenizer: PreTrainedTokenizerFast) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why is the sky blue?"},
        {"role": "assistant", "content": "Air scatters blue light.\n\n- Yes 🌤"},
        {"role": "user", "content": "Thanks!"},
    ]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == (
        "<|start|><|system|>Be brief.<|end|><|user|>Why is the sky blue?<|end|>"
        "<|assistant|>Air scatters blue light.\n\n- Yes 🌤<|end|><|user|>Thanks!<|end|><|assistant|>"
    )
    ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == rendered


def test_training_and_rendering_agree_on_every_token(tokenizer: PreTrainedTokenizerFast) -> None:
    renderer = ChatRenderer(tokenizer, 2048)
    for tree, talk in zip(conversation_trees(TALKS, tokenizer), TALKS, strict=True):
        rendered = renderer.render(Row("talks", tree.row, {}), list(talk.prompt), talk.answers)
        assert rendered is not None
        assert (rendered.prompt, rendered.completions) == (tree.prompt, tree.completions)
        assert all(completion[-1] == tokenizer.eos_token_id for completion in tree.completions)


def test_an_unknown_role_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(TemplateError, match="not tool"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "42"}], tokenize=False)


def test_a_saved_tokenizer_comes_back_the_same(
    tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("saved")
    tokenizer.save_pretrained(folder)
    loaded = AutoTokenizer.from_pretrained(folder)
    talk = list(TALKS[0].prompt)
    assert loaded.apply_chat_template(talk, tokenize=False) == tokenizer.apply_chat_template(talk, tokenize=False)
    assert loaded.pad_token_id == tokenizer.pad_token_id


@given(text=st.text(max_size=80))
def test_any_text_can_be_encoded_without_loss(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids) == text
