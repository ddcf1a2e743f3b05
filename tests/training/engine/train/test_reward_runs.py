"""Every kind of reward model, end to end: spec in, a model folder out that says the same again."""

from __future__ import annotations

import json

import pytest
import torch

from tests.training.engine.core.helpers import random_trees
from tests.training.engine.train.conftest import result_of, run, write_spec
from training.engine.batch import make_batch
from training.engine.modelfiles import load_reward
from training.engine.reward import fit_laplace, preference
from training.engine.trees import read_trees


def rewrite(spec, change):
    """Puts other rows in the place of the spec's data."""
    for path in json.loads(spec.read_text())["data"].values():
        with open(path) as file:
            rows = [json.loads(line) for line in file]
        with open(path, "w") as file:
            file.writelines(json.dumps(change(index, row)) + "\n" for index, row in enumerate(rows))


def trained(tmp_path, method, folder, change=None, **config):
    """The model of a run and the run's held-out figures."""
    spec = write_spec(tmp_path, method, folder, **{"epochs": 3, "learning_rate": 1e-3, **config})
    if change:
        rewrite(spec, change)
    assert run(spec, tmp_path / "out") == 0
    return load_reward(tmp_path / "out/model")[0], result_of(tmp_path / "out")


@pytest.mark.parametrize("method", ["bradley_terry", "davidson", "rao_kupper"])
def test_a_reward_model_of_pairs_reports_what_it_is_worth(tmp_path, tiny_policy_dir, method):
    model, result = trained(tmp_path, method, tiny_policy_dir)
    figures = result["eval"]["validation"]
    assert figures["accuracy"] > 0.9
    assert {"ece", "brier", "length_correlation", "accuracy_low", "accuracy_high"} <= figures.keys()
    assert 0 <= figures["brier"] < 0.25
    assert set(figures["slices"]) <= {"chosen_longer", "chosen_shorter", "equal_length"}
    assert sum(one["n"] for one in figures["slices"].values()) == figures["decided"]
    assert (model.tie_odds is not None) == (method != "bradley_terry")


def test_ties_of_the_annotators_reach_the_model(tmp_path, tiny_policy_dir):
    def votes(index, row):
        return row | {"p": 0.7, "votes_chosen": 4, "votes_rejected": 0, "votes_tie": 6}

    _, result = trained(tmp_path, "davidson", tiny_policy_dir, votes)
    # Six votes of ten are ties: 2·0.6 / 0.4 = 3 if all were equals, and more because one side is better.
    assert result["eval"]["validation"]["tie_odds"] > 3.0


def test_a_preference_model_reads_pairs_together_and_its_folder_says_so(tmp_path, tiny_policy_dir):
    model, result = trained(tmp_path, "preference_model", tiny_policy_dir, epochs=5)
    assert result["eval"]["validation"]["accuracy"] > 0.9
    assert json.loads((tmp_path / "out/model/reward.json").read_text())["separator"] == [3]
    tree = random_trees(1, 3)[0]
    found = preference(model, tree, layout="tree", pad_id=0)
    torch.testing.assert_close(found + found.T, torch.ones(3, 3))


def test_an_ensemble_and_its_certainty_are_stored_with_the_model(tmp_path, tiny_policy_dir):
    model, result = trained(tmp_path, "bradley_terry", tiny_policy_dir, heads=3, laplace=0.5)
    assert model.outputs.names == ("0", "1", "2")
    assert result["eval"]["validation"]["uncertainty"] > 0
    batch = make_batch(random_trees(3, 2), layout="tree", pad_id=0)
    with torch.no_grad():
        features = model.features(batch)
        assert (model.laplace.variance(features[0::2] - features[1::2]) > 0).all()
        assert model.uncertainty(batch).shape == (6,)
    # It knows of the pairs that it was trained on, and of no others.
    tokenizer = load_reward(tmp_path / "out/model")[1]
    trees, _ = read_trees(tmp_path / "train.jsonl", kind="pairwise", tokenizer=tokenizer, max_length=64)
    again = fit_laplace(model, trees, prior=0.5, layout="padded", pad_id=0, token_budget=4096)
    torch.testing.assert_close(model.laplace.precision, again.precision, rtol=1e-4, atol=1e-4)


def test_rewards_of_tokens_can_be_trained(tmp_path, tiny_policy_dir):
    model, result = trained(tmp_path, "bradley_terry", tiny_policy_dir, pooling="tokens")
    assert model.pooling == "tokens"
    assert result["eval"]["validation"]["accuracy"] > 0.9


