"""Limits on guessing: how often a name, an address or a token may be tried.

In the database, since several web processes share the limit, and as one guarded UPDATE, since guesses come in parallel.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from feedback_site.accounts.models import Attempts

# Rows of windows that ended are removed when a new row is made: no clock job is needed.
KEPT_AFTER_END = timedelta(days=1)


@dataclass(frozen=True)
class Limit:
    purpose: str
    times: int
    window: timedelta

    def key(self, *parts: str) -> str:
        return hashlib.sha256("\0".join((self.purpose, *parts)).encode()).hexdigest()


# Five wrong passwords for one name from one address; an office behind one address signs in undisturbed, since a success
# gives its attempt back; and one name cannot be tried from ever new addresses.
SIGN_IN_AS = Limit("sign in as, from", 5, timedelta(minutes=15))
SIGN_IN_FROM = Limit("sign in from", 50, timedelta(minutes=15))
SIGN_IN_NAME = Limit("sign in as", 100, timedelta(hours=1))
WRONG_TOKENS = Limit("wrong tokens from", 30, timedelta(minutes=1))


def take(limit: Limit, *parts: str) -> bool:
    """Count one attempt; False when the window has none left. Needs no transaction: each statement stands alone."""
    now = timezone.now()
    row = Attempts.objects.filter(key=limit.key(*parts))
    running = row.filter(ends_at__gt=now, count__lt=limit.times)
    if running.update(count=F("count") + 1):
        return True
    if row.filter(ends_at__lte=now).update(count=1, ends_at=now + limit.window):
        return True
    try:
        with transaction.atomic():
            Attempts.objects.create(key=limit.key(*parts), count=1, ends_at=now + limit.window)
    except IntegrityError:
        # Used up, or made by somebody else since we looked.
        return bool(running.update(count=F("count") + 1))
    Attempts.objects.filter(ends_at__lt=now - KEPT_AFTER_END).delete()
    return True


def give_back(limit: Limit, *parts: str) -> None:
    """An attempt that succeeded was no guess."""
    Attempts.objects.filter(key=limit.key(*parts), count__gt=0).update(count=F("count") - 1)
