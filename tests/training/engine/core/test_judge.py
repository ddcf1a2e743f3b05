"""A trained reward model answers those who have text, and reads it as its training did."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from training.engine.batch import make_batch
from training.engine.errors import EngineError
from training.engine.modelfiles import load_reward, save_reward
from training.engine.reward import Judge, Laplace, Outputs, preference
from training.engine.trees import read_trees

ASKED = [
    ("Why is the sky blue?", ["Air scatters blue light.", "It is not.", "Go away, who cares?"]),
    ([{"role": "user", "content": "Hello!"}], ["Hi."]),
    ("What is the capital of France?", ["It is Paris. Thank you very much!", "The capital of France is the cat."]),
]
SEVERAL = [ASKED[0], ASKED[2]]


@pytest.fixture
def saved(tiny_policy_dir, tmp_path):
    """Saves a reward model with a head from the seed, changed by ``change(model)``, and returns its folder."""

    def save(change=lambda model: None, folder=tiny_policy_dir, **options):
        model, tokenizer = load_reward(folder, **options)
        model.mean, model.std = 0.25, 0.5
        change(model)
        save_reward(model, tokenizer, tmp_path / "reward")
        return tmp_path / "reward"

    return save


def trees_of(folder, write_rows, *, encoder=False):
    """The same prompts and completions, read from a file as for a training."""
    rows = [
        {"prompt": prompt, "completions": completions, "ranks": list(range(len(completions)))}
        for prompt, completions in SEVERAL
    ]
    model, tokenizer = load_reward(folder)
    trees, _ = read_trees(write_rows(rows), kind="listwise", tokenizer=tokenizer, max_length=64, encoder=encoder)
    return model, trees


@pytest.mark.parametrize("backbone", ["tiny_policy_dir", "tiny_encoder_dir"])
def test_rewards_are_the_normalised_values_of_what_training_reads(request, saved, write_rows, backbone):
    folder = saved(folder=request.getfixturevalue(backbone))
    model, trees = trees_of(folder, write_rows, encoder=backbone == "tiny_encoder_dir")
    found = Judge.load(folder).rewards(SEVERAL)
    for one, tree in zip(found, trees, strict=True):
        with torch.no_grad():
            values = model(make_batch([tree], layout="padded", pad_id=0))
        torch.testing.assert_close(one, (values - 0.25) / 0.5, atol=1e-5, rtol=1e-5)


def test_a_reward_does_not_depend_on_what_else_is_asked(saved):
    folder = saved()
    together = Judge.load(folder).rewards(ASKED)
    assert [len(one) for one in together] == [3, 1, 2]
    little = Judge.load(folder, token_budget=1)
    for (prompt, completions), rewards in zip(ASKED, together, strict=True):
        for completion, reward in zip(completions, rewards, strict=True):
            (alone,) = little.rewards([(prompt, [completion])])
            assert alone.item() == pytest.approx(reward.item(), abs=1e-5)


def test_padding_with_the_end_token_changes_no_reward(saved):
    folder = saved()
    before = Judge.load(folder).rewards(ASKED)
    for name, key in (("config.json", "pad_token_id"), ("tokenizer_config.json", "pad_token")):
        settings = json.loads((folder / name).read_text())
        settings[key] = 3 if key == "pad_token_id" else "<|end|>"
        (folder / name).write_text(json.dumps(settings))
    assert load_reward(folder)[1].pad_token_id == 3
    for one, other in zip(Judge.load(folder).rewards(ASKED), before, strict=True):
        assert torch.equal(one, other)


def test_outputs_say_what_a_reward_is_made_of(saved):
    folder = saved(lambda model: model.reset_head(Outputs.aspects(["care", "wit"])))
    judge = Judge.load(folder)
    outputs, rewards = judge.outputs(ASKED), judge.rewards(ASKED)
    assert judge.model.outputs.names == ("care", "wit")
    for one, reward in zip(outputs, rewards, strict=True):
        torch.testing.assert_close((one.mean(1) - 0.25) / 0.5, reward)
        assert not torch.allclose(one[:, 0], one[:, 1])


def test_preferences_are_those_of_the_values(saved):
    folder = saved(lambda model: model.learn_ties("rao_kupper", 0.8))
    judge = Judge.load(folder)
    with torch.no_grad():
        for found, outputs in zip(judge.preferences(ASKED), judge.outputs(ASKED), strict=True):
            win, tie, _ = judge.model.outcomes(outputs - outputs.T).unbind(-1)
            torch.testing.assert_close(found, win + tie / 2)
            assert not found.requires_grad


def test_a_preference_model_compares_and_gives_no_rewards(saved, write_rows):
    def pairwise(model):
        model.separator = (3,)

    folder = saved(pairwise)
    judge = Judge.load(folder, token_budget=60)
    model, trees = trees_of(folder, write_rows)
    for found, tree in zip(judge.preferences(SEVERAL), trees, strict=True):
        torch.testing.assert_close(found, preference(model, tree, layout="padded", pad_id=0), atol=1e-5, rtol=0)
        torch.testing.assert_close(found + found.T, torch.ones_like(found))
        assert (found - 0.5).abs().max() > 1e-3
    for ask in (judge.rewards, judge.outputs):
        with pytest.raises(EngineError, match="ask for preferences"):
            ask(SEVERAL)
    with pytest.raises(EngineError, match="at least 2"):
        judge.preferences(ASKED)
    # The three completions fit one by one, and two of them at once do not.
    longest = max(len(tree.prompt) + len(one) for tree in trees for one in tree.completions)
    with pytest.raises(EngineError, match=f"longer than {longest} tokens"):
        Judge.load(folder, max_length=longest).preferences(SEVERAL)


def test_an_ensemble_is_unsure_of_differences(saved):
    def disagree(model):
        model.reset_head(Outputs.ensemble(4))
        with torch.no_grad():
            model.head.bias += torch.tensor([9.0, -9.0, 0.0, 4.0])  # a level, which no pair can tell

    judge = Judge.load(saved(disagree))
    for found, outputs in zip(judge.uncertainties(ASKED), judge.outputs(ASKED), strict=True):
        differences = outputs[:, None] - outputs[None, :]
        torch.testing.assert_close(found, differences.std(-1) / 0.5)


def test_laplace_is_unsure_of_differences(saved, write_rows):
    root = torch.randn(64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    precision = root @ root.T + torch.eye(64)

    def sure(model):
        model.laplace = Laplace(precision)

    folder = saved(sure)
    model, trees = trees_of(folder, write_rows)
    for found, tree in zip(Judge.load(folder).uncertainties(SEVERAL), trees, strict=True):
        with torch.no_grad():
            features = model.features(make_batch([tree], layout="padded", pad_id=0)).double()
        gaps = features[:, None] - features[None, :]
        variance = torch.einsum("ijd,de,ije->ij", gaps, torch.linalg.inv(precision), gaps)
        torch.testing.assert_close(found.double(), variance.sqrt() / 0.5, rtol=1e-4, atol=1e-5)


def test_tokens_have_rewards_whose_mean_is_that_of_the_completion(saved):
    judge = Judge.load(saved(pooling="tokens"))
    for (_, completions), tokens, rewards in zip(ASKED, judge.token_rewards(ASKED), judge.rewards(ASKED), strict=True):
        for completion, of_one, reward in zip(completions, tokens, rewards, strict=True):
            assert "".join(text for text, _ in of_one) == completion + "<|end|>"
            assert sum(value for _, value in of_one) / len(of_one) == pytest.approx(reward.item(), abs=1e-5)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([("Hello?", ["Hi."]), ("Hello?", ["  "])], "row 1.*completion"),
        ([("Hello?", [])], "at least 1"),
        ([("", ["Hi."])], "prompt"),
        ([("Hello?", ["Hi. " * 500])], "longer than 512 tokens"),
    ],
)
def test_what_cannot_be_read_is_refused(saved, asked, message):
    with pytest.raises(EngineError, match=message):
        Judge.load(saved()).rewards(asked)


def test_what_a_model_does_not_know_is_refused(saved):
    judge = Judge.load(saved(), max_length=20)
    with pytest.raises(EngineError, match="heads above 1"):
        judge.uncertainties(ASKED)
    with pytest.raises(EngineError, match="pooling 'last'"):
        judge.token_rewards(ASKED)
    with pytest.raises(EngineError, match="longer than 20 tokens"):
        judge.rewards(ASKED)


def test_a_policy_is_no_judge(tiny_policy_dir, tmp_path):
    folder = shutil.copytree(tiny_policy_dir, tmp_path / "policy")
    with pytest.raises(EngineError, match="no trained reward model") as refusal:
        Judge.load(folder)
    assert refusal.value.field == "model"
