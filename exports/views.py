"""The pages of datasets."""

import json
from itertools import islice
from pathlib import Path
from typing import cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.access import ALLOWED, get_project, role_in
from exports.access import get_dataset, get_version
from exports.downloads import send_version
from exports.forms import DatasetForm
from exports.models import DatasetVersion
from exports.services.datasets import DatasetError, create_dataset, start_build
from exports.splits import SPLITS
from exports.writers.formats import FORMATS, read_rows
from feedback_site.accounts.models import User

ROWS_SHOWN = 5


@login_required
@require_http_methods(["GET", "POST"])
def datasets(request: HttpRequest, slug: str) -> HttpResponse:
    """The datasets of a project, and the form for one more."""
    user = cast(User, request.user)
    project = get_project(user, slug, "review" if request.method == "GET" else "manage")
    form = DatasetForm(request.POST or None, project=project)
    if request.method == "POST" and form.is_valid():
        try:
            dataset = create_dataset(
                project=project,
                name=form.cleaned_data["name"],
                kind=form.cleaned_data["kind"],
                recipe=form.recipe(),
                created_by=user,
            )
        except DatasetError as error:
            field = error.field.removeprefix("recipe.")
            form.add_error(field if field in form.fields else None, error.message)
        else:
            start_build(dataset=dataset, created_by=user)
            messages.success(request, f"“{dataset.name}” is being built.")
            return redirect("dataset", pk=dataset.pk)
    context = {
        "project": project,
        "datasets": project.datasets.prefetch_related("versions"),
        "form": form,
        "may_manage": role_in(user, project) in ALLOWED["manage"],
    }
    return render(request, "exports/datasets.html", context)


@login_required
@require_GET
def dataset(request: HttpRequest, pk: int) -> HttpResponse:
    user = cast(User, request.user)
    found = get_dataset(user, pk)
    context = {
        "project": found.project,
        "dataset": found,
        "versions": found.versions.select_related("job"),
        "recipe": json.dumps(found.recipe, indent=2),
        "may_manage": role_in(user, found.project) in ALLOWED["manage"],
    }
    return render(request, "exports/dataset.html", context)


@login_required
@require_POST
def dataset_build(request: HttpRequest, pk: int) -> HttpResponse:
    """Freeze the judgements of this moment as the next version."""
    user = cast(User, request.user)
    version = start_build(dataset=get_dataset(user, pk, "manage"), created_by=user)
    messages.success(request, f"Version {version.number} is being built.")
    return redirect("dataset", pk=pk)


@login_required
@require_GET
def dataset_version(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    user = cast(User, request.user)
    version = get_version(user, pk, number)
    rows = []
    folder = Path(settings.DATA_DIR) / version.folder
    gone = version.status == DatasetVersion.Status.READY and not folder.is_dir()
    if version.status == DatasetVersion.Status.READY and not gone:
        rows = list(islice(read_rows(folder / "data.jsonl"), ROWS_SHOWN))
        for row in rows:
            if "ranks" in row:
                row["ranked"] = list(zip(row["ranks"], row["scores"], row["completions"], strict=True))
    context = {
        "project": version.dataset.project,
        "dataset": version.dataset,
        "version": version,
        "recipe": json.dumps(version.recipe, indent=2),
        "splits": [
            (split, version.counts["rows"][split], version.counts["prompts"][split])
            for split in (SPLITS if version.counts else ())
        ],
        "rows": rows,
        "gone": gone,
        "formats": FORMATS.values(),
        "may_manage": role_in(user, version.dataset.project) in ALLOWED["manage"],
    }
    return render(request, "exports/dataset_version.html", context)


@login_required
@require_GET
def dataset_file(request: HttpRequest, pk: int, number: int, format_name: str) -> FileResponse | StreamingHttpResponse:
    version = get_version(cast(User, request.user), pk, number)
    return send_version(version, format=format_name, split=request.GET.get("split", ""))
