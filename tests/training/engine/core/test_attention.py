"""FlexAttention sees what the boolean mask lets it see. There is no backward pass of it on a CPU to test."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.training.engine.core.helpers import random_trees
from training.engine.attention import FLEX, mask_for, use_flex
from training.engine.batch import make_batch
from training.engine.errors import EngineError
from training.engine.scorer import score
from training.engine.trees import PromptTree


def test_the_block_mask_is_the_boolean_mask(tiny_policy):
    batch = make_batch(random_trees(5, 2, longest=90), layout="packed", pad_id=0)
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
    batch = make_batch(random_trees(2, 2), layout="packed", pad_id=0)
    assert mask_for(tiny_policy.config, batch) is batch.attention_mask
    padded = make_batch(random_trees(2, 1), layout="padded", pad_id=0)
    assert mask_for(tiny_policy.config, padded) is padded.attention_mask


def test_one_completion_to_a_row_needs_no_mask(tiny_policy, monkeypatch):
    batch = make_batch(rows_of_one(5), layout="packed", pad_id=0)
    assert batch.padding
    plain = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def noticing(*tensors, attn_mask=None, is_causal=False, **options):
        plain.append(attn_mask is None and is_causal)
        return attend(*tensors, attn_mask=attn_mask, is_causal=is_causal, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noticing)
    without = score(tiny_policy, batch).logp
    assert any(plain)
    masked = score(tiny_policy, replace(batch, causal=False)).logp
    torch.testing.assert_close(without, masked, rtol=1e-5, atol=1e-5)


def test_several_trees_or_completions_to_a_row_need_their_mask():
    short, long = random_trees(1, 1, longest=3), rows_of_one(1)
    for trees in ([*long, *short, *short], random_trees(3, 2)):
        assert not make_batch(trees, layout="packed", pad_id=0).causal


def rows_of_one(count):
    """Trees of one completion that are too long to share a row, and not all as long."""
    return [PromptTree(row, (5, 6, 7), (tuple(range(4, 24 + row)),), {}) for row in range(count)]


def test_on_a_cpu_it_is_refused(tiny_policy):
    with pytest.raises(EngineError, match="sdpa"):
        use_flex(tiny_policy, torch.device("cpu"))


@pytest.mark.slow
def test_flex_attention_gives_the_log_probs_of_sdpa(tiny_policy):
    batch = make_batch(random_trees(5, 2), layout="packed", pad_id=0)
    with torch.no_grad():
        expected = score(tiny_policy, batch).logp
        tiny_policy.set_attn_implementation(FLEX)
        assert torch.allclose(score(tiny_policy, batch).logp, expected, atol=1e-4)
