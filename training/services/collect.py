"""Taking in what a finished run made. Nothing in its folder counts before every sum in DONE.json was verified."""

import json
from collections import defaultdict
from typing import Any

from django.utils import timezone

from annotate.models import Completion, Item, Project, Prompt
from annotate.services.content import text_sha256
from annotate.services.items import add_item
from feedback_site.jobs.context import JobContext, JobFailed
from training.engine.errors import EngineError
from training.engine.methods import METHODS
from training.engine.modelfiles import check_model_folder, weights_sha256
from training.engine.runfolder import problems
from training.models import Model, Run
from training.paths import data_dir, run_output
from training.services.runs import Selection, start_run

PROMPTS_AT_ONCE = 100


def collect_run(*, run: Run, context: JobContext) -> dict[str, Any]:
    """Register the model, or add the completions and items, of a finished run. Repeating it adds nothing.

    The result and the model land in one fenced transaction with the end of the job; completions land before, in
    batches, each of which can be repeated.
    """
    out = run_output(run)
    if found := problems(out):
        raise JobFailed("The run's folder is not what the engine wrote: " + " ".join(found))
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    summary: dict[str, Any] = {"run": run.pk}
    if run.task == Run.Task.SAMPLE:
        summary |= _collect_completions(run, context)
    with context.fenced():
        if run.task != Run.Task.SAMPLE:
            model = _register_output(run)
            summary["model"] = model.pk
            if run.selection:
                summary["sampling"] = _sample_next(run, model).pk
        Run.objects.filter(pk=run.pk).update(result=result, collected_at=timezone.now())
        context.finish(summary)
    return summary


def _register_output(run: Run) -> Model:
    folder = run_output(run) / "model"
    try:
        check_model_folder(folder)
    except EngineError as error:
        raise JobFailed(str(error)) from None
    reward = run.task == Run.Task.TRAIN and METHODS[run.method].shape == "reward"
    model, _ = Model.objects.get_or_create(
        run=run,
        defaults={
            "project": run.project,
            "name": _free_name(run),
            "kind": Model.Kind.REWARD if reward else Model.Kind.POLICY,
            "folder": str(folder.relative_to(data_dir())),
            "weights_sha256": weights_sha256(folder),
            "parent": run.model,
            "dataset_version": run.dataset_version,
            "created_by": run.created_by,
        },
    )
    return model


def _sample_next(run: Run, model: Model) -> Run:
    """The run asked for its model to be sampled as soon as it is there."""
    return start_run(
        project=run.project,
        task=Run.Task.SAMPLE,
        model=model,
        selection=Selection(**run.selection),
        created_by=run.created_by,
    )


def _free_name(run: Run) -> str:
    name = f"{run.model}-{run.method.replace('_', '-')}" if run.model else "starter"
    taken = Model.objects.filter(project=run.project, name=name).exists()
    return f"{name}-{run.pk}" if taken else name


def _collect_completions(run: Run, context: JobContext) -> dict[str, int]:
    """The sampled completions, and by choice items to judge made of them."""
    answers: dict[int, list[dict[str, Any]]] = defaultdict(list)
    with (run_output(run) / "completions.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            answers[int(row["prompt_id"])].append(row)
    counts = {"completions": 0, "items": 0, "empty": 0}
    waiting = sorted(answers)
    for start in range(0, len(waiting), PROMPTS_AT_ONCE):
        chunk = waiting[start : start + PROMPTS_AT_ONCE]
        with context.fenced():
            for prompt in Prompt.objects.filter(pk__in=chunk, project=run.project).order_by("pk"):
                rows = sorted(answers[prompt.pk], key=lambda row: row["index"])
                completions = _store(run, prompt, [row for row in rows if row["text"].strip()])
                counts["completions"] += len(completions)
                counts["empty"] += sum(not row["text"].strip() for row in rows)
                if run.selection.get("items"):
                    counts["items"] += _make_items(run.project, prompt, completions)
        context.progress(0.97 + 0.03 * start / len(waiting), f"{counts['completions']} completions added")
    return counts


def _store(run: Run, prompt: Prompt, rows: list[dict[str, Any]]) -> list[Completion]:
    """One completion per distinct text: the same words twice are one answer."""
    assert run.model is not None
    sampling = {name: run.config[name] for name in ("temperature", "top_p", "max_tokens")}
    found: dict[str, Completion] = {}
    for row in rows:
        completion, _ = Completion.objects.get_or_create(
            prompt=prompt,
            sha256=text_sha256(row["text"]),
            model_name=run.model.name,
            defaults={
                "text": row["text"],
                "source": Completion.Source.MODEL,
                "model_id": run.model.pk,
                "run_id": run.pk,
                "sampling": sampling | {"seed": row["seed"], "finish_reason": row["finish_reason"]},
                "token_ids": row["token_ids"],
                "logprob": row["logprob"],
            },
        )
        found.setdefault(completion.sha256, completion)
    return list(found.values())


def _make_items(project: Project, prompt: Prompt, completions: list[Completion]) -> int:
    """Each completion for thumbs; neighbours two by two for pairs. An odd one out waits for the next sampling."""
    size = 1 if project.kind == Project.Kind.BINARY else 2
    made = 0
    for start in range(0, len(completions) - size + 1, size):
        item, created = add_item(project=project, prompt=prompt, completions=completions[start : start + size])
        assert isinstance(item, Item)
        made += created
    return made
