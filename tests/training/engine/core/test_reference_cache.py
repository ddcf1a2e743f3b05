"""Reference log-probs are computed once, believed only after a look, and never half-written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.engine.core.helpers import random_trees
from training.engine.batch import make_batch
from training.engine.errors import EngineError
from training.engine.reference import SHARD, VERIFIED, ReferenceCache
from training.engine.scorer import per_completion, score, token_logps

ROOT = Path(__file__).resolve().parents[4]


class Reference:
    """Counts what it is asked; the log-prob of a token is minus a seventh of its id, plus a fault."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.fault = 0.0

    def __call__(self, trees):
        self.asked.append(len(trees))
        return torch.tensor([-token / 7 + self.fault for tree in trees for each in tree.completions for token in each])


@pytest.fixture
def reference():
    return Reference()


def test_the_second_run_computes_only_what_it_verifies(tmp_path, reference):
    trees = random_trees(10, 2)
    first = ReferenceCache(tmp_path, "abc").logps(trees, reference)
    again = ReferenceCache(tmp_path, "abc").logps(trees, reference)
    assert torch.equal(first, again)
    assert reference.asked == [10, VERIFIED]


def test_numbers_are_found_by_token_ids_in_any_order_and_subset(tmp_path, reference):
    trees = random_trees(6, 2)
    ReferenceCache(tmp_path, "abc").logps(trees, reference)
    some = [trees[4], trees[1]]
    assert torch.equal(ReferenceCache(tmp_path, "abc").logps(some, reference), Reference()(some))


def test_within_one_run_nothing_is_computed_twice(tmp_path, reference):
    trees = random_trees(3, 2)
    cache = ReferenceCache(tmp_path, "abc")
    cache.logps([*trees, *trees], reference)
    cache.logps(trees, reference)
    assert reference.asked == [3]
    assert len(cache) == 6


def test_of_a_prompt_with_old_and_new_completions_only_the_new_ones_are_computed(tmp_path, reference):
    trees = random_trees(6, 2)
    ReferenceCache(tmp_path, "abc").logps(
        [replace(tree, completions=tree.completions[:1]) for tree in trees], reference
    )
    asked = []

    def compute(part):
        asked.append([tree.completions for tree in part])
        return reference(part)

    found = ReferenceCache(tmp_path, "abc").logps([*trees, *trees], compute)
    assert torch.equal(found, Reference()([*trees, *trees]))
    verified, new = asked
    assert verified == [tree.completions[:1] for tree in trees[:VERIFIED]]
    assert new == [tree.completions[1:] for tree in trees]


def test_other_weights_and_another_dtype_have_caches_of_their_own(tmp_path, reference):
    trees = random_trees(2, 1)
    for weights, dtype in (("abc", "float32"), ("abd", "float32"), ("abc", "bfloat16")):
        ReferenceCache(tmp_path, weights, dtype=dtype).logps(trees, reference)
    assert reference.asked == [2, 2, 2]


def test_a_cache_that_disagrees_with_the_reference_is_refused(tmp_path, reference):
    trees = random_trees(5, 2)
    ReferenceCache(tmp_path, "abc").logps(trees, reference)
    reference.fault = 0.5
    with pytest.raises(EngineError, match=r"differ.*delete"):
        ReferenceCache(tmp_path, "abc").logps(trees, reference)


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:50], lambda content: content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]],
    ids=["cut short", "one bit"],
)
def test_a_damaged_or_vanished_file_is_computed_again(tmp_path, reference, damage):
    trees = random_trees(5, 2)
    cache = ReferenceCache(tmp_path, "abc")
    expected = cache.logps(trees, reference)
    shard = next(cache.directory.iterdir())
    shard.write_bytes(damage(shard.read_bytes()))
    assert torch.equal(ReferenceCache(tmp_path, "abc").logps(trees, reference), expected)
    next(cache.directory.iterdir()).unlink()
    assert torch.equal(ReferenceCache(tmp_path, "abc").logps(trees, reference), expected)
    assert reference.asked == [5, 5, 5]


