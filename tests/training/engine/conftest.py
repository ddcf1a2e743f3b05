"""Tiny models and a tokenizer, made on the fly: nothing is downloaded and nothing is random between runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if TYPE_CHECKING:
    from transformers import BertModel, LlamaForCausalLM, PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)

CORPUS = [
    "The cat sat on the mat and the dog lay by the door.",
    "What is the capital of France? The capital of France is Paris.",
    "How do I boil an egg? Put it in boiling water for seven minutes.",
    "Please write a short, polite answer. Thank you very much!",
    "user: assistant: system: country city away go capital",
    "Every morning the baker opens her shop before the street is awake and sells warm bread to the first visitors.",
]


def build_tokenizer(folder: Path) -> Path:
    """Writes a byte-level BPE tokenizer of 400 tokens with a chat template into ``folder``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|pad|>", "<|begin|>", "<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", bos_token="<|begin|>", eos_token="<|end|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    assert len(fast) == 400, "the corpus is too small for the vocabulary"
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_policy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Llama (2 layers, heads of 32) and its tokenizer, as safetensors. Read only."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = build_tokenizer(tmp_path_factory.mktemp("tiny-policy"))
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=3,
        pad_token_id=0,
        initializer_range=0.1,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_policy(tiny_policy_dir: Path) -> LlamaForCausalLM:
    """A fresh copy of the tiny policy, float32, in evaluation mode."""
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(tiny_policy_dir, attn_implementation="sdpa").eval()


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_policy_dir: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of the tiny policy: ids 0 pad, 1 begin, 2 start, 3 end of turn."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(tiny_policy_dir)


@pytest.fixture(scope="session")
def tiny_encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random BERT of 64 positions and a word-piece tokenizer without a chat template. Read only."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-encoder")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )
    fast.save_pretrained(folder)
    config = BertConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = BertModel(config)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_encoder(tiny_encoder_dir: Path) -> BertModel:
    """A fresh copy of the tiny encoder, float32, in evaluation mode."""
    from transformers import BertModel

    return BertModel.from_pretrained(tiny_encoder_dir).eval()


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows as JSONL and returns the path: ``write_rows(rows, name="train.jsonl")``."""

    def write(rows: Sequence[dict[str, Any]], name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


def user(content: str) -> list[dict[str, str]]:
    """A prompt of one user message."""
    return [{"role": "user", "content": content}]


@pytest.fixture(scope="session")
def pairwise_rows() -> list[dict[str, Any]]:
    """Twelve learnable pairs: the chosen answer is polite, the rejected one is not."""
    return [
        {
            "prompt": user(f"What is the capital of country {index}?"),
            "chosen": f"The capital is city {index}. Thank you!",
            "rejected": f"Go away {index}.",
            "p": 1.0 if index % 3 else 0.75,
            "margin": None,
            "weight": 1.0,
            "n_judgements": 1,
        }
        for index in range(12)
    ]


@pytest.fixture(scope="session")
def binary_rows(pairwise_rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same answers with thumbs up and down."""
    return [
        {"prompt": row["prompt"], "completion": row[key], "label": key == "chosen", "weight": 1.0, "n_judgements": 1}
        for row in pairwise_rows
        for key in ("chosen", "rejected")
    ]


@pytest.fixture(scope="session")
def demonstration_rows(pairwise_rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The polite answers as demonstrations."""
    return [{"prompt": row["prompt"], "completion": row["chosen"], "weight": 1.0} for row in pairwise_rows]
