"""A reward model knows which model of ties it learnt, says how likely a tie is, and forgets what no longer holds."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.training.engine.core.helpers import random_trees
from training.engine.batch import make_batch
from training.engine.errors import EngineError
from training.engine.losses import LOSSES
from training.engine.losses.reward import davidson_log_probs, rao_kupper_log_probs
from training.engine.modelfiles import load_reward, save_reward
from training.engine.objectives import make_objective
from training.engine.reward import Laplace, preference, prepare
from training.engine.trees import PromptTree

PLAIN = {"heads": 1, "laplace": 0.0}
PROBABILITIES = {"davidson": davidson_log_probs, "rao_kupper": rao_kupper_log_probs}


def pairs():
    targets = {"weight": 1.0, "p": 0.7, "tie": 0.4}
    return [PromptTree(one.row, one.prompt, one.completions, targets) for one in random_trees(4, 2)]


@pytest.mark.parametrize("method", sorted(PROBABILITIES))
def test_a_loaded_model_says_how_likely_a_tie_is(tiny_policy_dir, tmp_path, method):
    model, tokenizer = load_reward(tiny_policy_dir)
    model.learn_ties(method, 0.6)
    save_reward(model, tokenizer, tmp_path / "reward")
    again, _ = load_reward(tmp_path / "reward")
    gap = torch.tensor([-2.0, 0.0, 0.7])
    with torch.no_grad():
        found = again.outcomes(gap)
    torch.testing.assert_close(found, PROBABILITIES[method](gap, 0.6).exp())
    torch.testing.assert_close(found.sum(-1), torch.ones(3))
    assert again.ties == method
    tree = random_trees(1, 3)[0]
    with torch.no_grad():
        values = model(make_batch([tree], layout="tree", pad_id=0))
        win, tie, _ = PROBABILITIES[method](values[0] - values[2], 0.6).exp()
        assert preference(again, tree, layout="tree", pad_id=0)[0, 2].item() == pytest.approx(float(win + tie / 2))


def test_without_ties_there_is_none(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    found = model.outcomes(torch.tensor([[1.5]]))
    torch.testing.assert_close(found, torch.tensor([[[1.5, 0.0, -1.5]]]).sigmoid() * torch.tensor([1.0, 0.0, 1.0]))


def test_a_pair_is_held_against_a_win_and_half_a_tie(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    prepare(model, LOSSES["rao_kupper"], PLAIN, pairs())
    batch = make_batch(pairs(), layout="tree", pad_id=0)
    with torch.no_grad():
        record = make_objective("rao_kupper")(model, batch, reference=None, baseline=None, step=0).record
        values = model(batch)
        win, tie, _ = model.outcomes(values[0::2] - values[1::2]).unbind(-1)
    torch.testing.assert_close(record.probability, win + tie / 2)


def test_a_model_that_is_trained_on_forgets_what_no_longer_holds(tiny_policy_dir, tmp_path):
    model, tokenizer = load_reward(tiny_policy_dir)
    prepare(model, LOSSES["davidson"], PLAIN, pairs())
    odds = model.tie_odds.item()
    model.laplace = Laplace(torch.eye(64))
    prepare(model, LOSSES["rao_kupper"], PLAIN, pairs()[:1])
    assert (model.ties, model.tie_odds.item(), model.laplace) == ("rao_kupper", odds, None)
    prepare(model, LOSSES["bradley_terry"], PLAIN, pairs())
    assert (model.ties, model.tie_odds) == (None, None)
    assert not any("tie" in name for name, _ in model.named_parameters())
    save_reward(model, tokenizer, tmp_path / "reward")
    assert load_file(tmp_path / "reward/reward_head.safetensors").keys() == {"weight", "bias", "mean", "std"}


def test_a_model_that_does_not_learn_these_ties_is_not_trained_on_them(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    model.learn_ties("davidson", 1.0)
    with pytest.raises(ValueError, match="ties"):
        make_objective("rao_kupper")(
            model, make_batch(pairs(), layout="tree", pad_id=0), reference=None, baseline=None, step=0
        )


@pytest.mark.parametrize("told", [None, "thurstone"])
def test_odds_that_belong_to_no_known_model_of_ties_are_refused(tiny_policy_dir, tmp_path, told):
    model, tokenizer = load_reward(tiny_policy_dir)
    model.learn_ties("davidson", 0.6)
    save_reward(model, tokenizer, tmp_path / "reward")
    path = tmp_path / "reward/reward.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"ties": told}))
    with pytest.raises(EngineError, match="model of ties"):
        load_reward(tmp_path / "reward")
