"""Addresses of those who ask."""

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """Where the request came from; an empty string when nobody knows.

    Behind our own proxy that is the last entry of `X-Forwarded-For`, the one that the proxy itself wrote. Those before
    it, and the whole header where there is no proxy, are whatever the client likes to claim.
    """
    if settings.BEHIND_PROXY and (chain := request.headers.get("X-Forwarded-For", "")):
        return chain.rsplit(",", 1)[-1].strip()[:45]
    return request.META.get("REMOTE_ADDR") or ""
