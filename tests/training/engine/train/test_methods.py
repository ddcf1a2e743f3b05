"""What each method does to a model, end to end: spec in, run folder out."""

import json
import math
import random

import pytest
import torch
from safetensors.torch import load_file

from tests.training.engine.train.conftest import curve, mean, result_of, run, write_spec
from training.engine.batch import make_batch
from training.engine.evaluation import wilson_interval
from training.engine.modelfiles import load_policy, load_reward
from training.engine.objectives import Examples, make_objective
from training.engine.precision import has_bfloat16
from training.engine.runfolder import is_done
from training.engine.scorer import score, values
from training.engine.trainer import Settings, Trainer
from training.engine.trees import PromptTree


def test_dpo_starts_at_ln_2_and_its_accuracy_rises(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path, "dpo", tiny_policy_dir, epochs=4, learning_rate=1e-3, batch_size=8)
    assert run(spec, tmp_path / "out") == 0
    steps, result = curve(tmp_path / "out"), result_of(tmp_path / "out")
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert mean([step["accuracy"] for step in steps[-3:]]) > mean([step["accuracy"] for step in steps[:3]])
    assert steps[-1]["accuracy"] > 0.9
    assert result["loss_first"] == steps[0]["loss"]
    assert result["loss_last"] == steps[-1]["loss"] < 0.5
    held_out = result["eval"]["validation"]
    assert held_out["accuracy_low"] < held_out["accuracy"] <= held_out["accuracy_high"]
    assert held_out["n"] == 12
    assert any(check["name"] == "first_loss" for check in result["checks"])
    assert is_done(tmp_path / "out")


def test_every_step_reports_the_metrics_that_the_run_page_draws(tmp_path, tiny_policy_dir):
    pair = {"accuracy", "margin"}
    logp = {"chosen_logp", "rejected_logp"}
    expected = {"sft": set(), "dpo": pair | logp, "kto": pair | logp, "bradley_terry": pair}
    for method, names in expected.items():
        spec = write_spec(tmp_path / method, method, tiny_policy_dir)
        assert run(spec, tmp_path / method / "out") == 0
        always = {"loss", "grad_norm", "learning_rate", "tokens_per_second", "padding"}
        for step in curve(tmp_path / method / "out"):
            assert always | names <= set(step), method


def test_kto_raises_desirable_and_lowers_undesirable_log_probs(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path, "kto", tiny_policy_dir, epochs=3, learning_rate=5e-4, batch_size=8)
    assert run(spec, tmp_path / "out") == 0
    held_out = result_of(tmp_path / "out")["eval"]["validation"]
    assert curve(tmp_path / "out")[0]["loss"] == pytest.approx(0.5, abs=1e-4)
    assert held_out["chosen_reward"] > 0 > held_out["rejected_reward"]
    assert held_out["accuracy"] > 0.8


def test_sft_lowers_the_held_out_loss_per_token(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path, "sft", tiny_policy_dir, epochs=3, learning_rate=1e-3)
    assert run(spec, tmp_path / "out") == 0
    result = result_of(tmp_path / "out")
    assert result["eval"]["validation"]["loss"] < result["loss_first"] - 1
    assert "accuracy" not in result["eval"]["validation"]


def test_an_encoder_becomes_a_reward_model(tmp_path, tiny_encoder_dir):
    spec = write_spec(tmp_path, "bradley_terry", tiny_encoder_dir, epochs=6, learning_rate=3e-3, max_length=64)
    assert run(spec, tmp_path / "out") == 0
    result = result_of(tmp_path / "out")
    assert result["loss_last"] < result["loss_first"]
    stored, _ = load_reward(tmp_path / "out/model")
    assert stored.pooling == "mean"
    assert stored.std == pytest.approx(result["eval"]["validation"]["reward_std"])


def synthetic_trees(count, quality, generator):
    """Pairs of answers of three tokens; the better one has the greater sum of its tokens' hidden qualities."""
    found = []
    for row in range(count):
        answers = [(*generator.sample(range(10, 22), 3), 3) for _ in range(2)]
        first, second = (sum(quality[token] for token in answer[:3]) for answer in answers)
        p = 1 / (1 + math.exp(second - first))
        found.append(PromptTree(row, (1, 5, 6), tuple(answers), {"p": p, "weight": 1.0, "margin": None}))
    return found


def test_a_reward_model_recovers_a_known_scorer(tiny_policy_dir):
    generator = random.Random(3)
    quality = {token: generator.gauss(0, 1.5) for token in range(10, 22)}
    model, _ = load_reward(tiny_policy_dir)
    trainer = Trainer(
        model=model,
        objective=make_objective("bradley_terry"),
        examples=Examples(synthetic_trees(400, quality, generator)),
        settings=Settings(epochs=6, batch_size=32, learning_rate=2e-3, layout="tree"),
        pad_id=0,
    )
    trainer.train()
    fresh = synthetic_trees(60, quality, generator)
    with torch.no_grad():
        found = values(model, make_batch(fresh, layout="tree", pad_id=0)).tolist()
    true = [sum(quality[token] for token in answer[:3]) for tree in fresh for answer in tree.completions]
    assert kendall_tau(found, true) > 0.9


def kendall_tau(left, right):
    """(concordant - discordant) / pairs; there are no ties here."""
    signs = [math.copysign(1, (left[i] - left[j]) * (right[i] - right[j])) for i in range(len(left)) for j in range(i)]
    return mean(signs)


