"""API tokens: made once, shown once, kept as a digest."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.utils import timezone

from feedback_site.accounts.models import ApiToken, User

PREFIX = "plumb_"
# `last_used_at` is for people; a write at every request would be for nobody.
USE_NOTED_EVERY = timedelta(minutes=1)


def create_token(
    *, user: User, name: str, scopes: Iterable[str], expires_at: datetime | None = None
) -> tuple[ApiToken, str]:
    """The row and the token itself, which exists nowhere else. One INSERT; no transaction needed."""
    wanted = list(dict.fromkeys(scopes))
    if unknown := set(wanted) - set(ApiToken.Scope.values):
        raise ValueError(f"Unknown scope {', '.join(sorted(unknown))}. Choose from {', '.join(ApiToken.Scope.values)}.")
    secret = PREFIX + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        user=user,
        name=name,
        prefix=secret[: len(PREFIX) + 5],
        digest=digest(secret),
        scopes=wanted,
        expires_at=expires_at,
    )
    return token, secret


def find_token(secret: str) -> ApiToken | None:
    """The usable token with this secret. Tokens have 256 bits, so a plain digest is enough."""
    return ApiToken.objects.usable().select_related("user").filter(digest=digest(secret)).first()


def note_use(*, token: ApiToken) -> None:
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > USE_NOTED_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)


def revoke_token(*, token: ApiToken) -> None:
    """From the next request on it opens nothing. Revoking twice keeps the first time."""
    ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
