"""A reward model finds the scorer that its labels were drawn from, and knows how sure it may be."""

from __future__ import annotations

import copy
import math
import random

import pytest
import torch
from scipy import stats

from training.engine.batch import make_batch
from training.engine.evaluation import evaluate
from training.engine.losses import LOSSES
from training.engine.modelfiles import load_reward
from training.engine.objectives import Examples, make_objective
from training.engine.passes import Passes
from training.engine.reward import prepare
from training.engine.trainer import Settings, Trainer
from training.engine.trees import PromptTree

TOKENS = range(10, 22)
QUALITY = dict(zip(TOKENS, (1.6, -1.4, 0.9, -0.2, 0.5, -0.8, 1.2, -1.9, 0.1, -0.5, 2.1, -1.1), strict=True))


def worth(completion):
    """The known scorer: a sum of the worth of its tokens, the end token aside."""
    return sum(QUALITY[token] for token in completion[:-1])


def answers(draw):
    """Two completions to compare."""
    return tuple((*draw.choices(TOKENS, k=draw.randint(2, 4)), 3) for _ in range(2))


def pair(row, completions, **targets):
    return PromptTree(row, (1, 5, 6), completions, {"p": 1.0, "weight": 1.0, "margin": None, **targets})


def sampled_pairs(count, seed):
    """Pairs whose order was drawn from the Bradley–Terry model of the scorer: the first one won."""
    draw = random.Random(seed)
    trees = []
    for row in range(count):
        first, second = answers(draw)
        if draw.random() > 1 / (1 + math.exp(worth(second) - worth(first))):
            first, second = second, first
        trees.append(pair(row, (first, second)))
    return trees


def sampled_with_ties(count, seed, odds):
    """Pairs whose outcome was drawn from Davidson's model of the scorer; a tie is p = ½ with a tie share of one."""
    draw = random.Random(seed)
    trees = []
    for row in range(count):
        both = answers(draw)
        half = (worth(both[0]) - worth(both[1])) / 2
        (outcome,) = draw.choices(("win", "tie", "loss"), (math.exp(half), odds, math.exp(-half)))
        tied = outcome == "tie"
        trees.append(pair(row, both[::-1] if outcome == "loss" else both, p=0.5 if tied else 1.0, tie=float(tied)))
    return trees


def trained(folder, method, trees):
    model, _ = load_reward(folder)
    prepare(model, LOSSES[method], {"heads": 1, "laplace": 0.0}, trees)
    trainer = Trainer(
        model=model,
        # Centring shrinks rewards, and probabilities with them.
        objective=make_objective(method, {"centre": 0.0}),
        examples=Examples(trees),
        settings=Settings(epochs=2, batch_size=32, learning_rate=1e-3, layout="tree"),
        pad_id=0,
    )
    trainer.train()
    return trainer


def tau_against_the_scorer(model):
    fresh = sampled_pairs(150, seed=77)
    with torch.no_grad():
        found = model(make_batch(fresh, layout="tree", pad_id=0)).tolist()
    return stats.kendalltau(found, [worth(one) for tree in fresh for one in tree.completions]).statistic


@pytest.fixture(scope="module")
def judge(tiny_policy_dir):
    """A trainer that is done with pairs drawn from the scorer."""
    torch.set_num_threads(1)
    return trained(tiny_policy_dir, "bradley_terry", sampled_pairs(4000, seed=2))


def test_held_out_completions_are_ranked_as_the_scorer_ranks_them(judge):
    assert tau_against_the_scorer(judge.model) > 0.9


def test_its_probabilities_can_be_believed_until_they_are_exaggerated(judge):
    held_out = Examples(sampled_pairs(2000, seed=78))
    honest = evaluate(judge.passes, held_out)
    assert honest["ece"] < 0.03
    boastful = copy.deepcopy(judge.model)
    with torch.no_grad():
        boastful.head.weight *= 4
    passes = Passes(boastful, judge.passes.objective, layout="tree", dtype="float32", pad_id=0)
    exaggerated = evaluate(passes, held_out)
    assert exaggerated["ece"] > 0.08
    assert exaggerated["brier"] > honest["brier"]
    assert exaggerated["accuracy"] == honest["accuracy"]


def test_a_model_of_ties_finds_the_scorer_and_how_often_equals_tie(tiny_policy_dir):
    model = trained(tiny_policy_dir, "davidson", sampled_with_ties(4000, seed=4, odds=1.5)).model
    assert tau_against_the_scorer(model) > 0.9
    assert model.tie_odds.item() == pytest.approx(1.5, rel=0.2)
