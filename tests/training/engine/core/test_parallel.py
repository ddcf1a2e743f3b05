"""Two processes over gloo learn what one process learns: the same weights, decisions and checkpoints."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import MambaConfig, MambaForCausalLM

from tests.training.engine.core.parallel_cases import CASES
from training.engine.parallel import World

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def two_processes(tiny_policy_dir, tmp_path_factory):
    """A folder with what each of two processes was left with, for every case."""
    out = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.training.engine.core.parallel_cases", str(tiny_policy_dir), str(out)]
    running = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in running:
        try:
            _, said = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            for one in running:
                one.kill()
            raise
        assert process.returncode == 0, said
    return out


@pytest.mark.parametrize("case", CASES)
def test_two_processes_end_with_the_weights_of_one(two_processes, tiny_policy_dir, tmp_path, case):
    expected = CASES[case](tiny_policy_dir, World(), tmp_path)
    for rank in range(2):
        found = load_file(two_processes / f"{case}-{rank}.safetensors")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            # bfloat16 rounds per micro-batch, and two processes cut a step into other ones.
            tolerance = 5e-3 if case == "bfloat16" else 2e-6
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("case", ["resumed", "sharded resumed"])
def test_a_resumed_run_has_the_bits_of_one_that_never_stopped(two_processes, case):
    plain = case.replace("resumed", "dpo")
    found, never = (load_file(two_processes / f"{name}-0.safetensors") for name in (case, plain))
    for name, value in found.items():
        assert torch.equal(value, never[name]), name


def test_only_the_first_process_keeps_the_batch_that_broke_the_run(two_processes):
    assert [path.name for path in two_processes.glob("bad-*.json")] == ["bad-2-0.json"]


def test_every_group_counts_once_and_every_process_has_as_many():
    groups = [[0, 1, 2], [3], [4, 5]]
    for size in (1, 2, 3, 4, 5, 8):
        shares = [World(rank, size).share(groups) for rank in range(size)]
        assert len({len(share) for share in shares}) == 1
        counted = [index for share in shares for group, counts in share if counts for index in group]
        assert sorted(counted) == list(range(6))
    assert World().share(groups) == [(group, True) for group in groups]
    assert World().share([]) == World(1, 2).share([]) == []  # a step in which nothing could be mismatched


def test_a_policy_that_calls_its_layers_a_backbone_can_be_sharded():
    config = MambaConfig(vocab_size=16, hidden_size=8, num_hidden_layers=1, state_size=2)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        model = MambaForCausalLM(config).eval()
        ids = torch.tensor([[1, 2, 3]])
        expected = model(ids).logits.detach()
        unit = World().wrap(model, shard=True)
        torch.testing.assert_close(unit(lambda policy: policy(ids).logits), expected)
    finally:
        torch.distributed.destroy_process_group()
