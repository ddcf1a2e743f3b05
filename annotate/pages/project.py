"""One project: how far it is, and what to do next."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import Count, Max
from django.db.models.functions import TruncDate
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from annotate.access import ALLOWED, get_project, job_scope, role_in, visible_jobs
from annotate.models import Annotator, Project
from annotate.selectors import current_judgements, own_progress, progress
from feedback_site.accounts.models import User

ACTIVITY_ROWS = 8
JOB_ROWS = 3


@require_safe
def project(request: HttpRequest, slug: str) -> HttpResponse:
    user: User = request.user  # type: ignore[assignment]  # signed in: SignInFirst saw to it
    found = get_project(user, slug)
    role = role_in(user, found)
    annotator = Annotator.objects.filter(project=found, user=user).first()
    context = {
        "project": found,
        "progress": progress(found),
        "own": own_progress(found, annotator) if annotator else None,
        "can_judge": role in ALLOWED["annotate"] and found.archived_at is None,
        "can_manage": role in ALLOWED["manage"],
        "members": found.memberships.count(),
        "activity": _activity(found, only_of=None if role in ALLOWED["review"] else user),
        "jobs": visible_jobs(user).filter(scope=job_scope(found))[:JOB_ROWS],
    }
    return render(request, "annotate/project.html", context)


def _activity(project: Project, *, only_of: User | None) -> Iterable[Mapping[str, Any]]:
    """Who judged how many on which day, newest first; annotators see their own days."""
    said = current_judgements(project)
    if only_of is not None:
        said = said.filter(annotator__user=only_of)
    days = (
        said.annotate(day=TruncDate("created_at"))
        .order_by()
        .values("day", "annotator__name", "annotator__user__is_machine")
    )
    return days.annotate(judged=Count("pk"), last=Max("created_at")).order_by("-last")[:ACTIVITY_ROWS]
