"""What a demo project is filled with: prompts for the starter policy, and pairs that can be judged before it exists.

Standard library only, because the site's `demo` command runs in a process without torch.
"""

from collections import Counter
from typing import Any

from training.engine.starter.grammar import conversations
from training.engine.starter.handwritten import PAIRS

SEED = 20_26
MOST_OF_A_FAMILY = 12


def demo_prompts(count: int = 80) -> list[dict[str, Any]]:
    """`count` distinct prompts as `{"id", "messages"}`, every family among them, the same at every call.

    Raises ValueError for more than 100: the grammar's families would repeat themselves too often.
    """
    if not 1 <= count <= 100:
        raise ValueError("Between 1 and 100 demo prompts can be made.")
    chosen: list[dict[str, Any]] = []
    seen: set[str] = set()
    families: Counter[str] = Counter()
    for conversation in conversations(seed=SEED, count=20 * count):
        question = conversation.prompt[-1]["content"]
        most = 3 if conversation.family in ("thanks", "small talk") else MOST_OF_A_FAMILY
        if question in seen or families[conversation.family] >= most:
            continue
        seen.add(question)
        families[conversation.family] += 1
        chosen.append({"id": f"demo-{len(chosen) + 1:03d}", "messages": [dict(turn) for turn in conversation.prompt]})
        if len(chosen) == count:
            break
    return chosen


def demo_pairs() -> list[dict[str, Any]]:
    """Rows `{"prompt": messages, "completions": [text, text]}` as imports take them, written by hand."""
    return [
        {"prompt": [{"role": role, "content": text} for role, text in turns], "completions": list(answers)}
        for turns, answers in PAIRS
    ]
