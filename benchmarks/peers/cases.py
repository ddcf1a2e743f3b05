"""Models and data that both sides read: random weights, and a tokenizer whose tokens are the words `w0`, `w1`, ….

A text of n words is exactly n tokens on either side, so prompts and completions have the lengths that were asked for.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAD, END = "<pad>", "</s>"
# The user's words, a space, the answer's words, the end token: what joining prompt and completion as plain text gives.
TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %} {% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Shape:
    """A Llama with untied embeddings; `spread` is the standard deviation of its weights."""

    vocabulary: int = 16_384
    hidden: int = 256
    layers: int = 4
    spread: float = 0.02


# 12.6 million weights; a policy of a few thousand that is quick to compare; almost nothing but vocabulary.
SMALL = Shape()
TINY = Shape(vocabulary=400, hidden=64, layers=2, spread=0.15)
WIDE = Shape(vocabulary=131_072, hidden=64, layers=2)


@dataclass(frozen=True)
class Lengths:
    """Tokens of prompts and of completions (end token included), both drawn evenly from a range."""

    prompt: tuple[int, int]
    completion: tuple[int, int]


LONG = Lengths(prompt=(130, 180), completion=(40, 120))
SHORT = Lengths(prompt=(20, 20), completion=(40, 120))


def make_model(folder: Path, shape: Shape, *, seed: int) -> Path:
    """A policy folder with random weights and the tokenizer of words, made once."""
    if (folder / "model.safetensors").exists():
        return folder
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    words = [PAD, END, *(f"w{index}" for index in range(shape.vocabulary - 2))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END)
    fast.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=4 * shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.hidden // 32,
        num_key_value_heads=shape.hidden // 32,
        max_position_embeddings=2048,
        initializer_range=shape.spread,
        tie_word_embeddings=False,
        bos_token_id=None,
        pad_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(seed)
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def pair_rows(count: int, shape: Shape, lengths: Lengths, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Pairs in the engine's columns; the margin is for reward models."""
    draw = random.Random(seed)
    for _ in range(count):
        yield {
            "prompt": _user(draw, shape, lengths),
            "chosen": _words(draw, shape, lengths.completion, less=1),
            "rejected": _words(draw, shape, lengths.completion, less=1),
        }


def binary_rows(count: int, shape: Shape, lengths: Lengths, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Single completions, every second one with a thumb up."""
    for number, row in enumerate(pair_rows(count, shape, lengths, seed=seed)):
        yield {"prompt": row["prompt"], "completion": row["chosen"], "label": number % 2 == 0}


def list_rows(count: int, shape: Shape, lengths: Lengths, *, size: int = 4, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Prompts with `size` completions in strict order, best first."""
    draw = random.Random(seed)
    for _ in range(count):
        yield {
            "prompt": _user(draw, shape, lengths),
            "completions": [_words(draw, shape, lengths.completion, less=1) for _ in range(size)],
            "ranks": list(range(size)),
        }


def pairs_of_lists(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every pair of every list as a row of its own."""
    for row in rows:
        answers = row["completions"]
        for better in range(len(answers)):
            for worse in range(better + 1, len(answers)):
                yield {"prompt": row["prompt"], "chosen": answers[better], "rejected": answers[worse]}


def write_rows(path: Path, rows: Iterator[dict[str, Any]]) -> Path:
    """The rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def plain_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row as TRL reads plain text; it appends the end token itself."""
    return {**row, "prompt": row["prompt"][-1]["content"] + " "}


def _user(draw: random.Random, shape: Shape, lengths: Lengths) -> list[dict[str, str]]:
    return [{"role": "user", "content": _words(draw, shape, lengths.prompt)}]


def _words(draw: random.Random, shape: Shape, lengths: tuple[int, int], *, less: int = 0) -> str:
    return " ".join(f"w{draw.randrange(shape.vocabulary - 2)}" for _ in range(draw.randint(*lengths) - less))
