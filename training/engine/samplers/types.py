"""What every sampler takes and gives, and the seeds that make each completion repeatable by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from training.engine.stop import Stop


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample: names, bounds and meanings are those of `spec.SAMPLE_CONFIG`. Temperature 0 is greedy."""

    n: int = 2
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 96
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """A rendered prompt: the token ids that stand before the completion."""

    prompt_id: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion as it was drawn, never tokenised again.

    `token_ids` holds the end token when `finish_reason` is "stop"; with "length" the completion was cut.
    `token_logprobs` [len(token_ids)] are natural log-probs under the policy itself, before temperature and top-p: what
    the scorer gives for the same tokens, and what an importance ratio needs.
    """

    prompt_id: str
    index: int
    text: str
    token_ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    finish_reason: str
    seed: int

    @property
    def logprob(self) -> float:
        """Log-prob of the whole completion, end token included."""
        return sum(self.token_logprobs)

    def as_row(self) -> dict[str, Any]:
        """The row of completions.jsonl."""
        return {
            "prompt_id": self.prompt_id,
            "index": self.index,
            "text": self.text,
            "token_ids": list(self.token_ids),
            "logprob": self.logprob,
            "token_logprobs": list(self.token_logprobs),
            "finish_reason": self.finish_reason,
            "seed": self.seed,
        }


class Sampler(Protocol):
    """A loaded policy that writes completions."""

    name: str

    def sample(self, requests: Sequence[Request], sampling: Sampling, *, stop: Stop) -> list[Sample]:
        """`sampling.n` completions of each request, in the order of the requests and of their index.

        Raises Cancelled when `stop` is asked for meanwhile.
        """
        ...

    def reload(self, model: Path) -> None:
        """Take the weights of another folder; EngineError when architecture or tokenizer do not fit."""
        ...


def seed_of(seed: int, prompt_id: str, index: int) -> int:
    """The seed of one completion, below 2**48.

    One seed shared by a batch gives every prompt the same noise, and a seed by position in the batch changes when the
    work is cut otherwise; this one depends on nothing but the run's seed, the prompt and the index.
    """
    digest = hashlib.sha256(f"{seed}:{index}:{prompt_id}".encode()).digest()
    return int.from_bytes(digest[:6], "big")
