"""Slots: claimed, kept alive, given back, skipped, taken up again.

Every change is one UPDATE whose WHERE says what must still hold, and whose row count says whether it did. An expired
lease is free by that condition alone: nothing has to sweep. An annotator holds one lease per project (slot_one_lease).
"""

import uuid
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, connection, transaction
from django.db.models import BooleanField, Exists, OuterRef, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from annotate.models import Annotator, ItemCompletion, Judgement, Project, Skip, Slot
from annotate.services.leases import AlreadyJudged, LeaseLost, check_token, display_order, new_token
from annotate.tasktypes import TASK_TYPES

# How many free slots to try in turn where rows cannot be locked: others may be faster at the first ones.
LOOKAHEAD = 8
# The condition of the index `slot_claim`, to the letter: SQLite does not use a partial index for a bound parameter.
WAITING = RawSQL("annotate_slot.state IN ('open', 'leased')", (), output_field=BooleanField())
OPEN: dict[str, Any] = {
    "state": Slot.State.OPEN,
    "annotator": None,
    "lease_token": None,
    "lease_expires_at": None,
    "leased_at": None,
    "display_order": None,
}


def claim_slot(*, project: Project, annotator: Annotator) -> Slot | None:
    """The annotator's own lease, renewed, or else the next free slot, leased; None when nothing is left for them.

    Commits by itself; safe to repeat: a reload or a second tab gets the same slot and token again. The first look takes
    what nobody holds; None is only said after a second look that waits for the others.
    """
    if project.archived_at is not None or project.kind not in TASK_TYPES:
        return None
    for wait, last in ((False, False), (True, False), (True, True)):
        try:
            slot = _renew_lease(project, annotator) or _lease_free_slot(project, annotator, wait=wait)
        except IntegrityError:
            # Another tab of the same annotator was faster: its lease is found in the next round.
            if last:
                raise
            continue
        if slot is not None or wait:
            return slot
    return None


def claimable(*, project: Project, annotator: Annotator) -> QuerySet[Slot]:
    """Free slots of items that the annotator has not judged, holds nowhere and did not skip; first come the urgent.

    Read through the index `slot_claim`. Not for use as part of another query.
    """
    of_item = {"item": OuterRef("item"), "annotator": annotator}
    judged = Judgement.objects.filter(**of_item, action=Judgement.Action.JUDGED, replaced_by=None)
    return Slot.objects.filter(
        free(),
        ~Exists(Slot.objects.filter(**of_item)),
        ~Exists(judged),
        ~Exists(Skip.objects.filter(**of_item)),
        WAITING,
        project=project,
    ).order_by("-priority", "shuffle_key", "pk")


def free() -> Q:
    """Open, or leased until a time that has passed by the database's clock."""
    return Q(state=Slot.State.OPEN) | Q(state=Slot.State.LEASED, lease_expires_at__lte=Now())


def lease(*, slot: Slot, annotator: Annotator, guard: Q) -> bool:
    """Lease the slot to the annotator if `guard` holds for it at this very moment. Says whether it did.

    IntegrityError if the annotator has another lease in the project or another slot of the item.
    """
    uids = list(ItemCompletion.objects.filter(item=slot.item_id).values_list("completion__uid", flat=True))
    # A statement by itself commits by itself, which holds SQLite's only write lock for as short as can be; inside a
    # transaction it needs a savepoint, so that a constraint that says no does not spoil the whole.
    with transaction.atomic() if connection.in_atomic_block else nullcontext():
        leased = Slot.objects.filter(guard, pk=slot.pk).update(
            state=Slot.State.LEASED,
            annotator=annotator,
            lease_token=new_token(slot_id=slot.pk, annotator_id=annotator.pk),
            leased_at=Now(),
            lease_expires_at=_end(slot.project),
            display_order=display_order(item_id=slot.item_id, number=slot.number, uids=uids),
        )
    return leased == 1


def lease_of(*, project: Project, annotator: Annotator) -> Slot | None:
    """What the annotator holds in the project, perhaps expired but not taken by anybody else."""
    held = Slot.objects.filter(project=project, annotator=annotator, state=Slot.State.LEASED)
    return held.select_related("project", "item__prompt").first()


def heartbeat_slot(*, slot: Slot, annotator: Annotator, lease_token: uuid.UUID) -> datetime:
    """Renew the lease; LeaseLost if it is no longer the annotator's. Returns when it will end. One UPDATE."""
    check_token(lease_token, slot_id=slot.pk, annotator_id=annotator.pk)
    held = _held(slot, annotator).filter(lease_token=lease_token)
    if not held.update(lease_expires_at=_end(slot.project)):
        raise LeaseLost
    ends = held.values_list("lease_expires_at", flat=True).first()
    if ends is None:
        raise LeaseLost
    return ends


