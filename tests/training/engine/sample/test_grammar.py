"""What the grammar says: sentences that end, in styles that differ, about things that anybody may read."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections import Counter

import pytest

from training.engine.starter.demo import demo_pairs, demo_prompts
from training.engine.starter.families import FAMILIES
from training.engine.starter.grammar import conversations
from training.engine.starter.styles import STYLES, say

MANY = list(conversations(seed=5, count=1500, answers=3))


def test_the_same_seed_gives_the_same_conversations() -> None:
    assert list(conversations(seed=5, count=50, answers=3)) == MANY[:50]
    assert list(conversations(seed=6, count=50, answers=3)) != MANY[:50]


def test_every_answer_is_a_text_that_ends() -> None:
    for conversation in MANY:
        for answer in conversation.answers:
            last_line = answer.splitlines()[-1]
            assert last_line[-1] in ".!?", answer
            assert answer[0].isupper(), answer
            assert answer == answer.strip(), answer
            assert not re.search(r"  |\{|\}|None|\.\.| [.,!?]|\n |\n{3}", answer), answer


def test_every_prompt_ends_with_the_user() -> None:
    for conversation in MANY:
        roles = [turn["role"] for turn in conversation.prompt]
        assert roles in (["user"], ["system", "user"], ["user", "assistant", "user"])


def test_the_answers_to_one_prompt_differ() -> None:
    for conversation in MANY:
        assert len(set(conversation.answers)) == len(conversation.answers) == len(conversation.styles)
    assert sum(len(conversation.answers) == 3 for conversation in MANY) > 1000


def test_every_family_and_every_style_comes_up() -> None:
    families = Counter(conversation.family for conversation in MANY)
    assert set(families) == {*FAMILIES, "small talk", "thanks"}
    assert {style for conversation in MANY for style in conversation.styles} == set(STYLES)


def test_prompts_are_varied() -> None:
    prompts = {tuple(turn["content"] for turn in conversation.prompt) for conversation in MANY}
    assert len(prompts) > 0.4 * len(MANY)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_curt_is_shorter_than_thorough(family: str) -> None:
    rng = random.Random(3)
    for _ in range(20):
        _, content = FAMILIES[family][0](rng)
        assert len(say(content, "curt", rng)) < len(say(content, "thorough", rng))


def test_wishes_that_hurt_others_are_declined() -> None:
    rng = random.Random(3)
    for style in STYLES:
        _, content = FAMILIES["refusal"][0](rng)
        answer = say(content, style, rng).lower()
        assert "first," not in answer
        assert "you can " not in answer.split(".")[0]
        assert style in ("partial", "curt") or "will not help" in answer


def test_an_unknown_style_is_refused() -> None:
    _, content = FAMILIES["word"][0](random.Random(0))
    with pytest.raises(ValueError, match="'loud'"):
        say(content, "loud", random.Random(0))


def test_the_demo_prompts_are_distinct_and_always_the_same() -> None:
    prompts = demo_prompts()
    assert prompts == demo_prompts()
    assert len(prompts) == 80
    assert len({prompt["id"] for prompt in prompts}) == len({str(prompt["messages"]) for prompt in prompts}) == 80
    assert len(demo_prompts(100)) == 100
    with pytest.raises(ValueError, match="Between 1 and 100"):
        demo_prompts(101)


def test_the_demo_pairs_can_be_judged() -> None:
    pairs = demo_pairs()
    assert len(pairs) >= 20
    for pair in pairs:
        first, second = pair["completions"]
        assert first != second
        assert first.strip()
        assert second.strip()
        assert pair["prompt"][-1]["role"] == "user"


def test_the_demo_needs_no_torch() -> None:
    code = (
        "import sys; from training.engine.starter.demo import demo_pairs, demo_prompts; demo_pairs(); demo_prompts();"
        "heavy = {'torch', 'transformers', 'tokenizers', 'numpy', 'vllm', 'django'} & set(sys.modules);"
        "print(sorted(heavy))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == "[]\n"
