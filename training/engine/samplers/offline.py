"""The sampler `vllm`: its offline engine inside this process."""

from __future__ import annotations

import gc
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from training.engine.errors import EngineError
from training.engine.modelfiles import check_model_folder, positions
from training.engine.samplers.types import Request, Sample, Sampling, seed_of
from training.engine.stop import Stop

BLOCK = 128
SEQUENCES = 128
CACHE_LEAST, CACHE_MOST = 64 << 20, 2 << 30


def prepare_environment(scratch: Path) -> None:
    """Set what vLLM reads from the environment; must run before it is imported for the first time.

    What the operator has set already stands.
    """
    # On the CPU vLLM's own choice of cores uses one of two.
    cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
    wanted = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": cores,
        "VLLM_CACHE_ROOT": str(scratch),
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
    }
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


class VllmSampler:
    """A policy in vLLM's engine. float32 on the CPU, where it then draws what transformers would; bfloat16 on a GPU.

    Raises EngineError when vLLM cannot run this model here.
    """

    name = "vllm"

    def __init__(self, model: Path, *, ends: Sequence[int], max_length: int) -> None:
        self._ends = sorted(ends)
        self._length = math.ceil(max_length / BLOCK) * BLOCK
        self._llm = self._open(model)
        self._tokenizer = self._llm.get_tokenizer()

    def _open(self, model: Path) -> Any:
        """vLLM's engine on this model."""
        from vllm import LLM

        length, on_gpu = self._length, torch.cuda.is_available()
        options: dict[str, Any] = {"dtype": "bfloat16"} if on_gpu else _cpu_options(model, length)
        try:
            return LLM(
                model=str(model),
                max_model_len=min(length, positions(_text_config(model))),
                enable_prefix_caching=True,
                enforce_eager=not on_gpu,
                load_format="safetensors",
                trust_remote_code=False,
                seed=0,
                **options,
            )
        except Exception as error:  # an unsupported architecture or head size is reported in many ways
            reason = (str(error).strip().splitlines() or [""])[0]
            raise EngineError(
                f"vLLM cannot run {model.name} here ({type(error).__name__}: {reason[:300]}). Choose the sampler "
                "'transformers'.",
                field="config.sampler",
            ) from error

    def sample(self, requests: Sequence[Request], sampling: Sampling, *, stop: Stop) -> list[Sample]:
        """See `Sampler.sample`. Every completion is a request with its own seed; the cache shares their prompt."""
        from vllm import SamplingParams

        stop.check()
        rows = [(request, index) for request in requests for index in range(sampling.n)]
        seeds = [seed_of(sampling.seed, request.prompt_id, index) for request, index in rows]
        outputs = self._llm.generate(
            [{"prompt_token_ids": list(request.token_ids)} for request, _ in rows],
            [
                SamplingParams(
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    max_tokens=sampling.max_tokens,
                    stop_token_ids=self._ends,
                    seed=seed,
                    logprobs=0,
                    detokenize=False,
                )
                for seed in seeds
            ],
            use_tqdm=False,
        )
        stop.check()
        return [
            self._finished(request.prompt_id, index, seed, output.outputs[0])
            for (request, index), seed, output in zip(rows, seeds, outputs, strict=True)
        ]

    def reload(self, model: Path) -> None:
        """See `Sampler.reload`."""
        check_model_folder(model)
        if _shares_embeddings(model) and not torch.cuda.is_available():
            # The CPU packs its own copy of a head that shares the embeddings, and new weights do not reach it.
            del self._llm
            gc.collect()
            self._llm = self._open(model)
            return
        try:
            self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(model)})
        except Exception as error:
            raise EngineError(f"vLLM cannot take the weights of {model.name}: {error}", field="model") from error
        # Cached keys and values are those of the old weights; prompts of more than one block would mix both.
        if not self._llm.reset_prefix_cache():
            raise EngineError("vLLM did not let go of the old weights' cache; start the run again.", field="model")

    def _finished(self, prompt_id: str, index: int, seed: int, output: Any) -> Sample:
        tokens = tuple(output.token_ids)
        logprobs = tuple(at[token].logprob for at, token in zip(output.logprobs, tokens, strict=True))
        return Sample(
            prompt_id=prompt_id,
            index=index,
            text=self._tokenizer.decode(list(tokens), skip_special_tokens=True),
            token_ids=tokens,
            token_logprobs=logprobs,
            finish_reason=output.finish_reason,
            seed=seed,
        )


def _cpu_options(model: Path, length: int) -> dict[str, Any]:
    """float32, and a cache of known size: left alone, vLLM's CPU build asks for nearly all of the machine's memory."""
    config = _text_config(model)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * heads * size * 4
    one = per_token * length
    cache = max(one + BLOCK * per_token, min(max(one * SEQUENCES, CACHE_LEAST), CACHE_MOST))
    return {"dtype": "float32", "max_num_seqs": SEQUENCES, "kv_cache_memory_bytes": cache}


def _text_config(model: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False).get_text_config()


def _shares_embeddings(model: Path) -> bool:
    """Whether the vocabulary projection is the embedding matrix."""
    return bool(json.loads((model / "config.json").read_text(encoding="utf-8")).get("tie_word_embeddings", False))
