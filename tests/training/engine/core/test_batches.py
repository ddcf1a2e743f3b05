"""Trees one behind another, packed trees, padded rows and single sequences are four ways to the same numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.engine.core.helpers import gradients, one_at_a_time, random_trees
from training.engine import batch as batch_module
from training.engine.batch import FREE_PADDING, MULTIPLE, make_batch, micro_batches, plan_steps
from training.engine.scorer import score, token_logps
from training.engine.trees import PromptTree


@pytest.mark.parametrize("completions", [1, 2, 4])
def test_trees_and_padded_rows_and_single_sequences_agree_in_log_probs_and_gradients(tiny_policy, completions):
    trees = random_trees(5, completions, seed=completions)
    weights = torch.linspace(-1, 1, 5 * completions)  # every completion pulls differently, so swaps would show
    expected = one_at_a_time(tiny_policy, trees)
    (expected * weights).sum().backward()
    expected_gradients = gradients(tiny_policy)
    for layout in ("tree", "packed", "padded"):
        logp = score(tiny_policy, make_batch(trees, layout=layout, pad_id=0), words=7).logp
        (logp * weights).sum().backward()
        assert torch.allclose(logp, expected, rtol=1e-5, atol=1e-5), layout
        found = gradients(tiny_policy)
        assert found.keys() == expected_gradients.keys()
        for name, gradient in expected_gradients.items():
            scale = gradient.abs().max()
            assert torch.allclose(found[name], gradient, rtol=1e-5, atol=float(1e-5 * scale) + 1e-7), (layout, name)


@pytest.mark.parametrize("layout", ["tree", "packed"])
def test_a_completion_does_not_see_its_neighbour(tiny_policy, layout):
    tree = random_trees(1, 2, seed=3)[0]
    other = PromptTree(0, tree.prompt, (tree.completions[0], (9, 9, 9, 9)), {})
    first = score(tiny_policy, make_batch([tree], layout=layout, pad_id=0)).logp[0]
    second = score(tiny_policy, make_batch([other], layout=layout, pad_id=0)).logp[0]
    assert torch.allclose(first, second, atol=1e-6)


@pytest.mark.parametrize("layout", ["tree", "packed"])
def test_without_the_segment_mask_the_numbers_differ(tiny_policy, layout):
    # The control of the tests above: a plain causal mask lets the second completion see the first.
    batch = make_batch(random_trees(3, 2), layout=layout, pad_id=0)
    right = token_logps(tiny_policy, batch)
    for mask in [batch.attention_mask] if layout == "packed" else [part.mask for part in batch.parts[:3]]:
        mask.copy_(torch.ones_like(mask).tril())
    assert (token_logps(tiny_policy, batch) - right).abs().max() > 1e-2


@pytest.mark.parametrize("completions", [2, 4])
def test_long_trees_are_cut_into_prompt_and_completions_and_give_the_same_numbers(
    tiny_policy, completions, monkeypatch
):
    trees = random_trees(5, completions, seed=completions)
    weights = torch.linspace(-1, 1, 5 * completions)
    found = []
    for worth in (-1_000_000, 1_000_000):
        monkeypatch.setattr(batch_module, "ANOTHER_PART", worth)
        batch = make_batch(trees, layout="tree", pad_id=0)
        apart = sum(part.behind is not None for part in batch.parts)
        assert apart == (5 * completions if worth < 0 else 0)
        logp = score(tiny_policy, batch).logp
        (logp * weights).sum().backward()
        found.append((logp.detach(), gradients(tiny_policy)))
    (cut, slopes), (whole, others) = found
    torch.testing.assert_close(cut, whole, rtol=1e-5, atol=1e-5)
    for name, slope in slopes.items():
        torch.testing.assert_close(slope, others[name], rtol=1e-5, atol=1e-5 * float(others[name].abs().max()))


def test_a_tree_is_cut_only_where_that_saves_enough():
    long = PromptTree(0, tuple(range(4, 204)), (tuple(range(4, 104)),) * 2, {})
    short = PromptTree(1, tuple(range(4, 64)), (tuple(range(4, 44)),) * 2, {})
    parts = make_batch([short, long], layout="tree", pad_id=0).parts
    assert [part.behind for part in parts] == [None, None, (1, 200), (1, 200), None]
    assert [part.size for part in parts] == [140, 200, 100, 100, 4]


def test_the_pad_id_may_be_the_end_token(tiny_policy):
    trees = [PromptTree(0, (5, 6), ((7, 3), (8, 9, 10, 3)), {}), PromptTree(1, (5,), ((3,), (6, 3)), {})]
    for layout in ("tree", "packed", "padded"):
        with_pad = score(tiny_policy, make_batch(trees, layout=layout, pad_id=0)).logp
        with_end = score(tiny_policy, make_batch(trees, layout=layout, pad_id=3)).logp
        assert torch.equal(with_pad, with_end)


def test_short_trees_share_a_row_and_positions_restart_at_the_end_of_the_prompt():
    trees = [
        PromptTree(0, (10,), ((12, 13), (14,)), {}),
        PromptTree(1, (20,), ((21,),), {}),
        PromptTree(2, (30, 31, 32), ((33,), (34, 35)), {}),
    ]
    batch = make_batch(trees, layout="packed", pad_id=0)
    assert batch.input_ids.tolist() == [[30, 31, 32, 33, 34, 35], [10, 12, 13, 14, 20, 21]]
    assert batch.tokens == 12
    assert batch.padding == 0
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 3, 4], [0, 1, 2, 1, 0, 1]]
    row, column = divmod(int(batch.last[4]), 6)
    assert batch.input_ids[row, column] == 35
    assert batch.position_ids[row, column] == 4
    assert batch.group.tolist() == [0, 0, 1, 2, 2]
    assert batch.length.tolist() == [2, 1, 1, 1, 2]
    assert batch.target.tolist() == [12, 13, 14, 21, 33, 34, 35]
    sources = batch.input_ids.flatten()[batch.source].tolist()
    assert sources == [10, 12, 10, 20, 32, 32, 34]


def test_trees_one_behind_another_leave_nothing_empty_but_what_makes_their_number_round():
    trees = [PromptTree(0, (10,), ((12, 13), (14,)), {}), PromptTree(1, (20, 21), ((22, 23),), {})]
    batch = make_batch(trees, layout="tree", pad_id=0)
    assert batch.input_ids.shape == (1, MULTIPLE)
    assert batch.input_ids[0, :8].tolist() == [10, 12, 13, 14, 20, 21, 22, 23]
    assert batch.position_ids[0, :8].tolist() == [0, 1, 2, 1, 0, 1, 2, 3]
    assert [part.size for part in batch.parts] == [4, 4, MULTIPLE - 8]
    first, *others = [part.mask for part in batch.parts]
    assert first[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]]
    assert others == [None, None]  # one completion sees all that is before it
    assert (batch.tokens, batch.padding) == (8, MULTIPLE - 8)
    assert batch.source.tolist() == [0, 1, 0, 5, 6]
    assert batch.last.tolist() == [2, 3, 7]


def test_shapes_come_again_although_lengths_do_not():
    found = [make_batch(random_trees(9, 2, seed=seed, longest=40), layout="tree", pad_id=0) for seed in range(20)]
    assert len({batch.tokens for batch in found}) > 10
    for batch in found:
        assert batch.input_ids.numel() % MULTIPLE == len(batch.read) % MULTIPLE == 0
        assert batch.padding < MULTIPLE
        assert set(batch.source.tolist()) <= set(batch.read.tolist())
        assert batch.read.tolist() == sorted(set(batch.read.tolist()))


def test_packing_wastes_less_than_padding():
    trees = random_trees(24, 2, seed=5)
    packed = make_batch(trees, layout="packed", pad_id=0)
    padded = make_batch(trees, layout="padded", pad_id=0)
    assert packed.tokens < padded.tokens
    assert packed.padding / packed.input_ids.numel() < 0.2
    assert packed.padding < padded.padding


@pytest.mark.parametrize("layout", ["tree", "packed"])
def test_a_tree_without_a_prompt_cannot_be_packed(layout):
    with pytest.raises(ValueError, match="padded"):
        make_batch([PromptTree(0, (), ((4, 5),), {})], layout=layout, pad_id=0)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 30),
    batch_size=st.integers(1, 9),
    token_budget=st.integers(1, 200),
    seed=st.integers(0, 3),
    epoch=st.integers(0, 3),
    layout=st.sampled_from(["tree", "packed", "padded"]),
)
def test_a_plan_visits_every_tree_once_within_its_budget(count, batch_size, token_budget, seed, epoch, layout):
    trees = random_trees(count, 2, seed=count)
    arguments = {"layout": layout, "batch_size": batch_size, "token_budget": token_budget, "seed": seed, "epoch": epoch}
    steps = plan_steps(trees, **arguments)
    assert steps == plan_steps(trees, **arguments)
    assert sorted(index for step in steps for part in step for index in part) == list(range(count))
    for step in steps:
        assert sum(map(len, step)) <= batch_size + (batch_size > 1)
        for part in step:
            positions = make_batch([trees[index] for index in part], layout=layout, pad_id=0).input_ids.numel()
            assert positions <= token_budget or len(part) == 1


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_a_micro_batch_ends_where_padding_would_cost_more_than_another_pass(layout):
    trees = random_trees(24, 2, seed=8, longest=200)
    tight, loose = (
        [
            make_batch([trees[index] for index in group], layout=layout, pad_id=0)
            for group in micro_batches(trees, range(24), layout=layout, token_budget=10**6, padding=share)
        ]
        for share in (0.1, 1.0)
    )
    for part in tight:
        # What a single tree pads between its own completions cannot be helped.
        assert len(part.trees) == 1 or part.padding <= max(FREE_PADDING, 0.1 * part.input_ids.numel())
    assert len(loose) == 1
    assert len(tight) > 1
    if layout == "padded":
        assert sum(part.padding for part in tight) < loose[0].padding / 2


def test_epochs_and_seeds_deal_differently():
    trees = random_trees(40, 1)
    plans = [
        plan_steps(trees, layout="tree", batch_size=4, token_budget=999, seed=seed, epoch=epoch)
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert plans[0] != plans[1] != plans[2] != plans[0]


def test_a_step_of_one_tree_joins_its_predecessor():
    steps = plan_steps(random_trees(9, 1), layout="tree", batch_size=4, token_budget=999, seed=0, epoch=0)
    assert [sum(map(len, step)) for step in steps] == [4, 5]


def test_the_loss_of_a_step_does_not_depend_on_its_micro_batches(tiny_policy):
    trees = random_trees(8, 2, seed=11)
    sums = []
    for budget in (10_000, 60):
        parts = micro_batches(trees, range(8), layout="tree", token_budget=budget)
        for part in parts:
            batch = make_batch([trees[index] for index in part], layout="tree", pad_id=0)
            (score(tiny_policy, batch).logp.sum() / 8).backward()
        sums.append(gradients(tiny_policy))
    for name, gradient in sums[0].items():
        assert torch.allclose(gradient, sums[1][name], rtol=1e-4, atol=1e-5), name
