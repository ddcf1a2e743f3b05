"""Taking in what a finished run made. Nothing in its folder counts before every sum in DONE.json was verified."""

import json
from itertools import groupby, islice
from typing import Any

from django.utils import timezone

from annotate.models import Completion, Project, Prompt
from annotate.services.content import text_sha256
from annotate.services.items import add_item
from feedback_site.jobs.context import JobContext, JobFailed
from training.engine.errors import EngineError
from training.engine.losses import LOSSES
from training.engine.methods import trains_reward
from training.engine.modelfiles import check_model_folder, weights_sha256
from training.engine.runfolder import problems
from training.models import Model, Run
from training.paths import data_dir, run_output
from training.services.runs import Selection, start_run

PROMPTS_AT_ONCE = 100
# Room for a run's number behind it; Model.name holds 150.
LONGEST_NAME = 130


def collect_run(*, run: Run, context: JobContext) -> dict[str, Any]:
    """Register the model, or add the completions and items, of a finished run. Repeating it adds nothing.

    The result and the model land in one fenced transaction with the end of the job; completions land before, in
    batches, each of which can be repeated.
    """
    out = run_output(run)
    if found := problems(out):
        said = " ".join(found).replace(f"{data_dir()}/", "")
        raise JobFailed(f"The run's folder is not what the engine wrote: {said}")
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    summary: dict[str, Any] = {"run": run.pk}
    sums = ""
    if run.task == Run.Task.SAMPLE:
        result["collected"] = _collect_completions(run, context, prompts=result["prompts"])
        summary |= result["collected"]
    else:
        sums = _checked_weights(run)
    with context.fenced():
        if run.task != Run.Task.SAMPLE:
            model = _register_output(run, sums)
            summary["model"] = model.pk
            if run.selection:
                summary["sampling"] = _sample_next(run, model).pk
        Run.objects.filter(pk=run.pk).update(result=result, collected_at=timezone.now())
        context.finish(summary)
    return summary


def _checked_weights(run: Run) -> str:
    """The sha256 of the new weights. Reads all of them, so it is done before the fence holds the database."""
    folder = run_output(run) / "model"
    try:
        check_model_folder(folder)
    except EngineError as error:
        raise JobFailed(str(error)) from None
    return weights_sha256(folder)


def _register_output(run: Run, sums: str) -> Model:
    folder = run_output(run) / "model"
    reward = run.task == Run.Task.TRAIN and trains_reward(LOSSES[run.method], run.config)
    model, _ = Model.objects.get_or_create(
        run=run,
        defaults={
            "project": run.project,
            "name": _free_name(run),
            "kind": Model.Kind.REWARD if reward else Model.Kind.POLICY,
            "folder": str(folder.relative_to(data_dir())),
            "weights_sha256": sums,
            "parent": run.model,
            "dataset_version": run.dataset_version,
            "created_by": run.created_by,
        },
    )
    return model


def _sample_next(run: Run, model: Model) -> Run:
    """The run asked for its model to be sampled as soon as it is there."""
    selection = Selection(**run.selection)
    return start_run(
        project=run.project,
        task=Run.Task.SAMPLE,
        model=model,
        config=selection.config,
        selection=selection,
        created_by=run.created_by,
    )


def _free_name(run: Run) -> str:
    """After its parent and the method; the beginning of a long name gives way, the newest method is what tells."""
    name = f"{run.model}-{run.method.replace('_', '-')}"[-LONGEST_NAME:] if run.model else "starter"
    taken = Model.objects.filter(project=run.project, name=name).exists()
    return f"{name}-{run.pk}" if taken else name


def _collect_completions(run: Run, context: JobContext, *, prompts: int) -> dict[str, int]:
    """The sampled completions, and by choice items to judge made of them. Returns what came of them:

    `completions` are new, `known` were there before (the same words of the same model), `empty` are not stored.
    The engine writes the completions of one prompt one after the other, so only some of them are held in memory.
    """
    counts = dict.fromkeys(("completions", "known", "empty", "items"), 0)
    done = 0
    with (run_output(run) / "completions.jsonl").open(encoding="utf-8") as lines:
        answers = (
            (int(prompt), list(rows))
            for prompt, rows in groupby(map(json.loads, lines), key=lambda row: row["prompt_id"])
        )
        while chunk := dict(islice(answers, PROMPTS_AT_ONCE)):
            with context.fenced():
                for prompt in Prompt.objects.filter(pk__in=chunk, project=run.project).order_by("pk"):
                    for name, count in _take_in(run, prompt, chunk[prompt.pk]).items():
                        counts[name] += count
            done += len(chunk)
            context.progress(0.97 + 0.03 * done / max(prompts, done), f"{counts['completions']} completions added")
    return counts


def _take_in(run: Run, prompt: Prompt, rows: list[dict[str, Any]]) -> dict[str, int]:
    """The answers to one prompt. The counts are right also when an earlier attempt of the run has stored them."""
    written = [row for row in sorted(rows, key=lambda row: row["index"]) if row["text"].strip()]
    completions = _store(run, prompt, written)
    new = sum(completion.run_id == run.pk for completion in completions)
    items = _make_items(run, prompt, completions) if run.selection.get("items") else 0
    return {
        "completions": new,
        "known": len(completions) - new,
        "empty": len(rows) - len(written),
        "items": items,
    }


def _store(run: Run, prompt: Prompt, rows: list[dict[str, Any]]) -> list[Completion]:
    """One completion per distinct text: the same words twice are one answer."""
    assert run.model is not None
    sampling = {name: run.config[name] for name in ("temperature", "top_p", "max_tokens")}
    found: dict[str, Completion] = {}
    for row in rows:
        # PostgreSQL stores no NUL; a policy that writes bytes may. The token ids say what it really wrote.
        text = row["text"].replace("\0", "\N{REPLACEMENT CHARACTER}")
        completion, _ = Completion.objects.get_or_create(
            prompt=prompt,
            sha256=text_sha256(text),
            model_name=run.model.name,
            defaults={
                "text": text,
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


def _make_items(run: Run, prompt: Prompt, completions: list[Completion]) -> int:
    """Each completion for thumbs; neighbours two by two for pairs. An odd one out waits for the next sampling."""
    size = 1 if run.project.kind == Project.Kind.BINARY else 2
    made = 0
    for start in range(0, len(completions) - size + 1, size):
        item, _ = add_item(project=run.project, prompt=prompt, completions=completions[start : start + size])
        made += item.created_at >= run.created_at
    return made
