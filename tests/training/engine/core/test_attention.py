"""FlexAttention sees what the boolean mask lets it see. There is no backward pass of it on a CPU to test."""

from __future__ import annotations

import pytest
import torch

from tests.training.engine.core.helpers import random_trees
from training.engine.attention import FLEX, mask_for, use_flex
from training.engine.batch import make_batch
from training.engine.errors import EngineError
from training.engine.scorer import score


def test_the_block_mask_is_the_boolean_mask(tiny_policy):
    batch = make_batch(random_trees(5, 2, longest=90), layout="tree", pad_id=0)
    tiny_policy.config._attn_implementation = FLEX
    blocks = mask_for(tiny_policy.config, batch)
    rows, _, width, _ = batch.attention_mask.shape
    index = torch.arange(width)
    for row in range(rows):
        seen = blocks.mask_mod(row, 0, index[:, None], index[None, :])
        assert torch.equal(seen, batch.attention_mask[row, 0])
    hidden = 1 - blocks.to_dense()[:, 0].repeat_interleave(128, 1).repeat_interleave(128, 2)[:, :width, :width]
    assert not (hidden.bool() & batch.attention_mask[:, 0]).any()


def test_other_layouts_and_models_keep_their_mask(tiny_policy):
    batch = make_batch(random_trees(2, 2), layout="tree", pad_id=0)
    assert mask_for(tiny_policy.config, batch) is batch.attention_mask


def test_on_a_cpu_it_is_refused(tiny_policy):
    with pytest.raises(EngineError, match="sdpa"):
        use_flex(tiny_policy, torch.device("cpu"))


@pytest.mark.slow
def test_flex_attention_gives_the_log_probs_of_sdpa(tiny_policy):
    batch = make_batch(random_trees(5, 2), layout="tree", pad_id=0)
    with torch.no_grad():
        expected = score(tiny_policy, batch).logp
        tiny_policy.set_attn_implementation(FLEX)
        assert torch.allclose(score(tiny_policy, batch).logp, expected, atol=1e-4)
