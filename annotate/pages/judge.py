"""The page on which people judge."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from annotate.access import get_project


@require_safe
def judge(request: HttpRequest, slug: str) -> HttpResponse:
    found = get_project(request.user, slug, "annotate")  # type: ignore[arg-type]  # signed in: SignInFirst saw to it
    return render(request, "annotate/judge.html", {"project": found})