def test_a_resumed_run_meets_the_numbers_it_began_with(tmp_path, reference):
    trees = random_trees(5, 2)
    own, shared = tmp_path / "run", tmp_path / "shared"
    first = ReferenceCache(shared, "abc", own=own).logps(trees, reference)
    for shard in shared.rglob("*.safetensors"):
        shard.unlink()
    reference.fault = 1e-5  # another order of additions
    ReferenceCache(shared, "abc").logps(trees, reference)
    assert torch.equal(ReferenceCache(shared, "abc", own=own).logps(trees, reference), first)


def test_what_was_used_longest_ago_goes_when_the_folder_is_full(tmp_path, reference, monkeypatch):
    old, used, new = (random_trees(4, 2, seed=seed) for seed in range(3))
    for age, trees in ((30, old), (20, used)):
        cache = ReferenceCache(tmp_path, f"model {age}")
        cache.logps(trees, reference)
        for shard in cache.directory.iterdir():
            os.utime(shard, (time.time() - age,) * 2)
    sizes = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    monkeypatch.setattr("training.engine.reference.LIMIT_BYTES", sizes + 100)
    ReferenceCache(tmp_path, "model 0").logps(new, reference)
    assert [len(ReferenceCache(tmp_path, f"model {age}")) for age in (30, 20, 0)] == [0, 8, 8]


def test_processes_that_write_at_the_same_time_do_no_harm(tmp_path):
    code = (
        "import sys, torch; sys.path.insert(0, '.');"
        "from tests.training.engine.core.test_reference_cache import Reference;"
        "from tests.training.engine.core.helpers import random_trees;"
        "from training.engine.reference import ReferenceCache;"
        f"[ReferenceCache({str(tmp_path)!r}, 'abc').logps(random_trees(40 + n, 2), Reference()) for n in range(20)]"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    reference = Reference()
    trees = random_trees(59, 2)
    assert torch.equal(ReferenceCache(tmp_path, "abc").logps(trees, reference), Reference()(trees))
    assert reference.asked == [VERIFIED]


def test_a_killed_pass_keeps_what_was_written(tmp_path, reference):
    trees = random_trees(SHARD + 10, 1)

    def killed(part):
        if reference.asked:
            raise KeyboardInterrupt
        return reference(part)

    with pytest.raises(KeyboardInterrupt):
        ReferenceCache(tmp_path, "abc").logps(trees, killed)
    ReferenceCache(tmp_path, "abc").logps(trees, reference)
    assert reference.asked == [SHARD, VERIFIED, 10]


def test_a_log_prob_that_is_no_number_is_refused_with_its_row(tmp_path):
    trees = random_trees(3, 2)

    def broken(part):
        logps = Reference()(part)
        logps[sum(map(len, trees[0].completions)) + 1] = float("nan")
        return logps

    with pytest.raises(EngineError, match="row 1") as refusal:
        ReferenceCache(tmp_path, "abc").logps(trees, broken)
    assert refusal.value.row == 1


def test_dpo_against_the_cached_reference_starts_at_ln_two(tmp_path, tiny_policy):
    from training.engine.losses import LOSSES

    trees = random_trees(9, 2)

    @torch.no_grad()
    def compute(part):
        return token_logps(tiny_policy, make_batch(part, layout="padded", pad_id=0))

    batch = make_batch(trees, layout="tree", pad_id=0)
    tokens = ReferenceCache(tmp_path, "abc").logps(trees, compute)
    scores = score(tiny_policy, batch, reference=per_completion(tokens, batch))
    loss = LOSSES["dpo"].fn(scores[0::2], scores[1::2])
    assert torch.allclose(loss, torch.full((9,), 2.0).log(), atol=1e-5)
