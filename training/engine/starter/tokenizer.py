"""The starter's own byte-level BPE tokenizer and chat template, trained on the grammar's conversations."""

from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from training.engine.starter.grammar import Conversation

PAD, BEGIN, END = "<|pad|>", "<|start|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
SPECIAL = (PAD, BEGIN, END, *ROLES)

# A turn is role token, text, end token. The text is stripped so that a stray blank never changes the tokens, and the
# generation prompt is exactly the head of an assistant's turn: rendering prompt and answer together gives the tokens of
# the prompt followed by those of the answer.
CHAT_TEMPLATE = (
    "{{ '<|start|>' }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('This chat template knows the roles system, user and assistant, not ' + message['role']) }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def _texts(conversations: Iterable[Conversation]) -> Iterator[str]:
    for conversation in conversations:
        for message in conversation.prompt:
            yield message["content"]
        yield from conversation.answers


def train_tokenizer(
    conversations: Iterable[Conversation], *, vocabulary: int, max_length: int = 2048
) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE on the conversations and wraps it with the special tokens and the chat template.

    Every byte is in the alphabet, so any text can be encoded and decoded without loss. END closes every turn and is the
    end-of-sequence token; PAD is distinct from it, so that an end that should be learnt is never masked as padding.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_texts(conversations), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        bos_token=BEGIN,
        additional_special_tokens=list(ROLES),
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