def release_slot(*, slot: Slot, annotator: Annotator, lease_token: uuid.UUID) -> None:
    """Give the slot back unjudged. Harmless if the lease has ended already. One UPDATE."""
    check_token(lease_token, slot_id=slot.pk, annotator_id=annotator.pk)
    _held(slot, annotator).filter(lease_token=lease_token).update(**OPEN)


def skip_slot(*, slot: Slot, annotator: Annotator, lease_token: uuid.UUID, reason: str = "") -> Skip:
    """Pass on the item for good; its slot is open for others again. Safe to repeat. One transaction.

    A lease that has ended is no obstacle: the item will not come back to this annotator.
    """
    check_token(lease_token, slot_id=slot.pk, annotator_id=annotator.pk)
    with transaction.atomic():
        # By item, not by slot: after a lost lease the annotator may hold another slot of the same item.
        freed = Slot.objects.filter(item=slot.item_id, annotator=annotator, state=Slot.State.LEASED).update(**OPEN)
        if not freed and _has_judged(slot.item_id, annotator):
            raise AlreadyJudged
        skip, _ = Skip.objects.get_or_create(item_id=slot.item_id, annotator=annotator, defaults={"reason": reason})
    return skip


def undo_skip(*, skip: Skip, annotator: Annotator) -> Slot | None:
    """Take a skip back and lease the item again, if one of its slots is still free. One transaction.

    Whatever else the annotator holds in the project goes back, as they can look at one item only.
    """
    if skip.annotator_id != annotator.pk:
        raise PermissionDenied("This was skipped by somebody else; only they can take it back.")
    project = annotator.project

    def work() -> None:
        Skip.objects.filter(pk=skip.pk).delete()
        for slot in claimable(project=project, annotator=annotator).filter(item=skip.item_id).order_by("number"):
            if lease_instead(slot=slot, annotator=annotator, guard=free()):
                break

    settle(work)
    held = lease_of(project=project, annotator=annotator)
    return held if held is not None and held.item_id == skip.item_id else None


def lease_instead(*, slot: Slot, annotator: Annotator, guard: Q) -> bool:
    """Lease this slot in place of whatever the annotator holds in the project. Call inside a transaction."""
    Slot.objects.filter(project=slot.project_id, annotator=annotator, state=Slot.State.LEASED).update(**OPEN)
    return lease(slot=slot, annotator=annotator, guard=guard)


def settle(work: Callable[[], None]) -> None:
    """Do the work in one transaction; again where a constraint said that another tab of the annotator was faster."""
    for last in (False, False, True):
        try:
            with transaction.atomic():
                work()
            return
        except IntegrityError:
            if last:
                raise


def _renew_lease(project: Project, annotator: Annotator) -> Slot | None:
    held = Slot.objects.filter(project=project, annotator=annotator, state=Slot.State.LEASED)
    pk = held.values_list("pk", flat=True).first()
    if pk is None or not held.filter(pk=pk).update(lease_expires_at=_end(project)):
        return None
    return lease_of(project=project, annotator=annotator)


def _lease_free_slot(project: Project, annotator: Annotator, *, wait: bool) -> Slot | None:
    """With row locks: the first that nobody has locked, or the first at all when waiting. Without: the first of a few
    whose UPDATE finds it still free, or when waiting the first, as a SQLite transaction then keeps others from writing.
    """
    alone = wait or connection.features.has_select_for_update_skip_locked
    with transaction.atomic() if alone else nullcontext():
        rows = _locked(claimable(project=project, annotator=annotator), wait=wait)
        for slot in rows.select_related("project")[: 1 if alone else LOOKAHEAD]:
            if lease(slot=slot, annotator=annotator, guard=free()):
                break
    return lease_of(project=project, annotator=annotator)


def _locked(rows: QuerySet[Slot], *, wait: bool) -> QuerySet[Slot]:
    if not connection.features.has_select_for_update_skip_locked:
        return rows
    return rows.select_for_update(skip_locked=not wait, of=("self",))


def _held(slot: Slot, annotator: Annotator) -> QuerySet[Slot]:
    return Slot.objects.filter(pk=slot.pk, annotator=annotator, state=Slot.State.LEASED)


def _has_judged(item_id: int, annotator: Annotator) -> bool:
    mine = Judgement.objects.filter(item=item_id, annotator=annotator, replaced_by=None)
    return mine.filter(action=Judgement.Action.JUDGED).exists()


def _end(project: Project) -> Any:
    """When a lease that begins now will end, by the database's clock."""
    return Now() + timedelta(minutes=project.lease_minutes)
