from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.utils import timezone

from feedback_site.accounts import guard
from feedback_site.accounts.models import Attempts

LIMIT = guard.Limit("test", 3, timedelta(minutes=1))


def test_a_window_has_so_many_attempts_and_no_more(db):
    assert [guard.take(LIMIT, "a") for _ in range(5)] == [True, True, True, False, False]


def test_each_key_has_its_own(db):
    for _ in range(4):
        guard.take(LIMIT, "a")
    assert guard.take(LIMIT, "b")
    assert guard.take(guard.Limit("other", 3, LIMIT.window), "a")


def test_parts_cannot_be_shifted_into_one_another():
    assert LIMIT.key("ab", "c") != LIMIT.key("a", "bc")


def test_a_new_window_begins_when_the_old_one_is_over(db):
    for _ in range(4):
        guard.take(LIMIT, "a")
    with time_machine.travel(timezone.now() + timedelta(seconds=61)):
        assert [guard.take(LIMIT, "a") for _ in range(4)] == [True, True, True, False]


def test_a_success_gives_its_attempt_back(db):
    for _ in range(10):
        assert guard.take(LIMIT, "a")
        guard.give_back(LIMIT, "a")


def test_rows_of_windows_long_over_are_removed(db):
    guard.take(LIMIT, "a")
    with time_machine.travel(timezone.now() + timedelta(days=2)):
        guard.take(LIMIT, "b")
    assert Attempts.objects.count() == 1


def test_what_was_typed_is_not_stored(db):
    guard.take(LIMIT, "a password in the name field")
    assert "password" not in str(Attempts.objects.values().get())


@pytest.mark.django_db(transaction=True)
def test_attempts_in_parallel_get_no_more_than_the_limit():
    def attempt(_):
        try:
            return guard.take(LIMIT, "a")
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(40))) == 3


@pytest.mark.django_db(transaction=True)
def test_without_the_guarded_update_parallel_attempts_get_more(monkeypatch):
    """The race is real: look first and write afterwards, and the test above would fail."""
    import threading

    barrier = threading.Barrier(4)

    def look_then_write(_):
        try:
            row = Attempts.objects.filter(key="x").first()
            barrier.wait(10)
            if row is None or row.count < 1:
                Attempts.objects.update_or_create(
                    key="x", defaults={"count": (row.count if row else 0) + 1, "ends_at": timezone.now()}
                )
                return True
            return False
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(look_then_write, range(4))) > 1
