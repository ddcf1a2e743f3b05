"""The pages of background work: what runs, how far it is, why it failed; cancel and retry."""

import json

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import trigger_client_event
from django_htmx.middleware import HtmxDetails

from feedback_site.jobs.access import get_job, may_manage, scope_titles, visible_jobs, visible_log
from feedback_site.jobs.errors import JobConflict
from feedback_site.jobs.models import Job
from feedback_site.jobs.services import request_cancel, retry

PER_PAGE = 50
STOP_POLLING = 286
ACTIVE = [Job.Status.QUEUED, Job.Status.RUNNING]


class HtmxRequest(HttpRequest):
    """A request after HtmxMiddleware has seen it."""

    htmx: HtmxDetails


@login_required
@require_GET
def jobs(request: HtmxRequest) -> HttpResponse:
    """All jobs that the user may see. htmx asks for the table alone, until nothing in it can change."""
    titles = scope_titles(request.user)
    found = visible_jobs(request.user)
    scope, status = request.GET.get("scope", ""), request.GET.get("status", "")
    if scope:
        found = found.filter(scope=scope)
    if status in Job.Status.values:
        found = found.filter(status=status)
    page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
    rows = [(job, titles.get(job.scope, "")) for job in page]
    active = any(job.status in ACTIVE for job in page)
    context = {
        "page": page,
        "rows": rows,
        "active": active,
        "scope": scope,
        "status": status,
        "titles": titles,
        "states": Job.Status.choices,
    }
    if not request.htmx:
        return render(request, "jobs/jobs.html", context)
    return render(request, "jobs/_table.html", context, status=200 if active else STOP_POLLING)


@login_required
@require_GET
def job(request: HttpRequest, pk: int) -> HttpResponse:
    job = get_job(request.user, pk)
    context = {
        "job": job,
        "log": visible_log(request.user, job),
        "scope_title": scope_titles(request.user).get(job.scope, ""),
        "may_manage": may_manage(request.user, job),
        "result": json.dumps(job.result, indent=2, ensure_ascii=False) if job.result else "",
    }
    return render(request, "jobs/job.html", context)


@login_required
@require_GET
def job_progress(request: HttpRequest, pk: int) -> HttpResponse:
    """The piece that `_progress.html` replaces itself with. At the end the page is told by the event `job-over`."""
    job = get_job(request.user, pk)
    response = render(request, "jobs/_progress.html", {"job": job}, status=STOP_POLLING if job.is_over else 200)
    return trigger_client_event(response, "job-over", {"id": job.pk}) if job.is_over else response


@login_required
@require_GET
def job_log(request: HttpRequest, pk: int) -> HttpResponse:
    job = get_job(request.user, pk)
    context = {"log": visible_log(request.user, job)}
    return render(request, "jobs/_log.html", context, status=STOP_POLLING if job.is_over else 200)


@login_required
@require_POST
def job_cancel(request: HtmxRequest, pk: int) -> HttpResponse:
    job = get_job(request.user, pk, "manage")
    request_cancel(job=job)
    if request.htmx:
        return render(request, "jobs/_progress.html", {"job": job})
    if job.status == Job.Status.CANCELLED:
        messages.success(request, "The job was cancelled.")
    elif job.is_over:
        messages.info(request, "The job was over already.")
    else:
        messages.info(request, "The job ends at its next step.")
    return redirect("job", pk)


@login_required
@require_POST
def job_retry(request: HttpRequest, pk: int) -> HttpResponse:
    try:
        retry(job=get_job(request.user, pk, "manage"))
        messages.success(request, "The job is in the queue again.")
    except JobConflict as conflict:
        messages.error(request, str(conflict))
    return redirect("job", pk)
