"""The starter's weights before training, and the grammar's conversations as prompt trees."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from training.engine.starter.grammar import Conversation
from training.engine.starter.tokenizer import END
from training.engine.trees import PromptTree

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Two layers are the least that can copy from the prompt. Two wide ones learn faster on two cores than four narrow
# ones; heads of 32 are a size that vLLM's attention for CPUs knows.
HIDDEN, INTERMEDIATE, LAYERS, HEAD = 256, 672, 2, 32
POSITIONS = 2048


def random_policy(tokenizer: PreTrainedTokenizerBase, *, seed: int) -> LlamaForCausalLM:
    """A Llama of two million weights, drawn from `seed`, in float32; torch's random state is left alone."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=INTERMEDIATE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HIDDEN // HEAD,
        num_key_value_heads=HIDDEN // HEAD,
        head_dim=HEAD,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def conversation_trees(conversations: Iterable[Conversation], tokenizer: PreTrainedTokenizerBase) -> list[PromptTree]:
    """Each conversation as a tree: its prompt once, every answer a demonstration that ends with the end token."""

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    trees = []
    for row, conversation in enumerate(conversations):
        prompt = tokenizer.apply_chat_template(list(conversation.prompt), tokenize=False, add_generation_prompt=True)
        completions = tuple(ids(answer + END) for answer in conversation.answers)
        trees.append(PromptTree(row, ids(str(prompt)), completions, {"weight": 1.0}))
    return trees