TREES = {
    "pairwise": [
        PromptTree(row, (1, 2 + row, 7), ((8, 9, 5 + row, 3), (6,) * (row + 1) + (3,)), target)
        for row, target in enumerate(
            [
                {"p": 1.0, "weight": 1.0, "margin": 0.3},
                {"p": 0.7, "weight": 0.5, "margin": None},
                {"p": 0.5, "weight": 3.0, "margin": None},
                {"p": 0.9, "weight": 1.0, "margin": 1.0},
                {"p": 1.0, "weight": 2.0, "margin": None},
            ]
        )
    ],
    "single": [
        PromptTree(row, (1, 2 + row, 7), ((6,) * (row + 1) + (3,),), {"label": row % 2 == 0, "weight": 1.0 + row})
        for row in range(5)
    ],
}


def gradients(method, folder, token_budget, layout):
    """Gradients of one step over five trees, when a pass may hold so many tokens."""
    trees = TREES["pairwise" if method in ("dpo", "bradley_terry") else "single"]
    model = load_reward(folder)[0] if method == "bradley_terry" else load_policy(folder)[0]
    reference = [torch.full((len(tree.completions),), -20.0 - tree.row) for tree in trees]
    swapped = [PromptTree(0, tree.prompt, trees[i - 1].completions, {"weight": 1.0}) for i, tree in enumerate(trees)]
    far = [torch.full((1,), -60.0) for _ in trees]
    examples = Examples(trees, reference, swapped, far) if method == "kto" else Examples(trees, reference)
    settings = Settings(batch_size=5, token_budget=token_budget, layout=layout)
    trainer = Trainer(model=model, objective=make_objective(method), examples=examples, settings=settings, pad_id=0)
    sums = trainer.passes.over(examples, trainer.plan(0)[0], backward=True)
    return len(trainer.plan(0)[0]), sums.mean("loss"), [one.grad.clone() for one in model.parameters()]


@pytest.mark.parametrize("method", ["sft", "dpo", "kto", "bradley_terry"])
def test_the_gradient_does_not_depend_on_how_a_step_is_cut_into_micro_batches(method, tiny_policy_dir):
    whole, loss, expected = gradients(method, tiny_policy_dir, 4096, "tree")
    assert whole == 1
    for budget, layout in ((1, "tree"), (24, "padded"), (1, "padded")):
        parts, other, found = gradients(method, tiny_policy_dir, budget, layout)
        assert parts > 1
        assert other == pytest.approx(loss, rel=1e-5)
        scale = max(float(one.abs().max()) for one in expected)
        for one, two in zip(expected, found, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("method", ["dpo", "bradley_terry"])
def test_bfloat16_arithmetic_learns_too_and_keeps_float32_weights(tmp_path, tiny_policy_dir, method):
    spec = write_spec(tmp_path, method, tiny_policy_dir, dtype="bfloat16", epochs=3, learning_rate=1e-3)
    assert run(spec, tmp_path / "out") == 0
    result = result_of(tmp_path / "out")
    assert result["loss_last"] < result["loss_first"] - 0.1
    kept = load_file(tmp_path / "out/model/model.safetensors")
    assert all(value.dtype == torch.float32 for value in kept.values())
    (told,) = [check for check in result["checks"] if check["name"] == "arithmetic"]
    assert told["level"] == ("ok" if has_bfloat16(torch.device("cpu")) else "warning")


def test_the_values_of_a_reward_model_are_finer_than_bfloat16(tiny_policy_dir):
    model, _ = load_reward(tiny_policy_dir)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = values(model, make_batch(TREES["pairwise"], layout="tree", pad_id=0))
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())


def test_the_reference_is_another_model_where_the_spec_names_one(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path / "sft", "sft", tiny_policy_dir, learning_rate=1e-3)
    assert run(spec, tmp_path / "sft/out") == 0
    path = write_spec(tmp_path / "dpo", "dpo", tiny_policy_dir)
    document = json.loads(path.read_text()) | {"reference": str(tmp_path / "sft/out/model")}
    path.write_text(json.dumps(document))
    assert run(path, tmp_path / "dpo/out") == 0
    result = result_of(tmp_path / "dpo/out")
    assert abs(result["loss_first"] - math.log(2)) > 1e-3
    assert not any(check["name"] == "first_loss" for check in result["checks"])


def test_a_trained_policy_opens_again_with_the_log_probs_it_was_saved_with(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path, "dpo", tiny_policy_dir, learning_rate=1e-3)
    assert run(spec, tmp_path / "out") == 0
    before, _ = load_policy(tiny_policy_dir)
    after, _ = load_policy(tmp_path / "out/model")
    batch = make_batch(TREES["single"], layout="tree", pad_id=0)
    with torch.no_grad():
        assert not torch.equal(score(before, batch).logp, score(after, batch).logp)


def test_the_loss_at_the_reference_is_ln_2_for_any_soft_label():
    assert make_objective("dpo").first_loss(TREES["pairwise"]) == pytest.approx(math.log(2))
    weights = {"desirable_weight": 2.0, "undesirable_weight": 1.0}
    labels = [(tree.targets["label"], tree.targets["weight"]) for tree in TREES["single"]]
    expected = sum(weight * (1.0 if up else 0.5) for up, weight in labels) / sum(weight for _, weight in labels)
    assert make_objective("kto", weights).first_loss(TREES["single"]) == pytest.approx(expected)


def test_a_loss_that_looks_at_the_certainty_of_the_policy_begins_where_the_model_says(tmp_path, tiny_policy_dir):
    assert make_objective("wpo").first_loss(TREES["pairwise"]) is None
    assert run(write_spec(tmp_path, "wpo", tiny_policy_dir), tmp_path / "out") == 0
    assert 0 < result_of(tmp_path / "out")["loss_first"] < math.log(2)


def test_wilson_intervals_are_those_of_the_textbook():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I, method 3
    assert wilson_interval(10, 10)[1] == pytest.approx(1.0)
