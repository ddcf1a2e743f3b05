"""What the tests of judging share: short ways to claim and judge, real threads, and the invariants."""

import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from django.db import connection

from annotate.models import Annotator, Judgement, Project, Slot
from annotate.services.judgements import Submitted, submit_judgement
from annotate.services.slots import claim_slot
from annotate.verify import CHECKS


def claim(project: Project, annotator: Annotator) -> Slot:
    """A claim that must give something."""
    slot = claim_slot(project=project, annotator=annotator)
    assert slot is not None
    return slot


def left_wins(slot: Slot) -> dict[str, Any]:
    """The verdict that what was shown on the left is better, or good."""
    left, *others = slot.display_order
    return {"ranking": [[left], *[[uid] for uid in others]]} if others else {"labels": {left: True}}


def submit(slot: Slot, annotator: Annotator, **changes: Any) -> Submitted:
    """Judge what the annotator claimed; fields that are left out are as a browser would send them."""
    given = {
        "submission_id": uuid.uuid4(),
        "lease_token": slot.lease_token,
        "verdict": changes.get("verdict") or left_wins(slot),
        "seconds": 4.5,
        "source": Judgement.Source.BROWSER,
    } | changes
    return submit_judgement(slot=slot, annotator=annotator, **given)


def fresh(slot: Slot) -> Slot:
    """The slot as the next request would load it."""
    return Slot.objects.select_related("project", "item__project", "item__prompt").get(pk=slot.pk)


def expire(slot: Slot) -> None:
    Slot.objects.filter(pk=slot.pk, state=Slot.State.LEASED).update(lease_expires_at="2020-01-01T00:00:00Z")


def broken() -> list[str]:
    """What `manage.py verify` would say of this room."""
    found = []
    for name, _sentence, check in CHECKS:
        if callable(check):
            found += [f"{name}: {problem}" for problem in check()]
        else:
            with connection.cursor() as cursor:
                cursor.execute(check)
                found += [f"{name}: {row[0]}" for row in cursor.fetchall()]
    return found


def at_once(work: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run each in a thread with a connection of its own, all let go together; results or exceptions, in order."""
    barrier = threading.Barrier(len(work))
    results: list[Any] = [None] * len(work)

    def run(n: int) -> None:
        try:
            connection.ensure_connection()
            barrier.wait(30)
            results[n] = work[n]()
        except Exception as error:
            results[n] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return results
