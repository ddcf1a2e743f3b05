"""One project: how far it is, and what to do next."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from annotate.access import get_project


@require_safe
def project(request: HttpRequest, slug: str) -> HttpResponse:
    found = get_project(request.user, slug)  # type: ignore[arg-type]  # signed in: SignInFirst saw to it
    return render(request, "annotate/project.html", {"project": found})
