"""Whatever goes wrong ends in one sentence, a code and no half-written result."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tests.training.engine.train.conftest import result_of, run, write_spec
from training.engine.cli import CRASHED, REFUSED, main
from training.engine.files import read_json
from training.engine.modelfiles import load_policy, save_policy
from training.engine.runfolder import is_done


def test_a_nan_stops_the_run_names_the_rows_and_keeps_the_batch(tmp_path, tiny_policy_dir, capsys):
    model, tokenizer = load_policy(tiny_policy_dir)
    token = tokenizer("Z", add_special_tokens=False)["input_ids"][0]
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = float("nan")
    save_policy(model, tokenizer, tmp_path / "broken")
    spec = write_spec(tmp_path / "in", "sft", tmp_path / "broken", batch_size=4, token_budget=64)
    data = tmp_path / "in/train.jsonl"
    rows = data.read_text().replace("country 13?", "Z?")
    data.write_text(rows)

    assert run(spec, tmp_path / "out") == REFUSED
    kept = read_json(tmp_path / "out/bad_batch.json")
    error = read_json(tmp_path / "out/error.json")
    assert 13 in [example["row"] for example in kept["examples"]]
    assert len(kept["examples"]) < 4
    assert kept["loss"] == "nan"
    assert "not a finite number" in error["message"]
    assert "13" in error["message"]
    assert error["field"] == "config.learning_rate"
    assert "Traceback" not in capsys.readouterr().err
    assert not is_done(tmp_path / "out")

    data.write_text(rows.replace("Z?", "country 13?"))
    assert run(spec, tmp_path / "out") == 0
    assert not (tmp_path / "out/bad_batch.json").exists()


def test_a_full_disk_ends_in_a_sentence(tmp_path, tiny_policy_dir, capsys):
    spec = write_spec(tmp_path / "in", "sft", tiny_policy_dir)
    out = tmp_path / "out"
    out.mkdir()
    (out / "result.json.partial").symlink_to("/dev/full")
    assert run(spec, out) == REFUSED
    assert "is full" in read_json(out / "error.json")["message"]
    assert "Traceback" not in capsys.readouterr().err


def test_a_disk_too_full_even_for_the_reason_still_ends_in_a_sentence(tmp_path, tiny_policy_dir, capsys, monkeypatch):
    spec = write_spec(tmp_path / "in", "sft", tiny_policy_dir)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.engine.runfolder.RunFolder.finish", full)
    monkeypatch.setattr("training.engine.runfolder.RunFolder.refuse", full)
    assert run(spec, tmp_path / "out") == REFUSED
    said = capsys.readouterr().err
    assert "is full" in said
    assert "cannot be kept" in said
    assert "Traceback" not in said


def test_an_out_that_is_a_file_ends_in_a_sentence(tmp_path, tiny_policy_dir, capsys):
    spec = write_spec(tmp_path / "in", "sft", tiny_policy_dir)
    (tmp_path / "out").write_text("")
    assert run(spec, tmp_path / "out") == REFUSED
    assert "cannot be written" in capsys.readouterr().err


def test_an_unforeseen_error_keeps_its_traceback_in_the_log_and_out_of_sight(
    tmp_path, tiny_policy_dir, capsys, monkeypatch
):
    spec = write_spec(tmp_path / "in", "sft", tiny_policy_dir)
    monkeypatch.setattr("training.engine.trainer.Trainer.train", lambda self: 1 / 0)
    assert run(spec, tmp_path / "out") == CRASHED
    assert "Traceback" not in capsys.readouterr().err
    assert "ZeroDivisionError" in (tmp_path / "out/crash.log").read_text()
    assert "ZeroDivisionError" in read_json(tmp_path / "out/error.json")["message"]


def test_a_bad_row_is_named_in_error_json_and_forgotten_once_it_is_mended(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path / "in", "dpo", tiny_policy_dir)
    data = tmp_path / "in/train.jsonl"
    good = data.read_text()
    rows = [json.loads(line) for line in good.splitlines()]
    rows[5]["rejected"] = ""
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(spec, tmp_path / "out") == REFUSED
    error = read_json(tmp_path / "out/error.json")
    assert (error["row"], error["field"]) == (5, "rejected")
    data.write_text(good)
    assert run(spec, tmp_path / "out") == 0
    assert not (tmp_path / "out/error.json").exists()
    assert is_done(tmp_path / "out")


def test_kto_with_one_prompt_only_is_refused_because_there_is_no_baseline(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path / "in", "kto", tiny_policy_dir)
    data = tmp_path / "in/train.jsonl"
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    data.write_text("".join(json.dumps(row | {"prompt": rows[0]["prompt"]}) + "\n" for row in rows))
    assert run(spec, tmp_path / "out") == REFUSED
    assert "baseline" in read_json(tmp_path / "out/error.json")["message"]


def test_a_gpu_that_is_not_there_is_refused(tmp_path, tiny_policy_dir):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    spec = write_spec(tmp_path / "in", "sft", tiny_policy_dir, device="cuda")
    assert run(spec, tmp_path / "out") == REFUSED
    assert read_json(tmp_path / "out/error.json")["field"] == "config.device"


def test_a_layout_that_an_encoder_cannot_have_is_refused(tmp_path, tiny_encoder_dir):
    spec = write_spec(tmp_path / "in", "bradley_terry", tiny_encoder_dir, layout="tree", max_length=64)
    assert run(spec, tmp_path / "out") == REFUSED
    assert read_json(tmp_path / "out/error.json")["field"] == "config.layout"


def test_a_dry_run_says_what_it_found_and_writes_nothing(tmp_path, tiny_policy_dir, capsys):
    spec = write_spec(tmp_path / "in", "dpo", tiny_policy_dir)
    before = sorted(tmp_path.rglob("*"))
    assert main(["run", str(spec), "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["check", str(spec)]) == 0
    assert sorted(tmp_path.rglob("*")) == before
    assert found["first_loss"] == pytest.approx(0.693147, abs=1e-4)
    assert found["steps"] == 3
    assert found["data"]["train"]["used"] == 24
    assert {check["name"] for check in found["checks"]} >= {"train.boundary", "length_bias", "validation.overlap"}


def test_a_dry_run_of_kto_has_the_answers_to_other_prompts_of_the_whole_run(tmp_path, tiny_policy_dir, capsys):
    spec = write_spec(tmp_path / "in", "kto", tiny_policy_dir, batch_size=1)
    assert main(["check", str(spec)]) == 0
    assert json.loads(capsys.readouterr().out)["first_loss"] == pytest.approx(0.5, abs=1e-4)


def test_rows_for_which_the_model_has_no_positions_are_left_out_and_counted(tmp_path, tiny_policy_dir):
    config = GPT2Config(vocab_size=400, n_embd=32, n_layer=1, n_head=2, n_positions=46, bos_token_id=1, eos_token_id=3)
    shutil.copytree(tiny_policy_dir, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "model")
    spec = write_spec(tmp_path / "in", "dpo", tmp_path / "model", batch_size=12)
    assert run(spec, tmp_path / "out") == 0
    read = result_of(tmp_path / "out")["data"]["train"]
    assert 0 < read["used"] < read["rows"]
    assert read["longest"] <= read["max_length"] == 46
    assert read["dropped_too_long"] == read["rows"] - read["used"]


def test_a_run_without_a_folder_is_refused(tmp_path, tiny_policy_dir, capsys):
    spec = write_spec(tmp_path / "in", "dpo", tiny_policy_dir)
    assert main(["run", str(spec)]) == REFUSED
    assert "--out" in capsys.readouterr().err


def test_train_makes_the_same_spec_from_options(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path / "in", "dpo", tiny_policy_dir, learning_rate=1e-4, beta=0.2)
    data = [f"train={tmp_path / 'in/train.jsonl'}", f"validation={tmp_path / 'in/validation.jsonl'}"]
    settings = ["--learning-rate", "1e-4", "--beta", "0.2", "--out", str(tmp_path / "out")]
    options = ["--method", "dpo", "--model", str(tiny_policy_dir), "--data", data[0], "--data", data[1], *settings]
    assert main(["train", *options]) == 0
    assert run(spec, tmp_path / "out") == 0  # the folder of another spec would be refused


def test_the_settings_of_a_method_are_in_its_help(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--method", "kto", "--help"])
    said = capsys.readouterr().out
    assert "--desirable-weight" in said
    assert "--checkpoint-seconds" in said
    with pytest.raises(SystemExit):
        main(["train", "--method", "dpo", "--desirable-weight", "2"])


def test_a_reference_cache_of_another_model_is_refused(tmp_path, tiny_policy_dir, monkeypatch):
    spec = write_spec(tmp_path / "in", "dpo", tiny_policy_dir)
    monkeypatch.setattr(
        "training.engine.referencepass.ReferencePass.over",
        lambda self, examples: replace(examples, reference=[torch.tensor([-9.0, -30.0]) for _ in examples.trees]),
    )
    assert run(spec, tmp_path / "out") == REFUSED
    assert "first loss" in read_json(tmp_path / "out/error.json")["message"]


def test_a_reference_with_another_configuration_has_a_cache_of_its_own(tmp_path, tiny_policy_dir, monkeypatch):
    monkeypatch.setenv("PLUMB_REFERENCE_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "model"
    shutil.copytree(tiny_policy_dir, model)
    spec = write_spec(tmp_path / "in", "dpo", model, batch_size=24)
    assert run(spec, tmp_path / "one") == 0
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
    assert run(spec, tmp_path / "two") == 0
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_run_with_ratings_that_never_differ_does_not_start(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path / "in", "regression", tiny_policy_dir)
    data = tmp_path / "in/train.jsonl"
    rows = [json.loads(line) | {"label": None, "ratings": {"helpful": 3}} for line in data.read_text().splitlines()]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(spec, tmp_path / "out") == REFUSED
    assert "Every rating is the same" in read_json(tmp_path / "out/error.json")["message"]


def test_a_finished_run_keeps_its_checks_those_of_the_end_too(tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path / "in", "kto", tiny_policy_dir, batch_size=2)
    assert run(spec, tmp_path / "out") == 0
    found = {check["name"]: check["level"] for check in read_json(tmp_path / "out/result.json")["checks"]}
    assert found["baseline_batch"] == "warning"
    assert found["baseline_prompts"] == "ok"
    assert found["displacement"] in ("ok", "warning")
