"""The task `sample`: a policy and prompts in, `completions.jsonl` out."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from training.engine.files import sha256_of
from training.engine.modelfiles import model_folder, positions, weights_sha256
from training.engine.runfolder import RunFolder
from training.engine.samplers.opening import open_sampler
from training.engine.samplers.prompts import Prompts, read_prompts
from training.engine.samplers.shards import Shards
from training.engine.samplers.types import Sampler, Sampling
from training.engine.spec import Spec
from training.engine.stop import Stop

# Completions drawn between two looks at the stop flag: large enough to fill vLLM's batch.
CHUNK = 128
COMPLETIONS = "completions.jsonl"


def run(spec: Spec, folder: RunFolder, *, stop: Stop) -> dict[str, Any]:
    """Sample for every prompt, going on after the chunks that are done; returns result.json's content."""
    sampling = _sampling(spec)
    folder.progress.rewind(-1)
    folder.progress.report(step=0, steps=1, fraction=0.0, message="Reading the prompts.")
    model = model_folder(str(spec.model))
    prompts = _prompts(spec, model, sampling)
    count = len(prompts.requests)
    folder.progress.report(step=0, steps=count, fraction=0.0, message="Loading the policy.")
    stop.check()
    sampler, reason = open_sampler(
        spec.config["sampler"],
        model,
        ends=sorted(prompts.ends),
        max_length=prompts.longest + sampling.max_tokens,
        scratch=folder.checkpoint / "vllm",
    )
    sha256 = weights_sha256(model)
    made_of = {"weights": sha256, "prompts": sha256_of(Path(str(spec.prompts))), "sampler": sampler.name}
    shards = Shards(folder.checkpoint / "shards", made_of)
    figures = _sample_all(sampler, prompts, sampling, shards, folder, stop)
    shards.join(_chunks(count, sampling), folder.path / COMPLETIONS)
    return {
        "sampler": sampler.name,
        "sampler_reason": reason,
        "model_sha256": sha256,
        "prompts": count,
        "prompts_too_long": list(prompts.too_long),
        **figures,
    }


def check(spec: Spec, *, stop: Stop) -> dict[str, Any]:
    """What a run does before it samples: look at the model, read and render every prompt."""
    sampling = _sampling(spec)
    prompts = _prompts(spec, model_folder(str(spec.model)), sampling)
    count = len(prompts.requests)
    return {
        "prompts": count,
        "prompts_too_long": list(prompts.too_long),
        "completions": count * sampling.n,
        "longest_prompt_tokens": prompts.longest,
    }


def _sampling(spec: Spec) -> Sampling:
    return Sampling(**{one.name: spec.config[one.name] for one in fields(Sampling)})


def _prompts(spec: Spec, model: Path, sampling: Sampling) -> Prompts:
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    config = AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    return read_prompts(
        Path(str(spec.prompts)),
        tokenizer=tokenizer,
        positions=positions(config),
        max_tokens=sampling.max_tokens,
    )


def _per_chunk(sampling: Sampling) -> int:
    return max(1, CHUNK // sampling.n)


def _chunks(count: int, sampling: Sampling) -> int:
    return math.ceil(count / _per_chunk(sampling))


def _sample_all(
    sampler: Sampler, prompts: Prompts, sampling: Sampling, shards: Shards, folder: RunFolder, stop: Stop
) -> dict[str, Any]:
    """Draw every chunk that is not there yet and report after each; returns the figures over all of them."""
    count, size = len(prompts.requests), _per_chunk(sampling)
    finished: Counter[str] = Counter()
    tokens, logprob, seconds, drawn = 0, 0.0, 0.0, 0
    for number in range(_chunks(count, sampling)):
        stop.check()
        if not shards.has(number):
            started = time.perf_counter()
            samples = sampler.sample(prompts.requests[number * size : (number + 1) * size], sampling, stop=stop)
            # What the template writes before every answer would stand there twice once it is trained on.
            shards.write(number, [replace(one, text=one.text.removeprefix(prompts.lead)) for one in samples])
            seconds += time.perf_counter() - started
            drawn += sum(len(sample.token_ids) for sample in samples)
        rows = shards.rows(number)
        finished.update(row["finish_reason"] for row in rows)
        tokens += sum(len(row["token_ids"]) for row in rows)
        logprob += sum(row["logprob"] for row in rows)
        done = min((number + 1) * size, count)
        folder.progress.report(
            step=done,
            steps=count,
            fraction=done / count,
            message=f"Sampled for {done} of {count} prompts.",
            metrics={
                "tokens_per_second": drawn / seconds if seconds else math.nan,
                "tokens_per_completion": tokens / finished.total(),
                "logprob": logprob / finished.total(),
            },
        )
    return {
        "completions": finished.total(),
        "tokens": tokens,
        "finish_reasons": dict(finished),
        "logprob": logprob / finished.total(),
        "sample_seconds": seconds,
    }
