"""Before training the reference reads every prompt once and scores every completion once, whatever rows they are in."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.engine.core.helpers import one_at_a_time, random_trees
from training.engine.baselines import mismatched_trees
from training.engine.objectives import Examples, make_objective
from training.engine.passes import Passes
from training.engine.reference import ReferenceCache
from training.engine.referencepass import ReferencePass, by_prompt
from training.engine.trees import PromptTree


def pairs_of(trees):
    """Every pair of every tree as a tree of its own, in no order."""
    pairs = [replace(tree, completions=pair) for tree in trees for pair in combinations(tree.completions, 2)]
    return random.Random(0).sample(pairs, len(pairs))


@pytest.fixture
def watched(tiny_policy, tmp_path):
    """A pass of the tiny policy over examples, and the trees that the model was given meanwhile."""

    class Watched:
        def __init__(self, method, *, layout="tree"):
            self.read, self.shares = [], []
            objective = make_objective(method)
            self.passes = Passes(tiny_policy, objective, layout=layout, dtype="float32", pad_id=0, token_budget=256)
            plain = self.passes.token_logps

            def token_logps(trees):
                self.read += trees
                return plain(trees)

            self.passes.token_logps = token_logps
            self.over = ReferencePass(self.passes, ReferenceCache(tmp_path, "abc"), between=self.shares.append).over

    return Watched


def test_the_pairs_of_a_list_are_read_behind_one_prompt(watched, tiny_policy):
    rows = pairs_of(random_trees(5, 4))
    one = watched("dpo")
    found = one.over(Examples(rows)).reference
    assert len(rows) == 30
    assert len(one.read) == 5
    assert sum(len(tree.completions) for tree in one.read) == 20
    assert torch.allclose(torch.cat(found), one_at_a_time(tiny_policy, rows), atol=1e-4)
    assert one.shares == sorted(one.shares)
    assert one.shares[-1] == 1


def test_padded_rows_which_repeat_the_prompt_have_one_completion_each(watched, tiny_policy):
    rows = pairs_of(random_trees(3, 4))
    one = watched("dpo", layout="padded")
    found = one.over(Examples(rows)).reference
    assert [len(tree.completions) for tree in one.read] == [1] * 12
    assert torch.allclose(torch.cat(found), one_at_a_time(tiny_policy, rows), atol=1e-4)


def test_thumbs_of_the_same_prompt_share_it_with_the_answers_to_others(watched, tiny_policy):
    rows = [replace(tree, completions=(each,)) for tree in random_trees(6, 2) for each in tree.completions]
    mismatched = mismatched_trees(rows, max_length=100)
    one = watched("kto")
    found = one.over(Examples(rows, mismatched=mismatched))
    assert len(one.read) == 6
    assert torch.allclose(torch.cat(found.reference), one_at_a_time(tiny_policy, rows), atol=1e-4)
    assert torch.allclose(torch.cat(found.mismatched_reference), one_at_a_time(tiny_policy, mismatched), atol=1e-4)


def test_what_has_no_mismatched_answer_has_no_reference_of_one(watched):
    rows = random_trees(3, 1)
    found = watched("kto").over(Examples(rows, mismatched=[rows[1], None, rows[0]])).mismatched_reference
    assert [one is None for one in found] == [False, True, False]
    assert watched("kto").over(Examples(rows)).mismatched_reference is None


def test_a_method_that_looks_at_tokens_gets_them(watched):
    rows = pairs_of(random_trees(2, 3))
    found = watched("ld_dpo").over(Examples(rows)).reference
    assert [len(one) for one in found] == [sum(map(len, tree.completions)) for tree in rows]


tokens = st.lists(st.integers(4, 6), min_size=1, max_size=6).map(tuple)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([(1,), (2, 2), (3,) * 5]), st.lists(tokens, min_size=1, max_size=3))),
    st.integers(1, 20),
)
def test_nothing_is_lost_or_repeated_and_no_tree_grows_beyond_the_budget(given, most):
    trees = [PromptTree(row, prompt, tuple(said), {}) for row, (prompt, said) in enumerate(given)]
    grown = by_prompt(trees, most=most)
    found = [(tree.prompt, completion) for tree in grown for completion in tree.completions]
    assert len(found) == len(set(found))
    assert set(found) == {(tree.prompt, completion) for tree in trees for completion in tree.completions}
    assert all(tree.size <= most or len(tree.completions) == 1 for tree in grown)
    for tree in grown:
        assert tree.completions[0] in trees[tree.row].completions
        assert tree.prompt == trees[tree.row].prompt


def test_with_room_for_all_every_prompt_stands_once():
    trees = pairs_of(random_trees(4, 4))
    assert [tree.prompt for tree in by_prompt(trees, most=10_000)] == list(dict.fromkeys(one.prompt for one in trees))
