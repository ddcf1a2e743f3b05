"""Reference log-probs are computed once, believed only after a look, and never half-written."""

from __future__ import annotations

import pytest
import torch

from tests.training.engine.core.helpers import random_trees
from training.engine.batch import make_batch
from training.engine.errors import EngineError
from training.engine.reference import SHARD, VERIFIED, ReferenceCache
from training.engine.scorer import score


class Reference:
    """Counts what it is asked; the log-prob of a completion is minus the sum of its tokens, plus a fault."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.fault = 0.0

    def __call__(self, trees):
        self.asked.append(len(trees))
        return torch.tensor([-float(sum(each)) / 7 + self.fault for tree in trees for each in tree.completions])


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


def test_a_damaged_file_is_named(tmp_path, reference):
    trees = random_trees(5, 2)
    cache = ReferenceCache(tmp_path, "abc")
    cache.logps(trees, reference)
    shard = next(cache.directory.iterdir())
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(EngineError, match=shard.name):
        ReferenceCache(tmp_path, "abc")


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
    with pytest.raises(EngineError, match="row 1") as refusal:
        ReferenceCache(tmp_path, "abc").logps(trees, lambda part: torch.tensor([-1.0, -1, -1, float("nan"), -1, -1]))
    assert refusal.value.row == 1


def test_dpo_against_the_cached_reference_starts_at_ln_two(tmp_path, tiny_policy):
    from training.engine.losses import LOSSES

    trees = random_trees(9, 2)

    @torch.no_grad()
    def compute(part):
        return score(tiny_policy, make_batch(part, layout="padded", pad_id=0)).logp

    reference = ReferenceCache(tmp_path, "abc").logps(trees, compute)
    scores = score(tiny_policy, make_batch(trees, layout="tree", pad_id=0), reference=reference)
    loss = LOSSES["dpo"].fn(scores[0::2], scores[1::2])
    assert torch.allclose(loss, torch.full((9,), 2.0).log(), atol=1e-5)
