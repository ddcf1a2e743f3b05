"""Refusals and failures: a page for people, the API's shape of error for programs, never a traceback."""

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.template import loader

PERMISSION = "Your role does not allow this. Ask an owner of the project."
NOT_FOUND = "There is no such page, or it is not yours to see."
BAD_REQUEST = "The request could not be understood."
SERVER_ERROR = "Something went wrong on our side. It has been logged under the request id of this answer."


@login_not_required
def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    return _refuse(request, 400, "bad_request", BAD_REQUEST)


@login_not_required
def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    message = str(exception) if isinstance(exception, PermissionDenied) else ""
    return _refuse(request, 403, "permission_denied", message or PERMISSION)


@login_not_required
def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    return _refuse(request, 404, "not_found", NOT_FOUND)


@login_not_required
def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    """A form without its token: mostly a page that stayed open across a sign-in, now and then a forgery."""
    return _refuse(request, 403, "csrf", "This page is out of date. Go back, reload it and try again.")


@login_not_required
def server_error(request: HttpRequest) -> HttpResponseBase:
    """Made without the base page, its queries and its static files: any of them may be what failed."""
    if _is_api(request):
        return _api_error(500, "server_error", SERVER_ERROR)
    return HttpResponse(loader.get_template("500.html").render(), status=500)


def _refuse(request: HttpRequest, status: int, code: str, message: str) -> HttpResponseBase:
    if _is_api(request):
        return _api_error(status, code, message)
    return render(request, f"{status}.html", {"message": message}, status=status)


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def _api_error(status: int, code: str, message: str) -> JsonResponse:
    return JsonResponse({"error": {"code": code, "message": message}}, status=status)
