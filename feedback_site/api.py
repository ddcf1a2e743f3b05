"""What every answer of the API has in common: one shape of error, one manner of paging."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.pagination import CursorPagination
from rest_framework.response import Response


class CursorPages(CursorPagination):
    """`{"results": […], "next": url|null}`, newest first."""

    ordering = "-id"
    page_size_query_param = "limit"
    max_page_size = 1000

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"results": data, "next": self.get_next_link()})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "required": ["results", "next"],
            "properties": {
                "results": schema,
                "next": {"type": "string", "nullable": True, "format": "uri"},
            },
        }


class ApiError(exceptions.APIException):
    """An expected refusal: a status, a code for programs, a sentence for people, and fields where there are any."""

    def __init__(self, code: str, message: str, *, status: int = 400, fields: dict[str, Any] | None = None) -> None:
        super().__init__(message, code)
        self.status_code = status
        self.fields = fields


class Conflict(ApiError):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message, status=status.HTTP_409_CONFLICT)


def error_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """`{"error": {"code", "message", "fields"?}}` for every refusal. Anything else is a bug and goes to the log."""
    if isinstance(error, Http404):
        error = exceptions.NotFound("There is no such thing here, or it is not yours to see.")
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied(str(error) or "Your role does not allow this.")
    if not isinstance(error, exceptions.APIException):
        return None
    from rest_framework.views import set_rollback  # the framework's settings import this module

    set_rollback()
    headers = {}
    if getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = error.auth_header  # type: ignore[attr-defined]
    if getattr(error, "wait", None):
        headers["Retry-After"] = str(int(error.wait))  # type: ignore[attr-defined]
    body: dict[str, Any] = {"code": _code(error), "message": _message(error)}
    if fields := _fields(error):
        body["fields"] = fields
    return Response({"error": body}, status=error.status_code, headers=headers)


def _code(error: exceptions.APIException) -> str:
    if isinstance(error, exceptions.ValidationError):
        return "invalid"
    codes = error.get_codes()
    return codes if isinstance(codes, str) else error.default_code


def _message(error: exceptions.APIException) -> str:
    if not isinstance(error, exceptions.ValidationError):
        return str(error.detail)
    name, problem = next(iter(_fields(error).items()), ("", "The request is not valid."))
    return f"{name}: {problem}" if name else str(problem)


def _fields(error: exceptions.APIException) -> dict[str, Any]:
    if isinstance(error, ApiError):
        return error.fields or {}
    if not isinstance(error, exceptions.ValidationError):
        return {}
    return _flatten(error.detail)


def _flatten(detail: Any, prefix: str = "") -> dict[str, str]:
    """`{"aspects.0.low": "…"}` from DRF's nested lists and dictionaries."""
    if isinstance(detail, dict):
        parts = [(f"{prefix}.{key}" if prefix else str(key), value) for key, value in detail.items()]
    elif isinstance(detail, list) and detail and isinstance(detail[0], dict | list):
        parts = [(f"{prefix}.{n}" if prefix else str(n), value) for n, value in enumerate(detail) if value]
    elif isinstance(detail, list):
        return {prefix.removesuffix(".non_field_errors") or "request": " ".join(str(part) for part in detail)}
    else:
        return {prefix or "request": str(detail)}
    found: dict[str, str] = {}
    for name, value in parts:
        found |= _flatten(value, name)
    return found
