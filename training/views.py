"""The pages of runs and models."""

from typing import Any, TypeVar, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Model as Row
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.access import ALLOWED, get_project, role_in
from exports.models import DatasetVersion
from feedback_site.accounts.models import User
from feedback_site.jobs.services import JobConflict, retry
from training.access import get_model, get_run, is_id
from training.chooser import method_groups
from training.compare import FEWEST, chosen_runs, compare_charts, differing_settings, measured
from training.engine.losses import LOSSES
from training.forms import ModelForm, SampleForm, TrainForm
from training.models import Run
from training.runpage import describe_run, duration, follow_run
from training.services.models import ModelError, lineage, promote_model, register_model
from training.services.runs import RunError, Selection, start_run

PER_PAGE = 50

Thing = TypeVar("Thing", bound=Row)


@login_required
@require_GET
def runs(request: HttpRequest, slug: str) -> HttpResponse:
    user = cast(User, request.user)
    project = get_project(user, slug, "review")
    found = project.runs.select_related("job", "model", "dataset_version__dataset", "output_model")
    page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "project": project,
        "page": page,
        "comparable": sum(run.task == Run.Task.TRAIN for run in page) >= FEWEST,
        "may_manage": role_in(user, project) in ALLOWED["manage"],
    }
    return render(request, "training/runs.html", context)


@login_required
@require_GET
def compare(request: HttpRequest, slug: str) -> HttpResponse:
    """Training runs side by side: `?run=3&run=5`."""
    project = get_project(cast(User, request.user), slug, "review")
    found = chosen_runs(
        project.runs.select_related("job", "model", "dataset_version__dataset"), request.GET.getlist("run")
    )
    context = {
        "project": project,
        "runs": found,
        "held_out": measured(found),
        "times": [duration((run.result or {}).get("train_seconds")) for run in found],
        "settings": differing_settings(found),
        "charts": compare_charts(found),
    }
    return render(request, "training/compare.html", context)


@login_required
@require_GET
def choose(request: HttpRequest, slug: str) -> HttpResponse:
    """All methods to choose from; `?model=` and `?dataset_version=` go along, and only what learns from it is shown."""
    project = get_project(cast(User, request.user), slug, "manage")
    model = _named(project.models.all(), request.GET.get("model"))
    versions = DatasetVersion.objects.filter(dataset__project=project, status=DatasetVersion.Status.READY)
    version = _named(versions.select_related("dataset"), request.GET.get("dataset_version"))
    groups = method_groups(project, version)
    given = {"model": model and model.pk, "dataset_version": version and version.pk}
    context = {
        "project": project,
        "groups": groups,
        "model": model,
        "version": version,
        "query": urlencode({name: pk for name, pk in given.items() if pk}),
        "count": sum(len(group.methods) for group in groups),
    }
    return render(request, "training/choose.html", context)


def _named(found: QuerySet[Thing], pk: str | None) -> Thing | None:
    """The one that an address names by its id, if it is among these."""
    return found.filter(pk=pk).first() if pk and is_id(pk) else None


def _refuse(form: TrainForm | SampleForm, error: RunError) -> None:
    """The refusal beside its field, which a form does not call “config.…” as the API does."""
    field = error.field.removeprefix("config.")
    form.add_error(field if field in form.fields else None, error.message.replace("'config.", "'"))


@login_required
@require_http_methods(["GET", "POST"])
def train(request: HttpRequest, slug: str, method: str) -> HttpResponse:
    """The form of one method, made from the engine's table; `?like=` begins with the settings of an earlier run."""
    user = cast(User, request.user)
    project = get_project(user, slug, "manage")
    if method not in LOSSES:
        messages.error(request, f"There is no method “{method}”. Choose one of these.")
        return redirect("choose_method", slug=slug)
    chosen: dict[str, Any] = {name: request.GET.get(name) for name in ("model", "dataset_version")}
    like = _named(project.runs.filter(task=Run.Task.TRAIN, method=method), request.GET.get("like"))
    if like:
        chosen = like.config | {"model": like.model_id, "dataset_version": like.dataset_version_id}
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
            _refuse(form, error)
        else:
            return redirect("run", pk=run.pk)
    context = {"project": project, "form": form, "method": LOSSES[method], "like": like}
    return render(request, "training/train.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def sample(request: HttpRequest, slug: str) -> HttpResponse:
    user = cast(User, request.user)
    project = get_project(user, slug, "manage")
    chosen: dict[str, Any] = {"model": request.GET.get("model")}
    like = _named(project.runs.filter(task=Run.Task.SAMPLE), request.GET.get("like"))
    if like:
        chosen = like.config | {name: like.selection[name] for name in ("prompts", "items")} | {"model": like.model_id}
    form = SampleForm(request.POST or None, project=project, initial=chosen)
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
            _refuse(form, error)
        else:
            return redirect("run", pk=run.pk)
    return render(request, "training/sample.html", {"project": project, "form": form, "like": like})


@login_required
@require_GET
def run(request: HttpRequest, pk: int) -> HttpResponse:
    user = cast(User, request.user)
    found = get_run(user, pk)
    context = {
        "project": found.project,
        "may_manage": role_in(user, found.project) in ALLOWED["manage"],
        **follow_run(found),
        **describe_run(found),
    }
    return render(request, "training/run.html", context)


@login_required
@require_POST
def run_retry(request: HttpRequest, pk: int) -> HttpResponse:
    """Put a run that failed or was cancelled into the queue again; it goes on from its checkpoint, if it has one."""
    found = get_run(cast(User, request.user), pk, "manage")
    try:
        if found.job is None:
            raise JobConflict("The job of this run was deleted; start a new run.")
        retry(job=found.job)
        messages.success(request, "The run is in the queue again.")
    except JobConflict as conflict:
        messages.error(request, str(conflict))
    return redirect("run", pk=pk)


@login_required
@require_GET
def run_curves(request: HttpRequest, pk: int) -> HttpResponse:
    """The charts alone, for polling; 286 tells htmx that no more will come."""
    found = get_run(cast(User, request.user), pk)
    context = follow_run(found)
    return render(request, "training/_curves.html", context, status=200 if context["live"] else 286)


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
