"""The sampler that is always there: `generate` of transformers on padded batches, a random stream for each row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from training.engine.errors import EngineError
from training.engine.modelfiles import load_policy
from training.engine.samplers.types import Request, Sample, Sampling, seed_of
from training.engine.stop import Stop

# Rows of one batch: enough to keep two cores busy, few enough for the cache of a long prompt.
ROWS = 64


class TransformersSampler:
    """A policy in this process. float32 on the CPU, bfloat16 on a GPU."""

    name = "transformers"

    def __init__(self, model: Path, *, ends: Sequence[int]) -> None:
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._ends = sorted(ends)
        self._load(model)

    def sample(self, requests: Sequence[Request], sampling: Sampling, *, stop: Stop) -> list[Sample]:
        """See `Sampler.sample`. Rows of similar length share a batch; which ones do never changes what is drawn."""
        rows = [(request, index) for request in requests for index in range(sampling.n)]
        order = sorted(range(len(rows)), key=lambda row: len(rows[row][0].token_ids))
        done: dict[int, Sample] = {}
        for start in range(0, len(rows), ROWS):
            chosen = order[start : start + ROWS]
            drawn = self._batch([rows[row] for row in chosen], sampling, stop)
            done.update(zip(chosen, drawn, strict=True))
        return [done[row] for row in range(len(rows))]

    def reload(self, model: Path) -> None:
        """See `Sampler.reload`."""
        config = self._model.config
        self._load(model)
        if self._model.config.vocab_size != config.vocab_size:
            raise EngineError(f"{model.name} has another vocabulary than the policy before it.", field="model")

    def _load(self, model: Path) -> None:
        dtype = "bfloat16" if self._device == "cuda" else "float32"
        self._model, self._tokenizer = load_policy(model, dtype=dtype, device=self._device)
        # The folder's own generation_config may hold penalties and temperatures that nobody asked for here.
        self._model.generation_config = GenerationConfig()

    @torch.inference_mode()
    def _batch(self, rows: Sequence[tuple[Request, int]], sampling: Sampling, stop: Stop) -> list[Sample]:
        seeds = [seed_of(sampling.seed, request.prompt_id, index) for request, index in rows]
        prompts = [request.token_ids for request, _ in rows]
        width = max(map(len, prompts))
        pad = self._tokenizer.pad_token_id
        padded = [[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        seen = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        drawing = _Drawing(sampling, seeds, stop)
        config = GenerationConfig(
            max_new_tokens=sampling.max_tokens, do_sample=False, eos_token_id=self._ends, pad_token_id=pad
        )
        output = self._model.generate(
            input_ids=torch.tensor(padded, device=self._device),
            attention_mask=torch.tensor(seen, device=self._device),
            generation_config=config,
            logits_processor=LogitsProcessorList([drawing]),
        )
        tokens = output[:, width:].tolist()
        logps = torch.stack(drawing.logps, dim=1).tolist()
        return [
            self._finished(request.prompt_id, index, seed, row, logp)
            for (request, index), seed, row, logp in zip(rows, seeds, tokens, logps, strict=True)
        ]

    def _finished(self, prompt_id: str, index: int, seed: int, tokens: list[int], logps: list[float]) -> Sample:
        end = next((at for at, token in enumerate(tokens) if token in self._ends), None)
        kept = len(tokens) if end is None else end + 1
        return Sample(
            prompt_id=prompt_id,
            index=index,
            text=self._tokenizer.decode(tokens[:kept], skip_special_tokens=True),
            token_ids=tuple(tokens[:kept]),
            token_logprobs=tuple(logps[:kept]),
            finish_reason="length" if end is None else "stop",
            seed=seed,
        )


class _Drawing(LogitsProcessor):
    """Draws the next token of every row from the row's own random stream, and notes its log-prob.

    The choice is handed back as the only token left, so `generate`, told to be greedy, takes it. Dividing
    probabilities by exponential noise and taking the largest is an exact draw (the Gumbel-max trick).
    """

    def __init__(self, sampling: Sampling, seeds: Sequence[int], stop: Stop) -> None:
        self._sampling = sampling
        self._streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._stop = stop
        self.logps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits [R, V] of the next position → the same shape with one finite entry per row."""
        self._stop.check()
        logits = scores.float()
        chosen = self._choose(logits)[:, None]
        self.logps.append(logits.log_softmax(-1).gather(1, chosen)[:, 0])
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)

    def _choose(self, logits: Tensor) -> Tensor:
        if self._sampling.temperature == 0:
            return logits.argmax(-1)
        probabilities = (logits / self._sampling.temperature).softmax(-1)
        if self._sampling.top_p < 1:
            probabilities = _nucleus(probabilities, self._sampling.top_p)
        noise = torch.stack([torch.empty(logits.shape[1]).exponential_(generator=one) for one in self._streams])
        return (probabilities / noise.clamp_min(torch.finfo(torch.float32).tiny).to(logits.device)).argmax(-1)


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Zeroes all but the smallest set of tokens with at least `top_p` of the probability (arXiv:1904.09751)."""
    ordered, positions = probabilities.sort(-1, descending=True)
    # The mass before a token decides, so the most probable token always stays.
    outside = ordered.cumsum(-1) - ordered >= top_p
    outside[:, 0] = False
    return ordered.masked_fill(outside, 0.0).gather(1, positions.argsort(-1))
