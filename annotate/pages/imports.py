"""Import files: upload or try one, watch it, read what was refused and why."""

import csv
from collections.abc import Iterator
from typing import cast

from django import forms
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from annotate.access import get_import, get_project
from annotate.imports.examples import EXAMPLES
from annotate.models import ItemImport, Project
from annotate.services.imports import ImportRefused, import_after_trial, keep_file, start_import
from feedback_site.accounts.models import User
from feedback_site.jobs.models import Job

HISTORY = 50
PER_PAGE = 100
# A cell that begins so is a formula to a spreadsheet, and problems quote what strangers wrote.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


class UploadForm(forms.Form):
    file = forms.FileField(
        label="File",
        allow_empty_file=True,
        help_text="JSONL, JSON, CSV or Parquet, of any size, packed with gzip or not.",
        max_length=None,
    )
    dry_run = forms.BooleanField(
        label="Only try it",
        required=False,
        help_text="Says what would be added and what would be refused; writes nothing.",
    )


@require_http_methods(["GET", "HEAD", "POST"])
def import_items(request: HttpRequest, slug: str) -> HttpResponse:
    """The form, what rows look like, and the imports so far."""
    user = cast(User, request.user)
    project = get_project(user, slug, "manage")
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        upload: UploadedFile = form.cleaned_data["file"]
        try:
            found = keep_file(
                project=project,
                file_name=upload.name or "rows",
                chunks=upload.chunks(),
                dry_run=form.cleaned_data["dry_run"],
                created_by=user,
            )
        except ImportRefused as refused:
            form.add_error("file", str(refused))
        else:
            start_import(item_import=found)
            return redirect("item_import", found.pk)
    return render(request, "annotate/import.html", _page(project, form), status=400 if form.errors else 200)


def _page(project: Project, form: UploadForm) -> dict[str, object]:
    imports = ItemImport.objects.filter(project=project).select_related("job", "created_by")
    return {
        "project": project,
        "form": form,
        "examples": [example for example in EXAMPLES if project.kind in example.kinds],
        "imports": imports[:HISTORY],
    }


@require_safe
def item_import(request: HttpRequest, pk: int) -> HttpResponse:
    """One import: how far it is, what it added, what it refused."""
    found = get_import(cast(User, request.user), pk)
    problems = Paginator(found.problems.all(), PER_PAGE)
    job = found.job
    context = {
        "project": found.project,
        "item_import": found,
        "job": job,
        "page": problems.get_page(request.GET.get("page")),
        "kept": problems.count,
        "finished": job is None or job.status == Job.Status.DONE,
        "stopped": job is not None and job.status == Job.Status.CANCELLED,
    }
    return render(request, "annotate/import_result.html", context)


@require_POST
def import_trial(request: HttpRequest, pk: int) -> HttpResponse:
    """Import the file of a dry run in earnest."""
    user = cast(User, request.user)
    trial = get_import(user, pk)
    try:
        real = import_after_trial(trial=trial, created_by=user)
    except ImportRefused as refused:
        messages.error(request, str(refused))
        return redirect("item_import", trial.pk)
    return redirect("item_import", real.pk)


@require_safe
def import_problems(request: HttpRequest, pk: int) -> StreamingHttpResponse:
    """Every problem that was kept, as CSV."""
    found = get_import(cast(User, request.user), pk)
    rows = found.problems.values_list("row", "field", "message").iterator(1000)
    lines = _csv_lines([("row", "field", "message")], ((row, _cell(field), _cell(text)) for row, field, text in rows))
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="import-{found.pk}-problems.csv"'
    return response


class _Echo:
    """csv.writer wants a file; this one gives back what is written to it."""

    def write(self, line: str) -> str:
        return line


def _csv_lines(*parts: Iterator[tuple[object, ...]] | list[tuple[str, ...]]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    for part in parts:
        for row in part:
            yield writer.writerow(row)


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text
