"""Answers to other prompts, read behind prompts that were just read: the same numbers, and no prompt twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.training.engine.core.helpers import gradients, one_at_a_time, random_trees
from training.engine.acceleration import recompute_layers
from training.engine.baselines import mismatched_trees
from training.engine.batch import make_batch
from training.engine.continuation import continues, make_continuation, score_and_continue
from training.engine.objectives import Examples, make_objective
from training.engine.passes import Passes
from training.engine.scorer import score
from training.engine.trees import PromptTree


@pytest.fixture
def trees():
    return [
        PromptTree(tree.row, tree.prompt, tree.completions, {"label": tree.row % 2 == 0, "weight": 1.0})
        for tree in random_trees(6, 1, seed=4)
    ]


@pytest.fixture
def others(trees):
    """The completion of the next tree, but for one that has none."""
    shifted = zip(trees, trees[1:] + trees[:1], strict=True)
    found = [replace(tree, completions=other.completions) for tree, other in shifted]
    found[2] = None
    return found


def test_they_have_the_log_probs_of_single_sequences(tiny_policy, trees, others):
    batch = make_batch(trees, layout="tree", pad_id=0)
    scores, found = score_and_continue(tiny_policy, batch, others, pad_id=0, words=7)
    expected = one_at_a_time(tiny_policy, [tree for tree in others if tree])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not found.requires_grad
    torch.testing.assert_close(scores.logp, one_at_a_time(tiny_policy, trees), rtol=1e-5, atol=1e-5)


def test_they_leave_the_gradients_of_the_batch_as_they_are(tiny_policy, trees, others):
    batch = make_batch(trees, layout="tree", pad_id=0)
    score(tiny_policy, batch).logp.square().sum().backward()
    expected = gradients(tiny_policy)
    score_and_continue(tiny_policy, batch, others, pad_id=0)[0].logp.square().sum().backward()
    for name, slope in gradients(tiny_policy).items():
        torch.testing.assert_close(slope, expected[name], rtol=1e-5, atol=1e-5 * float(expected[name].abs().max()))


def test_an_answer_of_one_token_needs_nothing_but_the_prompt(tiny_policy, trees):
    others = [replace(tree, completions=((9 + tree.row,),)) for tree in trees]
    _, found = score_and_continue(tiny_policy, make_batch(trees, layout="tree", pad_id=0), others, pad_id=0)
    torch.testing.assert_close(found, one_at_a_time(tiny_policy, others), rtol=1e-5, atol=1e-5)


def test_where_there_are_none_the_batch_is_read_alone(tiny_policy, trees):
    batch = make_batch(trees, layout="tree", pad_id=0)
    scores, found = score_and_continue(tiny_policy, batch, [None] * 6, pad_id=0)
    assert found.shape == (0,)
    assert torch.equal(scores.logp, score(tiny_policy, batch).logp)


def test_a_completion_behind_the_wrong_prompt_would_show(tiny_policy, trees, others):
    # The control of the tests above.
    batch = make_batch(trees, layout="tree", pad_id=0)
    _, found = score_and_continue(tiny_policy, batch, others, pad_id=0)
    turned = [replace(tree, completions=other.completions) for tree, other in zip(trees, others, strict=True) if other]
    wrong = one_at_a_time(tiny_policy, [replace(tree, prompt=trees[0].prompt) for tree in turned[1:]])
    assert (found[1:] - wrong).abs().min() > 1e-3


@pytest.mark.parametrize(("layout", "completions"), [("packed", 1), ("padded", 1), ("tree", 2)])
def test_batches_of_another_form_are_refused(layout, completions):
    trees = random_trees(2, completions)
    with pytest.raises(ValueError, match="one completion"):
        make_continuation(make_batch(trees, layout=layout, pad_id=0), trees, pad_id=0)


def test_layers_that_are_recomputed_keep_nothing_to_read_behind(tiny_policy):
    assert continues(tiny_policy, pad_id=0)
    recompute_layers(tiny_policy)
    assert not continues(tiny_policy, pad_id=0)


def kto_step(policy, examples, micro_batches):
    """Positions that the first layer read, z₀, loss and gradients of one KTO step."""
    passes = Passes(policy, make_objective("kto", {"beta": 1.0}), layout="tree", dtype="float32", pad_id=0)
    read = []
    hook = policy.model.layers[0].register_forward_hook(lambda module, given, output: read.append(given[0].shape[1]))
    sums = passes.over(examples, micro_batches, backward=True)
    hook.remove()
    return sum(read), passes.baseline.value, sums.mean("loss"), gradients(policy)


def test_a_step_of_one_batch_reads_every_prompt_once_and_learns_the_same(tiny_policy):
    trees = [
        PromptTree(
            row, tuple(range(4 + row, 104 + row)), ((9 + row, 30, 40 + row, 3),), {"label": row < 3, "weight": 1.0}
        )
        for row in range(6)
    ]
    mismatched = mismatched_trees(trees, max_length=200)
    with torch.no_grad():
        # A reference that gives the answers less than the policy does, so that z₀ is not clamped to 0.
        known = [score(tiny_policy, make_batch([tree], layout="tree", pad_id=0)).logp - 1 for tree in trees]
        other = [score(tiny_policy, make_batch([tree], layout="tree", pad_id=0)).logp - 2 for tree in mismatched]
    examples = Examples(trees, known, mismatched, other)
    read, baseline, loss, slopes = kto_step(tiny_policy, examples, [list(range(6))])
    apart_read, apart_baseline, apart_loss, apart_slopes = kto_step(tiny_policy, examples, [[0, 1, 2], [3, 4, 5]])
    assert baseline == pytest.approx(apart_baseline, rel=1e-4)
    assert baseline == pytest.approx(2, rel=1e-3)
    assert loss == pytest.approx(apart_loss, rel=1e-5)
    for name, slope in slopes.items():
        torch.testing.assert_close(slope, apart_slopes[name], rtol=1e-4, atol=1e-6)
    assert read < 0.6 * apart_read
