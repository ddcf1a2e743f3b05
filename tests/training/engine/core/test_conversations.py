"""Rows in the forms that are in use: the same prompt and answers, or a refusal where two readings are possible."""

from __future__ import annotations

import json

import pytest

from training.engine.columns import EXAMPLES
from training.engine.conversations import read_conversation
from training.engine.errors import EngineError
from training.engine.rows import Row
from training.engine.trees import read_trees

HI, HELLO = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}
BE_KIND = {"role": "system", "content": "Be kind."}
WHAT = {"role": "assistant", "content": "What?"}


def read(row, kind="pairwise"):
    return read_conversation(Row("rows.jsonl", 7, row), kind)


def refusal_of(row, kind="pairwise"):
    with pytest.raises(EngineError) as refusal:
        read(row, kind)
    assert refusal.value.row == 7
    assert f"column {refusal.value.field!r}" in refusal.value.message
    return refusal.value


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": "Hello.", "rejected": "What?"},
        {"prompt": [HI], "chosen": "Hello.", "rejected": [WHAT]},
        {"prompt": [HI], "chosen": [HELLO], "rejected": [WHAT]},
        {"prompt": [HI], "chosen": [HI, HELLO], "rejected": [HI, WHAT]},
        {"prompt": "Hi", "chosen": [HI, HELLO], "rejected": [HI, WHAT]},
        {"chosen": [HI, HELLO], "rejected": [HI, WHAT]},
        {"prompt": None, "chosen": [HI, HELLO], "rejected": [HI, WHAT]},
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi\n\nAssistant: What?"},
        {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": " Hello.", "rejected": "What?"},
        {"prompt": "\n\nHuman: Hi", "chosen": "Hello.", "rejected": "\n\nHuman: Hi\n\nAssistant: What?"},
        {"prompt": "Hi", "chosen": "\n\nHuman: Hi\n\nAssistant: Hello.", "rejected": "\n\nAssistant: What?"},
    ],
)
def test_every_form_of_a_pair_says_the_same(row):
    said = read(row)
    assert (said.prompt, said.completions) == ([HI], ("Hello.", "What?"))


def test_a_transcript_of_several_turns_is_one_prompt():
    before = "\n\nSystem: Be kind.\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Hi"
    said = read({"chosen": before + "\n\nAssistant: Hello.", "rejected": before + "\n\nAssistant: What?"})
    assert said.prompt == [BE_KIND, HI, HELLO, HI]
    assert read({"prompt": before + "\n\nAssistant:", "chosen": "Hello.", "rejected": "What?"}) == said


def test_beside_messages_a_text_is_an_answer_whatever_it_looks_like():
    odd = "\n\nHuman: Hi\n\nAssistant: Hello."
    assert read({"prompt": [HI], "chosen": odd, "rejected": " What?"}).completions == (odd, " What?")


def test_of_a_conversation_to_imitate_the_last_reply_is_the_answer():
    said = read({"messages": [HI, WHAT, HI, HELLO]}, "demonstration")
    assert (said.prompt, said.completions) == ([HI, WHAT, HI], ("Hello.",))
    assert read({"prompt": "Hi", "messages": [HI, HELLO], "completion": None}, "demonstration").completions == (
        "Hello.",
    )
    assert read({"prompt": "Hi", "completion": [HELLO], "label": True}, "binary").completions == ("Hello.",)


def test_other_columns_do_not_matter_nor_do_those_that_are_empty():
    more = {"id": 7, "score_chosen": 9.0, "messages": [HI], "system": None, "tools": [], "images": []}
    assert read({"prompt": "Hi", "chosen": "Hello.", "rejected": "What?"} | more).completions == ("Hello.", "What?")


def test_the_answers_of_a_list_may_be_texts_messages_or_objects():
    row = {"prompt": "Hi", "completions": ["Hello.", [WHAT], {"text": "Yes?", "model": "m"}, [HI, HELLO]]}
    assert read(row, "listwise").completions == ("Hello.", "What?", "Yes?", "Hello.")


@pytest.mark.parametrize(
    ("row", "kind", "field", "said"),
    [
        ({"chosen": "Hello.", "rejected": "What?"}, "pairwise", "prompt", "missing"),
        ({"prompt": None, "chosen": "Hello.", "rejected": "What?"}, "pairwise", "prompt", "null"),
        ({"prompt": " ", "chosen": "Hello.", "rejected": "What?"}, "pairwise", "prompt", "empty"),
        ({"prompt": 3, "chosen": "Hello.", "rejected": "What?"}, "pairwise", "prompt", "list of messages"),
        ({"prompt": "Hi", "chosen": [BE_KIND, HI, HELLO], "rejected": "What?"}, "pairwise", "chosen", "other messages"),
        ({"chosen": [HI, HELLO], "rejected": [BE_KIND, HI, WHAT]}, "pairwise", "rejected", "than in chosen"),
        ({"prompt": [HI, HELLO], "chosen": "Hello.", "rejected": "What?"}, "pairwise", "prompt", "ends with a reply"),
        ({"chosen": [HI, HELLO, HI], "rejected": [HI, WHAT]}, "pairwise", "chosen", "must end with the assistant"),
        ({"prompt": "Hi", "chosen": [], "rejected": "What?"}, "pairwise", "chosen", "list of messages"),
        ({"prompt": "Hi", "chosen": None, "rejected": "What?"}, "pairwise", "chosen", "found None"),
        ({"prompt": "Hi", "chosen": [HI, {"role": "assistant", "content": " "}], "rejected": "W"}, "pairwise", "chosen",
         "empty"),
        ({"prompt": "Hi", "completion": "Hello.", "label": True, "system": "Be kind."}, "binary", "system", "not see"),
        ({"messages": [HI, HELLO], "tools": [{"name": "search"}]}, "demonstration", "tools", "not see"),
        ({"messages": [HI]}, "demonstration", "messages", "must end with the assistant"),
        ({"messages": [HELLO]}, "demonstration", "prompt", "missing"),
        ({"messages": [HI, HELLO], "completion": "Hello."}, "demonstration", "messages", "leave one"),
        ({"prompt": "Hi", "messages": [BE_KIND, HI, HELLO]}, "demonstration", "messages", "other messages"),
        ({"prompt": "Hi", "messages": "Hello."}, "demonstration", "messages", "list of messages"),
        ({"prompt": "Hi", "completion": {"text": "Hello."}}, "binary", "completion", "expected text"),
    ],
)  # fmt: skip
def test_what_could_be_meant_in_two_ways_is_refused(row, kind, field, said):
    refusal = refusal_of(row, kind)
    assert refusal.field == field
    assert said in refusal.message


@pytest.mark.parametrize(("kind", "example"), [(kind, row) for kind, rows in EXAMPLES.items() for row in rows])
def test_every_row_that_the_help_shows_can_be_read(kind, example, write_rows, tiny_tokenizer):
    trees, _ = read_trees(write_rows([json.loads(example)]), kind=kind, tokenizer=tiny_tokenizer, max_length=200)
    assert len(trees) == 1
