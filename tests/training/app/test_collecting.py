"""Taking in a finished run folder: what is stored, what is left out, and what is refused."""

import json
import shutil

import pytest

from annotate.models import Completion, Item
from feedback_site.jobs.context import JobContext, JobFailed
from feedback_site.jobs.runner import claim
from tests.makers import make_completion, make_project, make_prompt
from tests.training.app.conftest import touch
from training.engine.runfolder import RunFolder
from training.engine.spec import read_spec
from training.models import Model, Run
from training.paths import run_output
from training.services.collect import collect_run
from training.services.inputs import write_inputs
from training.services.runs import Selection, start_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def sampled(project, tiny, alice):
    """A sampling run over two prompts, and a function that writes its folder as the engine would and collects it."""
    prompts = [make_prompt(project, f"Question {n}?") for n in range(2)]

    def collect(*texts: list[str], run: Run | None = None):
        run = run or start_run(project=project, task="sample", model=tiny, config={"n": 4}, created_by=alice)
        rows = [
            {
                "prompt_id": str(prompt.pk), "index": index, "text": text, "token_ids": [5, 6], "logprob": -1.5,
                "finish_reason": "stop", "seed": index,
            }
            for prompt, answers in zip(prompts, texts, strict=False)
            for index, text in enumerate(answers)
        ]  # fmt: skip
        finish(run, {"completions.jsonl": "".join(json.dumps(row) + "\n" for row in rows)}, {"prompts": len(texts)})
        return take_in(run)

    return collect


def finish(run: Run, files: dict[str, str], result: dict) -> None:
    """A run folder with DONE.json and every sum."""
    folder = RunFolder(run_output(run)).open(read_spec(write_inputs(run)))
    for name, content in files.items():
        (run_output(run) / name).write_text(content)
    folder.finish(result)
    folder.close()


def take_in(run: Run) -> dict:
    job = claim(run.job_id)
    assert job is not None
    return collect_run(run=Run.objects.get(pk=run.pk), context=JobContext(job))


def test_the_same_words_twice_are_one_answer_and_empty_ones_are_counted(sampled):
    summary = sampled(["Yes.", "No.", "Yes.", "Perhaps."], ["  ", "", "Well.", "Fine."])
    assert summary | {"run": 0} == {"run": 0, "completions": 5, "known": 0, "empty": 2, "items": 2}
    assert set(Completion.objects.values_list("text", flat=True)) == {"Yes.", "No.", "Perhaps.", "Well.", "Fine."}
    assert Item.objects.count() == 2  # the odd one out waits


def test_a_byte_that_no_database_keeps_is_shown_as_missing(sampled):
    assert sampled(["A\0B", "Fine."])["completions"] == 2
    assert Completion.objects.filter(text="A\N{REPLACEMENT CHARACTER}B").exists()


def test_what_was_there_before_is_known_and_makes_no_second_item(sampled):
    sampled(["Yes.", "No."])
    summary = sampled(["Yes.", "No."])
    assert summary | {"run": 0} == {"run": 0, "completions": 0, "known": 2, "empty": 0, "items": 0}
    assert (Completion.objects.count(), Item.objects.count()) == (2, 1)


def test_an_imported_answer_with_the_same_words_stays_what_it_was(sampled, tiny):
    sampled(["Yes.", "No."])
    prompt = Completion.objects.first().prompt
    imported = make_completion(prompt, "Perhaps.", model_name="tiny")
    sampled(["Perhaps."])
    imported.refresh_from_db()
    assert (imported.source, imported.run_id) == ("import", None)


def test_in_a_project_of_thumbs_every_answer_is_an_item(alice, data_dir):
    thumbs = make_project("thumbs", owner=alice, kind="binary")
    prompt = make_prompt(thumbs)
    policy = Model.objects.create(project=thumbs, name="p", kind="policy", folder="models/p")
    run = start_run(project=thumbs, task="sample", model=policy)
    row = {"prompt_id": str(prompt.pk), "token_ids": [], "logprob": -1.0, "finish_reason": "stop", "seed": 0}
    rows = [row | {"index": n, "text": text} for n, text in enumerate(["Yes.", "No.", "Hm."])]
    finish(run, {"completions.jsonl": "".join(json.dumps(row) + "\n" for row in rows)}, {"prompts": 1})
    assert take_in(run)["items"] == 3


def test_a_folder_with_a_changed_file_is_refused(project, tiny):
    make_prompt(project)
    run = start_run(project=project, task="sample", model=tiny)
    finish(run, {"completions.jsonl": "{}\n"}, {"prompts": 1})
    touch(run, "completions.jsonl")
    with pytest.raises(JobFailed, match=r"completions\.jsonl is not the file that the run wrote"):
        take_in(run)
    run.refresh_from_db()
    assert (run.result, run.collected_at) == (None, None)


def test_a_folder_that_says_nothing_of_being_done_is_refused(project, tiny):
    make_prompt(project)
    run = start_run(project=project, task="sample", model=tiny)
    write_inputs(run)
    with pytest.raises(JobFailed, match="not finished"):
        take_in(run)


def test_what_a_run_made_is_sampled_next_when_it_was_asked_to(start_dpo, tiny, data_dir):
    run = start_dpo()
    Run.objects.filter(pk=run.pk).update(selection={"prompts": 3, "items": False})
    shutil.copytree(data_dir / tiny.folder, run_output(run) / "model")
    finish(run, {}, {"method": "dpo"})
    summary = take_in(run)
    following = Run.objects.get(pk=summary["sampling"])
    assert following.model_id == summary["model"]
    assert following.selection == {"prompts": 3, "items": False, "config": {}}


def test_a_made_folder_that_asks_for_code_is_refused(start_dpo, tiny, data_dir):
    run = start_dpo()
    shutil.copytree(data_dir / tiny.folder, run_output(run) / "model")
    (run_output(run) / "model/extra.json").write_text('{"auto_map": {"AutoModel": "evil.Model"}}')
    finish(run, {}, {"method": "dpo"})
    with pytest.raises(JobFailed, match="auto_map"):
        take_in(run)
    assert not Model.objects.filter(run=run).exists()


def test_the_newest_method_stays_in_a_long_name(start_dpo, tiny, data_dir):
    Model.objects.filter(pk=tiny.pk).update(name="p" * 150)
    run = start_dpo()
    shutil.copytree(data_dir / tiny.folder, run_output(run) / "model")
    finish(run, {}, {"method": "dpo"})
    name = Model.objects.get(pk=take_in(run)["model"]).name
    assert name.endswith("pp-dpo")
    assert len(name) <= 140


def test_the_same_seed_draws_the_same_prompts_and_another_seed_others(project, tiny):
    for n in range(30):
        make_prompt(project, f"Question {n}?")

    def drawn(seed: int) -> str:
        run = start_run(
            project=project, task="sample", model=tiny, config={"seed": seed}, selection=Selection(prompts=10)
        )
        return (write_inputs(run).parent / "prompts.jsonl").read_text()

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(drawn(1).splitlines()) == 10
