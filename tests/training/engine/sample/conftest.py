"""What the tests of sampling share: prompts of random tokens, a second policy, and a stop that comes by itself."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from training.engine.samplers.types import Request
from training.engine.stop import Stop

END, VOCABULARY = 3, 400


class StopAfter(Stop):
    """Asks to stop at the look after the first `looks`."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._left = looks

    def check(self) -> None:
        self._left -= 1
        self.requested = self._left < 0
        super().check()


@pytest.fixture(scope="session")
def requests() -> list[Request]:
    """Prompts of random tokens, three of them longer than one block of vLLM's cache (128 tokens)."""
    rng = random.Random(11)
    lengths = (3, 20, 140, 21, 300, 270)
    return [
        Request(f"p{number}", (1, *(rng.randrange(4, VOCABULARY) for _ in range(length))))
        for number, length in enumerate(lengths)
    ]


@pytest.fixture(scope="session")
def other_policy_dir(tiny_policy_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny policy with other random weights."""
    import torch
    from transformers import LlamaForCausalLM

    folder = tmp_path_factory.mktemp("other") / "policy"
    shutil.copytree(tiny_policy_dir, folder)
    model = LlamaForCausalLM.from_pretrained(folder)
    generator = torch.Generator().manual_seed(23)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.1, generator=generator)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def write_prompts(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of prompts from questions: `write_prompts(["Hello", …])`."""

    def write(questions: list[str], name: str = "prompts.jsonl") -> Path:
        path = tmp_path / name
        rows = [
            {"id": f"q{number}", "messages": [{"role": "user", "content": question}]}
            for number, question in enumerate(questions)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write
