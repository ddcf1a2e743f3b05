"""The pages of runs and models."""

import json
from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.access import ALLOWED, get_project, role_in
from annotate.models import Completion
from feedback_site.accounts.models import User
from training.access import get_model, get_run
from training.chooser import method_groups
from training.engine.losses import LOSSES
from training.engine.spec import parameters
from training.forms import ModelForm, SampleForm, TrainForm
from training.models import Run
from training.paths import data_dir, run_inputs
from training.progress import read_course
from training.services.models import ModelError, lineage, promote_model, register_model
from training.services.runs import RunError, Selection, start_run

PER_PAGE = 50
ANSWERS_SHOWN = 6


@login_required
@require_GET
def runs(request: HttpRequest, slug: str) -> HttpResponse:
    user = cast(User, request.user)
    project = get_project(user, slug, "review")
    found = project.runs.select_related("job", "model", "dataset_version__dataset", "output_model")
    context = {
        "project": project,
        "page": Paginator(found, PER_PAGE).get_page(request.GET.get("page")),
        "may_manage": role_in(user, project) in ALLOWED["manage"],
    }
    return render(request, "training/runs.html", context)


@login_required
@require_GET
def choose(request: HttpRequest, slug: str) -> HttpResponse:
    """All methods to choose from; with `?model=` the one to start from goes along."""
    project = get_project(cast(User, request.user), slug, "manage")
    wanted = request.GET.get("model", "")
    model = project.models.filter(pk=wanted).first() if wanted.isdecimal() else None
    context = {"project": project, "groups": method_groups(project), "model": model, "count": len(LOSSES)}
    return render(request, "training/choose.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def train(request: HttpRequest, slug: str, method: str) -> HttpResponse:
    """The form of one method, made from the engine's table."""
    user = cast(User, request.user)
    project = get_project(user, slug, "manage")
    if method not in LOSSES:
        messages.error(request, f"There is no method “{method}”. Choose one of these.")
        return redirect("choose_method", slug=slug)
    chosen = {name: request.GET.get(name) for name in ("model", "dataset_version")}
    form = TrainForm(request.POST or None, project=project, method=method, initial=chosen)
    if request.method == "POST" and form.is_valid():
        try:
            run = start_run(
                project=project,
                task=Run.Task.TRAIN,
                method=method,
                model=form.cleaned_data["model"],
                dataset_version=form.cleaned_data["dataset_version"],
                config=form.config(),
                created_by=user,
            )
        except RunError as error:
            field = error.field.removeprefix("config.")
            form.add_error(field if field in form.fields else None, error.message)
        else:
            return redirect("run", pk=run.pk)
    context = {"project": project, "form": form, "method": LOSSES[method]}
    return render(request, "training/train.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def sample(request: HttpRequest, slug: str) -> HttpResponse:
    user = cast(User, request.user)
    project = get_project(user, slug, "manage")
    form = SampleForm(request.POST or None, project=project, initial={"model": request.GET.get("model")})
    if request.method == "POST" and form.is_valid():
        try:
            run = start_run(
                project=project,
                task=Run.Task.SAMPLE,
                model=form.cleaned_data["model"],
                config=form.config(),
                selection=Selection(prompts=form.cleaned_data["prompts"], items=form.cleaned_data["items"]),
                created_by=user,
            )
        except RunError as error:
            field = error.field.removeprefix("config.")
            form.add_error(field if field in form.fields else None, error.message)
        else:
            return redirect("run", pk=run.pk)
    return render(request, "training/sample.html", {"project": project, "form": form})


@login_required
@require_GET
def run(request: HttpRequest, pk: int) -> HttpResponse:
    user = cast(User, request.user)
    found = get_run(user, pk)
    checks = (found.result or {}).get("checks", [])
    context = {
        "project": found.project,
        "run": found,
        "settings": _settings(found),
        "spec": _spec(found),
        "method": LOSSES.get(found.method),
        "result": found.result or {},
        "warnings": [_named(check) for check in checks if check["level"] != "ok"],
        "passed": [_named(check) for check in checks if check["level"] == "ok"],
        "evaluations": list((found.result or {}).get("eval", {}).items()),
        "output": getattr(found, "output_model", None),
        "answers": _first_answers(found),
        "course": read_course(found),
        "reference_share": _reference_share(found),
        "live": found.job is not None and not found.job.is_over,
        "may_manage": role_in(user, found.project) in ALLOWED["manage"],
    }
    return render(request, "training/run.html", context)


def _settings(run: Run) -> dict[str, list[tuple[str, Any]]]:
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


def _named(check: dict[str, Any]) -> dict[str, Any]:
    """A check with its name in words: `train.too_long` is “too long (train)”."""
    split, _, name = check["name"].rpartition(".")
    return check | {"title": name.replace("_", " ") + (f" ({split})" if split else "")}


def _reference_share(run: Run) -> float | None:
    """The share of the training time that the reference's log-probs took, in percent."""
    times = [(run.result or {}).get(name) for name in ("reference_seconds", "train_seconds")]
    return 100 * times[0] / times[1] if times[0] and times[1] else None


def _first_answers(run: Run) -> QuerySet[Completion]:
    """A few of the completions that a sampling run added, so that people read what their policy says."""
    added = Completion.objects.filter(model_id=run.model_id, run_id=run.pk)
    return added.select_related("prompt").order_by("prompt_id", "pk")[:ANSWERS_SHOWN]


def _spec(run: Run) -> str:
    """The spec as the engine was given it, paths as they lie below the data folder; before the start, its settings."""
    try:
        text = (run_inputs(run) / "spec.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return json.dumps({"task": run.task, "config": run.config}, indent=1)
    return text.replace(f"{data_dir()}/", "")


@login_required
@require_GET
def run_curves(request: HttpRequest, pk: int) -> HttpResponse:
    """The charts alone, for polling; 286 tells htmx that no more will come."""
    found = get_run(cast(User, request.user), pk)
    live = found.job is not None and not found.job.is_over
    context = {"run": found, "course": read_course(found), "live": live}
    return render(request, "training/_curves.html", context, status=200 if live else 286)


@login_required
@require_http_methods(["GET", "POST"])
def models(request: HttpRequest, slug: str) -> HttpResponse:
    user = cast(User, request.user)
    project = get_project(user, slug, "review" if request.method == "GET" else "manage")
    form = ModelForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            model = register_model(project=project, created_by=user, **form.cleaned_data)
        except ModelError as error:
            form.add_error(error.field, error.message)
        else:
            messages.success(request, f"“{model.name}” is registered.")
            return redirect("model", pk=model.pk)
    context = {
        "project": project,
        "models": project.models.select_related("parent").prefetch_related("aliases"),
        "form": form,
        "may_manage": role_in(user, project) in ALLOWED["manage"],
    }
    return render(request, "training/models.html", context)


@login_required
@require_POST
def starter(request: HttpRequest, slug: str) -> HttpResponse:
    """Let the engine make a small policy from nothing, for a project that has no model of its own."""
    user = cast(User, request.user)
    project = get_project(user, slug, "manage")
    return redirect("run", pk=start_run(project=project, task=Run.Task.STARTER, created_by=user).pk)


@login_required
@require_GET
def model(request: HttpRequest, pk: int) -> HttpResponse:
    user = cast(User, request.user)
    found = get_model(user, pk)
    context = {
        "project": found.project,
        "model": found,
        "lineage": lineage(found),
        "children": found.children.all(),
        "may_manage": role_in(user, found.project) in ALLOWED["manage"],
    }
    return render(request, "training/model.html", context)


@login_required
@require_POST
def model_promote(request: HttpRequest, pk: int) -> HttpResponse:
    """Make this model the champion of its project."""
    user = cast(User, request.user)
    found = get_model(user, pk, "manage")
    promote_model(model=found, alias="champion", moved_by=user)
    messages.success(request, f"“{found.name}” is the champion now.")
    return redirect("model", pk=pk)
