"""What the page of a run says about it, beside its curves."""

import json
import shlex
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from annotate.models import Completion
from training.engine.losses import LOSSES
from training.engine.spec import parameters
from training.heldout import held_out
from training.models import Run
from training.paths import data_dir, run_inputs, run_output
from training.progress import read_course
from training.services.inputs import spec_document

ANSWERS_SHOWN = 6


def follow_run(run: Run) -> dict[str, Any]:
    """What changes while the run goes on, for its page and for the part of it that asks again and again."""
    live = run.job is not None and not run.job.is_over
    return {"run": run, "live": live, "course": read_course(run), **checks_of(run)}


def describe_run(run: Run) -> dict[str, Any]:
    """What was asked for, and what came of it."""
    result = run.result or {}
    return {
        "method": LOSSES.get(run.method),
        "settings": settings_of(run),
        "spec": spec_text(run),
        "command": command_line(run),
        "result": result,
        "splits": held_out(result),
        "output": getattr(run, "output_model", None),
        "answers": first_answers(run),
        "took": duration(result.get("train_seconds")),
        "reference_share": reference_share(run),
        "can_go_on": can_go_on(run),
    }


def settings_of(run: Run) -> dict[str, list[tuple[str, Any]]]:
    """Names and values: `chosen` are the method's own and whatever is not as it is by default, `usual` the others."""
    method = LOSSES.get(run.method)
    own = method.defaults() if method else {}
    defaults = {one.name: one.default for one in parameters(run.task, method)}
    # In the order of the table: PostgreSQL keeps the keys of JSON in one of its own.
    known = {name: run.config[name] for name in (*defaults, *run.config) if name in run.config}
    chosen = {name: value for name, value in known.items() if name in own or value != defaults.get(name)}
    usual = {name: value for name, value in known.items() if name not in chosen}
    return {
        part: [(name.replace("_", " "), "none" if value == "" else value) for name, value in values.items()]
        for part, values in (("chosen", chosen), ("usual", usual))
    }


def checks_of(run: Run) -> dict[str, list[dict[str, Any]]]:
    """What was found at the start of a training run, and once it is done also at its end: `warnings` and `passed`.

    Each has its name in words: `train.too_long` is “too long (train)”.
    """
    found = (run.result or {}).get("checks")
    if found is None:
        try:
            found = json.loads((run_output(run) / "checks.json").read_text(encoding="utf-8"))
        except FileNotFoundError:  # it has not read its data yet, or does not train
            found = []
    named = [check | {"title": _check_title(check["name"])} for check in found]
    return {
        "warnings": [check for check in named if check["level"] != "ok"],
        "passed": [check for check in named if check["level"] == "ok"],
    }


def _check_title(name: str) -> str:
    split, _, what = name.rpartition(".")
    return what.replace("_", " ") + (f" ({split})" if split else "")


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 42 s, 12 min, 3 h 20 min; "" for None."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def can_go_on(run: Run) -> bool:
    """Whether trying the run again goes on from a checkpoint."""
    return any((run_output(run) / "checkpoint").glob("step-*"))


def reference_share(run: Run) -> float | None:
    """The share of the training time that the reference's log-probs took, in percent."""
    times = [(run.result or {}).get(name) for name in ("reference_seconds", "train_seconds")]
    return 100 * times[0] / times[1] if times[0] and times[1] else None


def first_answers(run: Run) -> QuerySet[Completion]:
    """A few of the completions that a sampling run added, so that people read what their policy says."""
    added = Completion.objects.filter(model_id=run.model_id, run_id=run.pk)
    return added.select_related("prompt").order_by("prompt_id", "pk")[:ANSWERS_SHOWN]


def spec_text(run: Run) -> str:
    """The spec as the engine is given it, paths as they lie below the data folder."""
    try:
        text = (run_inputs(run) / "spec.json").read_text(encoding="utf-8")
    except FileNotFoundError:  # not started yet
        text = json.dumps(spec_document(run), indent=1, ensure_ascii=False)
    return text.replace(f"{data_dir()}/", "")


def command_line(run: Run) -> str:
    """The command that does the same training in a shell, in the folder of manage.py; "" for other tasks.

    Only what is not as it is by default is said. Paths begin with the data folder.
    """
    method = LOSSES.get(run.method)
    if method is None:
        return ""
    document = spec_document(run)
    defaults = {one.name: one.default for one in parameters(run.task, method)}
    told = {name: value for name, value in run.config.items() if value != defaults.get(name)}
    arguments = [
        f"--method {run.method}",
        f"--model {_place(document['model'])}",
        *(f"--data {split}={_place(path)}" for split, path in document["data"].items()),
        *(shlex.quote(f"--{name.replace('_', '-')}={_word(told[name])}") for name in defaults if name in told),
        f"--out {run.method}-by-hand",
    ]
    return " ".join(["python -m training.engine train", *arguments])


def _place(path: str) -> str:
    """A path for a shell: from the folder of manage.py where the data folder lies in it, else by its variable."""
    folder = data_dir()
    if not path.startswith(f"{folder}/"):
        return shlex.quote(path)
    inside = folder.is_relative_to(settings.BASE_DIR)
    shown = str(folder.relative_to(settings.BASE_DIR)) if inside else "$PLUMB_DATA"
    return f"{shown}/{shlex.quote(path.removeprefix(f'{folder}/'))}"


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
