"""Small worlds in which the true reward is known: the starter's prompts, its own answers, and a rule that scores them.

A world is all that follows from one seed: the start policy, the prompts, the answers and the wrong labels. Pairs,
thumbs, lists, ratings and demonstrations are all made of the same samples, so that methods of different shapes learn
from the same knowledge and can be compared.
"""

import json
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from training.engine.modelfiles import load_policy
from training.engine.rendering import ChatRenderer
from training.engine.samplers.generate import TransformersSampler
from training.engine.samplers.types import Request, Sample, Sampling
from training.engine.starter.grammar import conversations
from training.engine.stop import Stop

KIND_WORDS = ("thank", "please", "happy", "glad", "welcome", "of course", "hope", "great")
ENOUGH_WORDS, MOST_WORDS = 12, 45
TIE = 0.05
NOISE = 0.1
K = 4
LONGEST = 64

Messages = list[dict[str, str]]


def rule(text: str) -> float:
    """The known reward, 0 to 3: finished, polite answers that say enough and not too much."""
    finished = text.rstrip().endswith((".", "!", "?"))
    polite = any(word in text.lower() for word in KIND_WORDS)
    words = len(text.split())
    enough = min(words / ENOUGH_WORDS, 1.0) if words <= MOST_WORDS else MOST_WORDS / words
    return float(finished) + float(polite) + enough


@dataclass(frozen=True)
class Question:
    """A prompt of the grammar and the answer of the grammar that the rule likes best."""

    prompt: Messages
    good: str


@dataclass(frozen=True)
class Answered:
    """A prompt with the start policy's samples and the rule's scores of them."""

    prompt: Messages
    texts: list[str]
    scores: list[float]
    samples: list[Sample]


def questions(count: int, *, seed: int) -> list[Question]:
    """Distinct prompts that have a good answer."""
    found: dict[str, Question] = {}
    for conversation in conversations(seed=seed, count=40 * count, answers=K):
        good = max(conversation.answers, key=rule)
        if rule(good) > 2.5:
            prompt = [dict(turn) for turn in conversation.prompt]
            found.setdefault(json.dumps(prompt), Question(prompt, good))
        if len(found) == count:
            return list(found.values())
    raise ValueError(f"The grammar has no {count} distinct prompts with a good answer.")


class Speaker:
    """Samples from policy folders; every call asks the same prompts with the same random streams."""

    def __init__(self) -> None:
        self._sampler: TransformersSampler | None = None

    def ask(self, folder: Path, prompts: Sequence[Messages], *, n: int, seed: int) -> list[list[Sample]]:
        """`n` samples per prompt at temperature 1, from the prompts as this folder's template renders them."""
        tokenizer = load_policy(folder)[1]
        renderer = ChatRenderer(tokenizer, 2048)
        if self._sampler is None:
            self._sampler = TransformersSampler(folder, ends=sorted(renderer.ends))
        else:
            self._sampler.reload(folder)
        requests = [Request(str(number), renderer.prompt_ids(prompt)) for number, prompt in enumerate(prompts)]
        sampling = Sampling(n=n, max_tokens=LONGEST, seed=seed)
        samples = self._sampler.sample(requests, sampling, stop=Stop())
        return [samples[start : start + n] for start in range(0, len(samples), n)]


def answer(speaker: Speaker, folder: Path, asked: Sequence[Question], *, seed: int) -> list[Answered]:
    """K samples for every question."""
    drawn = speaker.ask(folder, [one.prompt for one in asked], n=K, seed=seed)
    found = []
    for question, samples in zip(asked, drawn, strict=True):
        texts = [sample.text.strip() or "." for sample in samples]
        found.append(Answered(question.prompt, texts, [rule(text) for text in texts], samples))
    return found


def rows(kind: str, answered: Sequence[Answered], columns: frozenset[str], *, seed: int) -> Iterator[dict[str, Any]]:
    """Rows of a kind of dataset, with one label in ten wrong, and the columns that the method asks for."""
    draw = random.Random(f"{seed}:{kind}")
    makers = {"pairwise": _pairs, "binary": _thumbs, "listwise": _lists, "demonstration": _demonstrations}
    return makers[kind](answered, draw, columns)


def _pairs(answered: Sequence[Answered], draw: random.Random, columns: frozenset[str]) -> Iterator[dict[str, Any]]:
    for one in answered:
        for first, second in _matching(one.scores):
            gap = one.scores[first] - one.scores[second]
            if abs(gap) < TIE or one.texts[first] == one.texts[second]:
                if "tie" in columns and one.texts[first] != one.texts[second]:
                    yield {**_pair(one, first, second), "p": 0.5, "tie": 1.0}
                continue
            better, worse = (first, second) if (gap > 0) != (draw.random() < NOISE) else (second, first)
            more = {"p": 1 - NOISE, "gap": abs(gap), "offset": abs(gap)}
            yield _pair(one, better, worse) | {name: more[name] for name in more if name in columns}


def _pair(one: Answered, better: int, worse: int) -> dict[str, Any]:
    return {"prompt": one.prompt, "chosen": one.texts[better], "rejected": one.texts[worse]}


def _matching(scores: Sequence[float]) -> list[tuple[int, int]]:
    """Four samples as two pairs, so that as many as possible are decided."""
    ways = [[(0, 1), (2, 3)], [(0, 2), (1, 3)], [(0, 3), (1, 2)]]
    return max(ways, key=lambda way: sum(abs(scores[a] - scores[b]) >= TIE for a, b in way))


def _thumbs(answered: Sequence[Answered], draw: random.Random, columns: frozenset[str]) -> Iterator[dict[str, Any]]:
    middle = statistics.median(score for one in answered for score in one.scores)
    for one in answered:
        scores = _noisy(one.scores, draw) if "ratings" in columns else one.scores
        for text, score in zip(one.texts, scores, strict=True):
            row = {"prompt": one.prompt, "completion": text, "label": (score > middle) != (draw.random() < NOISE)}
            yield row | ({"ratings": {"rule": score}} if "ratings" in columns else {})


def _lists(answered: Sequence[Answered], draw: random.Random, columns: frozenset[str]) -> Iterator[dict[str, Any]]:
    for one in answered:
        scores = _noisy(one.scores, draw)
        places = sorted(set(scores), reverse=True)
        if len(places) > 1:
            yield {
                "prompt": one.prompt,
                "completions": one.texts,
                "ranks": [places.index(score) for score in scores],
                "rewards": scores,
            }


def _demonstrations(
    answered: Sequence[Answered], draw: random.Random, columns: frozenset[str]
) -> Iterator[dict[str, Any]]:
    """The better half of the samples; a wrong label makes it the worse half."""
    for one in answered:
        order = sorted(range(K), key=lambda k: one.scores[k], reverse=draw.random() >= NOISE)
        for k in order[: K // 2]:
            yield {"prompt": one.prompt, "completion": one.texts[k]}


def _noisy(scores: Sequence[float], draw: random.Random) -> list[float]:
    """Two scores change places in one list of five: about as many pairs of a list are then wrong as of the pairs."""
    found = list(scores)
    if draw.random() < 2 * NOISE:
        a, b = draw.choice(list(combinations(range(len(found)), 2)))
        found[a], found[b] = found[b], found[a]
    return found
