"""Runs from start to registered model or new items, with the real engine as a child process."""

import json
import shlex
import shutil
import subprocess
import sys

import pytest
from django.conf import settings
from django.utils.html import escape

from annotate.models import Completion, Item, Slot
from feedback_site.jobs.models import JobLog
from tests.exports.building import build
from tests.makers import make_annotator, make_item, make_judgement, make_prompt, uids
from tests.training.app.conftest import PAIRS, QUICK, again, do
from training.engine.modelfiles import weights_sha256
from training.models import Model
from training.paths import data_dir, run_output
from training.runpage import command_line
from training.services.models import lineage, register_model
from training.services.runs import Selection, start_run

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_training_run_becomes_a_model_that_knows_its_judgements(start_dpo, built, tiny, alice, client_for, api_for):
    run = do(start_dpo())
    assert run.job.status == "done", run.job.error
    made = run.output_model
    assert (made.name, made.kind, made.parent, made.dataset_version) == ("tiny-dpo", "policy", tiny, built)
    assert made.weights_sha256 == weights_sha256(data_dir() / made.folder) != tiny.weights_sha256
    assert run.result["loss_first"] == pytest.approx(0.693147, abs=1e-4)
    steps = lineage(made)
    assert [step["model"]["name"] for step in steps] == ["tiny-dpo", "tiny"]
    assert steps[0]["dataset_version"]["judgements"] == PAIRS
    assert steps[0]["dataset_version"]["annotators"] == 1

    page = client_for(alice).get(f"/runs/{run.pk}/").content.decode()
    assert f"{run.result['eval']['validation']['accuracy_low']:.3f}" in page
    assert "tiny-dpo" in page
    assert str(data_dir()) not in page
    points = api_for(alice).get(f"/api/v1/runs/{run.pk}/metrics/").json()["results"]
    assert [point["step"] for point in points] == list(range(1, run.result["steps"] + 1))

    # A worker that died after its last commit: the engine finds itself done, and nothing is added.
    run = again(run)
    assert run.job.status == "done"
    assert Model.objects.count() == 2


def test_the_command_on_the_page_makes_the_same_model_by_hand(start_dpo, tmp_path):
    run = do(start_dpo(beta=0.3, gradient_checkpointing=True, plus="0.2*sft"))
    command = command_line(run).replace("$PLUMB_DATA", str(data_dir()))
    python, *arguments, _ = shlex.split(command)
    assert python == "python"
    finished = subprocess.run(
        [sys.executable, *arguments, str(tmp_path / "out")], cwd=settings.BASE_DIR, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    assert weights_sha256(tmp_path / "out/model") == run.output_model.weights_sha256


def test_sampling_makes_completions_and_items_once(project, tiny, alice, client_for):
    for n in range(4):
        make_prompt(project, f"Question {n}?")
    config = {"sampler": "transformers", "n": 2, "max_tokens": 8}
    run = start_run(
        project=project, task="sample", model=tiny, config=config, selection=Selection(prompts=3), created_by=alice
    )
    run = do(run)
    assert run.job.status == "done", run.job.error
    taken = run.result["collected"]
    stored = Completion.objects.filter(run_id=run.pk)
    assert taken["completions"] == stored.count() > 0
    assert stored.values("prompt").distinct().count() <= 3
    one = stored.first()
    assert (one.model_id, one.model_name, one.source) == (tiny.pk, "tiny", "model")
    assert one.token_ids
    assert one.logprob < 0
    assert Item.objects.count() == taken["items"]
    assert Slot.objects.filter(state="open").count() == taken["items"] * project.overlap

    assert escape(one.text[:10]) in client_for(alice).get(f"/runs/{run.pk}/").content.decode()

    before = (Completion.objects.count(), Item.objects.count())
    run = again(run)
    assert run.result["collected"] == taken
    assert (Completion.objects.count(), Item.objects.count()) == before


def test_a_reward_model_starts_from_an_encoder(project, built, data_dir, tiny_encoder_dir):
    shutil.copytree(tiny_encoder_dir, data_dir / "models/encoder")
    encoder = register_model(project=project, name="enc", kind="encoder", folder="encoder", created_by=None)
    config = QUICK | {"max_length": 64}
    run = do(
        start_run(
            project=project, task="train", method="bradley_terry", model=encoder, dataset_version=built, config=config
        )
    )
    assert run.job.status == "done", run.job.error
    assert run.output_model.kind == "reward"
    assert (run_output(run) / "model/reward.json").is_file()


def test_groups_and_slices_of_a_dataset_reach_the_reward_model_and_its_page(project, tiny, alice, client_for):
    expert, worker = make_annotator(project, "kim"), make_annotator(project, "w1")
    for n in range(24):
        prompt = make_prompt(project, f"What is the capital of country {n}?")
        item = make_item(project, [f"It is city {n}. Thank you!", f"Go away {n}."], prompt=prompt, overlap=2)
        item.metadata = {"region": "north" if n % 2 else "south"}
        item.save()
        kind, rude = uids(item)
        make_judgement(item, expert, {"ranking": [[kind], [rude]]})
        make_judgement(item, worker, {"ranking": [[rude], [kind]]})
    version = build(project, validation=0.4, test=0.0, slice="region", groups={"experts": ["kim"], "crowd": ["w1"]})
    run = start_run(
        project=project, task="train", method="bradley_terry", model=tiny, dataset_version=version, config=QUICK
    )
    run = do(run)
    assert run.job.status == "done", run.job.error
    about = json.loads((run_output(run) / "model/reward.json").read_text())
    assert (about["outputs"]["kind"], about["outputs"]["names"]) == ("groups", ["crowd", "experts"])
    slices = run.result["eval"]["validation"]["slices"]
    assert {"slice:north", "slice:south", "group:experts", "group:crowd"} <= slices.keys()
    page = client_for(alice).get(f"/runs/{run.pk}/").content.decode()
    assert "Annotators experts" in page
    assert "Slice north" in page


def test_rows_that_are_all_too_long_are_refused_on_the_run_page(start_dpo, alice, client_for):
    run = do(start_dpo(max_length=8))
    assert run.job.status == "failed"
    assert run.job.attempt == 1
    assert "max_length" in run.job.error
    assert JobLog.objects.filter(job=run.job, message__icontains="Reading the data").exists()
    page = client_for(alice).get(f"/runs/{run.pk}/").content.decode()
    assert "It failed." in page
    assert "max_length" in page
    assert "Traceback" not in page


def test_a_model_folder_broken_since_it_was_registered_is_refused(start_dpo, data_dir):
    run = start_dpo()
    (data_dir / "models/tiny/pytorch_model.bin").write_bytes(b"\x80\x04.")
    run = do(run)
    assert (run.job.status, run.job.attempt) == ("failed", 1)
    assert "pytorch_model.bin" in run.job.error
    assert not Model.objects.filter(run=run).exists()
