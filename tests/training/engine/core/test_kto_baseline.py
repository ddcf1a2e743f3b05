"""The baseline of KTO is measured on completions that answer other prompts, never on their own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.engine.baselines import KtoBaseline, mismatched_trees
from training.engine.trees import PromptTree


def tree(row, prompt, completion):
    return PromptTree(row, (1, prompt), ((2, completion, 3),), {"label": True, "weight": 1.0})


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(10, 14), st.integers(20, 24)), min_size=1, max_size=12))
def test_no_completion_meets_its_own_prompt_or_its_own_text(pairs):
    trees = [tree(row, *pair) for row, pair in enumerate(pairs)]
    mismatched = mismatched_trees(trees, max_length=100)
    assert len(mismatched) == len(trees)
    for own, other in zip(trees, mismatched, strict=True):
        if other is not None:
            assert other.prompt == own.prompt
            assert other.completions != own.completions
            answered = [each.prompt for each in trees if each.completions == other.completions]
            assert any(prompt != own.prompt for prompt in answered)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 8, 101])
def test_with_distinct_prompts_every_completion_is_used_exactly_once(count):
    trees = [tree(row, 100 + row, 200 + row) for row in range(count)]
    mismatched = mismatched_trees(trees, max_length=100)
    assert sorted(each.completions for each in mismatched) == sorted(each.completions for each in trees)


def test_neighbours_about_the_same_prompt_are_kept_apart():
    # Exports list the thumbs of one prompt side by side: a shift by one would match half of them.
    trees = [tree(row, 10 + row // 2, 20 + row) for row in range(8)]
    assert None not in mismatched_trees(trees, max_length=100)


def test_a_single_tree_and_a_single_prompt_have_no_partner():
    assert mismatched_trees([tree(0, 10, 20)], max_length=100) == [None]
    assert mismatched_trees([tree(row, 10, 20 + row) for row in range(3)], max_length=100) == [None] * 3


def test_pairs_that_would_be_too_long_are_left_out():
    trees = [PromptTree(0, (1,) * 9, ((2,),), {}), PromptTree(1, (3,), ((4,) * 9,), {})]
    mismatched = mismatched_trees(trees, max_length=10)
    assert mismatched[0] is None
    assert mismatched[1].completions == ((2,),)


def test_the_mean_is_clamped_after_it_is_taken():
    baseline = KtoBaseline()
    value = baseline.update(torch.tensor([-1.0, -5.0]), torch.tensor([-4.0, -4.0]))
    assert value.item() == 1.0  # (3 - 1) / 2; clamping each first would give 1.5
    assert baseline.update(torch.tensor([-9.0]), torch.tensor([-4.0])).item() == 0.0


def test_a_step_without_partners_keeps_the_value_of_the_step_before():
    baseline = KtoBaseline()
    baseline.update(torch.tensor([-1.0]), torch.tensor([-3.0]))
    assert baseline.update(torch.empty(0), torch.empty(0)).item() == 2.0


def test_the_state_survives_a_checkpoint_exactly():
    baseline, other = KtoBaseline(), KtoBaseline()
    baseline.update(torch.tensor([-1.0, -1.3]), torch.tensor([-3.0, -2.0]))
    other.load_state_dict(baseline.state_dict())
    assert torch.equal(other.current(), baseline.current())
    assert not other.current().requires_grad
