"""What every request goes through: an id that log lines share with the answer, and sign-in before all pages."""

import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import structlog
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from django.utils.http import urlencode
from django_htmx.http import HttpResponseClientRedirect

logger = structlog.get_logger("plumb.request")

# A proxy may have named the request already. Anything that could forge a log line is replaced.
PROPER_ID = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")


class RequestLog:
    """Bind `request_id` to every log line of the request, answer with it, and log one line when it is over."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.headers.get("X-Request-ID", "")
        request_id = given if PROPER_ID.match(given) else uuid.uuid4().hex
        began = time.monotonic()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            response = self.get_response(request)
            response.headers["X-Request-ID"] = request_id
            if request.path not in {"/healthz", "/readyz"}:
                logger.info(
                    "request",
                    method=request.method,
                    path=request.path,
                    status=response.status_code,
                    milliseconds=round((time.monotonic() - began) * 1000, 1),
                    user_id=user_id(request),
                )
        return response


def user_id(request: HttpRequest) -> int | None:
    """Of whoever was asked for already: looking would cost a query on pages that need no user."""
    user: Any = getattr(request, "_cached_user", None)
    return user.pk if user is not None else None


class SignInFirst(LoginRequiredMiddleware):
    """Every page needs a signed-in person unless its view says `@login_not_required`. The API answers for itself."""

    def handle_no_permission(
        self, request: HttpRequest, view_func: Callable[..., Any]
    ) -> HttpResponseRedirect | HttpResponseClientRedirect:
        if getattr(request, "htmx", False):
            # A redirect would put the sign-in form into the middle of the page that asked for a fragment.
            here = request.htmx.current_url_abs_path or "/"  # type: ignore[attr-defined]
            login = resolve_url(self.get_login_url(view_func))
            return HttpResponseClientRedirect(f"{login}?{urlencode({'next': here})}")
        return super().handle_no_permission(request, view_func)