def test_groups_of_annotators_that_disagree_each_get_their_own_reward(tmp_path, tiny_policy_dir):
    def disagree(index, row):
        # Contrarians choose what the crowd rejects, for every third pair.
        if index % 3:
            return row | {"group": "crowd"}
        return row | {"group": "contrarians", "chosen": row["rejected"], "rejected": row["chosen"]}

    model, result = trained(tmp_path, "bradley_terry", tiny_policy_dir, disagree, epochs=10)
    assert model.outputs.names == ("contrarians", "crowd")
    assert model.outputs.shares[1] > model.outputs.shares[0] > 0.2
    contrarian, crowd = model.head.weight[1], model.head.weight[2]
    assert torch.cosine_similarity(contrarian, crowd, dim=0) < 0
    slices = result["eval"]["validation"]["slices"]
    assert slices["group:crowd"]["accuracy"] > 0.8
    assert slices["group:contrarians"]["accuracy"] > 0.8
    assert result["loss_last"] < result["loss_first"]


def test_ratings_of_aspects_are_predicted(tmp_path, tiny_policy_dir):
    def rate(index, row):
        polite = row["label"]
        ratings = {"politeness": 5.0 if polite else 1.0} | ({"accuracy": 3.0} if index % 2 else {})
        return {"prompt": row["prompt"], "completion": row["completion"], "ratings": ratings}

    model, result = trained(tmp_path, "regression", tiny_policy_dir, rate, epochs=6)
    assert model.outputs.names == ("accuracy", "politeness")
    assert result["eval"]["validation"]["loss"] < 1.0  # the variance of the ratings of politeness alone is four
    figures = result["eval"]["validation"]
    assert "length_correlation" in figures
    assert (figures["aspects"]["accuracy"]["n"], figures["aspects"]["politeness"]["n"]) == (12, 24)
    assert figures["aspects"]["politeness"]["rmse"] < 1.5
    assert figures["aspects"]["politeness"]["correlation"] > 0.6


def test_thumbs_can_be_regressed(tmp_path, tiny_policy_dir):
    model, result = trained(tmp_path, "regression", tiny_policy_dir, epochs=6, heads=2)
    assert model.outputs.kind == "ensemble"
    figures = result["eval"]["validation"]
    assert figures["loss"] < 0.2  # guessing the share of thumbs up gives a quarter
    assert figures["accuracy"] > figures["accuracy_low"] > 0.6
    assert figures["brier"] < 0.2
    assert "ece" in figures


def test_a_trained_reward_model_is_normalised_on_what_was_held_out(tmp_path, tiny_policy_dir):
    model, result = trained(tmp_path, "bradley_terry", tiny_policy_dir)
    figures = result["eval"]["validation"]
    assert (model.mean, model.std) == (figures["reward"], figures["reward_std"])


def test_settings_that_exclude_each_other_stop_the_run_before_it_learns(tmp_path, tiny_policy_dir, capsys):
    spec = write_spec(tmp_path, "bradley_terry", tiny_policy_dir, heads=2)
    rewrite(spec, lambda index, row: row | {"group": "ab"[index % 2]})
    assert run(spec, tmp_path / "out") != 0
    assert "heads" in capsys.readouterr().err


def test_a_trained_reward_model_can_be_trained_on(tmp_path, tiny_policy_dir):
    first, _ = trained(tmp_path / "first", "davidson", tiny_policy_dir)
    again, result = trained(tmp_path / "second", "davidson", tmp_path / "first/out/model", epochs=1, learning_rate=1e-6)
    assert again.tie_odds.item() == pytest.approx(first.tie_odds.item(), rel=1e-2)
    torch.testing.assert_close(again.head.weight, first.head.weight, atol=1e-3, rtol=0)
    assert result["loss_first"] < 1.0
    assert {"head": "ok"}.items() <= {one["name"]: one["level"] for one in result["checks"]}.items()


def test_a_run_says_that_it_begins_a_new_head(tmp_path, tiny_policy_dir):
    trained(tmp_path / "first", "bradley_terry", tiny_policy_dir, heads=2, epochs=1)
    _, result = trained(tmp_path / "second", "bradley_terry", tmp_path / "first/out/model", epochs=1)
    (head,) = [one for one in result["checks"] if one["name"] == "head"]
    assert head["level"] == "warning"
