"""vLLM writes what transformers writes, before and after its weights were replaced.

vLLM runs in one child process for all of these tests: importing it takes long and changes the process it is in.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.training.engine.sample.conftest import END
from training.engine.batch import make_batch
from training.engine.samplers.generate import TransformersSampler
from training.engine.samplers.types import Request, Sample, Sampling
from training.engine.scorer import token_logps
from training.engine.stop import Stop
from training.engine.trees import PromptTree

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed here"),
]

GREEDY = Sampling(n=1, temperature=0.0, max_tokens=24)

CHILD = """
import json, sys
from pathlib import Path
from training.engine.samplers.opening import open_sampler
from training.engine.samplers.types import Request, Sampling
from training.engine.stop import Stop

work, first, second = map(Path, sys.argv[1:])
task = json.loads((work / "task.json").read_text())
requests = [Request(name, tuple(ids)) for name, ids in task["requests"]]
greedy, drawn = Sampling(**task["greedy"]), Sampling(**task["drawn"])
sampler, reason = open_sampler("auto", first, ends=task["ends"], max_length=400, scratch=work / "scratch")

def rows(asked, sampling):
    return [one.as_row() for one in sampler.sample(asked, sampling, stop=Stop())]

found = {"name": sampler.name, "reason": reason, "greedy": rows(requests, greedy), "drawn": rows(requests, drawn)}
found["alone"] = rows(requests[1:2], drawn)
sampler.reload(second)
found["reloaded"] = rows(requests, greedy)
del sampler
sampler, _ = open_sampler("vllm", work / "tied1", ends=task["ends"], max_length=400, scratch=work / "scratch")
sampler.reload(work / "tied2")
found["tied"] = rows(requests, greedy)
(work / "found.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(
    tiny_policy_dir: Path,
    other_policy_dir: Path,
    requests: list[Request],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    work = tmp_path_factory.mktemp("vllm")
    task = {
        "requests": [[request.prompt_id, request.token_ids] for request in requests],
        "greedy": {"n": 1, "temperature": 0.0, "max_tokens": 24},
        "drawn": {"n": 3, "max_tokens": 16, "seed": 4},
        "ends": [END],
    }
    (work / "task.json").write_text(json.dumps(task), encoding="utf-8")
    for name, seed in (("tied1", 1), ("tied2", 2)):
        write_tied(tiny_policy_dir, work / name, seed=seed)
    command = [sys.executable, "-c", CHILD, str(work), str(tiny_policy_dir), str(other_policy_dir)]
    done = subprocess.run(
        command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((work / "found.json").read_text(encoding="utf-8"))
    if found["name"] != "vllm":
        pytest.skip(f"vllm does not run here: {found['reason']}")
    return found | {"tied2": work / "tied2"}


def write_tied(like: Path, folder: Path, *, seed: int) -> None:
    """A policy whose vocabulary projection is its embedding matrix, with random weights, as the starter has it."""
    shutil.copytree(like, folder)
    config = LlamaConfig.from_pretrained(like, tie_word_embeddings=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)


def greedy_of_transformers(model: Path, requests: Sequence[Request]) -> list[Sample]:
    return TransformersSampler(model, ends=[END]).sample(requests, GREEDY, stop=Stop())


def test_auto_takes_vllm_where_it_works(found: dict[str, Any]) -> None:
    assert (found["name"], found["reason"]) == ("vllm", None)


def test_greedy_tokens_equal_those_of_transformers(
    found: dict[str, Any], tiny_policy_dir: Path, requests: list[Request]
) -> None:
    expected = greedy_of_transformers(tiny_policy_dir, requests)
    assert [row["token_ids"] for row in found["greedy"]] == [list(one.token_ids) for one in expected]
    assert [row["finish_reason"] for row in found["greedy"]] == [one.finish_reason for one in expected]
    assert [row["text"] for row in found["greedy"]] == [one.text for one in expected]
    for row, one in zip(found["greedy"], expected, strict=True):
        assert row["token_logprobs"] == pytest.approx(one.token_logprobs, abs=1e-3)


def test_greedy_tokens_equal_those_of_transformers_after_new_weights(
    found: dict[str, Any], other_policy_dir: Path, requests: list[Request]
) -> None:
    assert max(len(request.token_ids) for request in requests) > 2 * 128
    expected = greedy_of_transformers(other_policy_dir, requests)
    assert [row["token_ids"] for row in found["reloaded"]] == [list(one.token_ids) for one in expected]
    assert [row["token_ids"] for row in found["reloaded"]] != [row["token_ids"] for row in found["greedy"]]


def test_new_weights_reach_a_head_that_shares_the_embeddings(found: dict[str, Any], requests: list[Request]) -> None:
    expected = greedy_of_transformers(found["tied2"], requests)
    assert [row["token_ids"] for row in found["tied"]] == [list(one.token_ids) for one in expected]


def test_every_completion_has_a_seed_of_its_own_and_comes_again(found: dict[str, Any]) -> None:
    assert len({row["seed"] for row in found["drawn"]}) == len({str(row["token_ids"]) for row in found["drawn"]}) == 18
    again = [(row["seed"], row["token_ids"]) for row in found["drawn"] if row["prompt_id"] == "p1"]
    assert [(row["seed"], row["token_ids"]) for row in found["alone"]] == again


def test_log_probs_of_vllm_are_those_of_the_scorer(
    found: dict[str, Any], tiny_policy: LlamaForCausalLM, requests: list[Request]
) -> None:
    prompts = {request.prompt_id: request.token_ids for request in requests}
    trees = [PromptTree(0, prompts[row["prompt_id"]], (tuple(row["token_ids"]),), {}) for row in found["drawn"]]
    with torch.no_grad():
        expected = token_logps(tiny_policy, make_batch(trees, layout="padded", pad_id=0, device="cpu"))
    drawn = torch.tensor([logp for row in found["drawn"] for logp in row["token_logprobs"]])
    torch.testing.assert_close(drawn, expected, atol=1e-3, rtol=0)
