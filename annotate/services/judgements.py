"""Judgements: submitted once however often they are sent, revised and withdrawn by adding to their chain."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.db.models import Q

from annotate.models import Annotator, Completion, Item, ItemCompletion, Judgement, Skip, Slot
from annotate.services.content import text_sha256
from annotate.services.leases import AlreadyJudged, NotCurrent, SubmissionReused, check_token, display_order
from annotate.services.slots import lease_instead, lease_of, settle
from annotate.tasktypes import Verdict, task_type
from annotate.tasktypes.shared import check_against_texts

# The submission id of a withdrawal follows from the judgement, so that undoing twice is undoing once.
WITHDRAWALS = uuid.UUID("5b1f3f6e-6d0c-4a53-9a55-0f6f7c1f9f2a")


@dataclass(frozen=True, slots=True)
class Submitted:
    """`replay` says that this submission was stored before; the judgement is the one stored then."""

    judgement: Judgement
    replay: bool


def submit_judgement(
    *,
    slot: Slot,
    annotator: Annotator,
    submission_id: uuid.UUID,
    lease_token: uuid.UUID,
    verdict: object,
    seconds: float | None,
    source: str,
) -> Submitted:
    """Store what the annotator says about the slot's item, once per submission id. One transaction.

    A lease that was lost meanwhile still stores the work: in the slot if it is open, else over quota, with the slot
    left to whoever has it now. Raises VerdictError, WrongLease, SubmissionReused, AlreadyJudged.
    """
    payload = _payload_sha256({"slot": slot.pk, "verdict": verdict, "seconds": seconds})
    if stored := _stored(submission_id, annotator, payload):
        return Submitted(stored, replay=True)
    check_token(lease_token, slot_id=slot.pk, annotator_id=annotator.pk)
    texts = _texts(slot.item)
    new = Judgement(
        project_id=slot.project_id,
        item_id=slot.item_id,
        slot_id=slot.pk,
        annotator=annotator,
        submission_id=submission_id,
        payload_sha256=payload,
        verdict=_checked(slot.item, verdict, texts),
        seconds=seconds,
        display_order=_shown(slot, annotator, texts),
        source=source,
    )
    try:
        with transaction.atomic():
            _store_first(new, slot)
    except (IntegrityError, AlreadyJudged):
        # Sent twice at the same moment, or judged in another tab: whoever came first has been stored by now.
        if stored := _stored(submission_id, annotator, payload):
            return Submitted(stored, replay=True)
        raise AlreadyJudged from None
    return Submitted(new, replay=False)


def revise_judgement(
    *,
    judgement: Judgement,
    annotator: Annotator,
    submission_id: uuid.UUID,
    verdict: object,
    seconds: float | None,
    source: str,
) -> Submitted:
    """Put another verdict in the place of a current one, once per submission id. One transaction.

    Of two revisions of the same judgement the first is kept and the second gets NotCurrent.
    """
    payload = _payload_sha256({"revises": judgement.pk, "verdict": verdict, "seconds": seconds})
    if stored := _stored(submission_id, annotator, payload):
        return Submitted(stored, replay=True)
    _check_own(judgement, annotator)
    new = _successor(judgement, submission_id=submission_id, payload_sha256=payload, source=source)
    new.verdict = _checked(judgement.item, verdict, _texts(judgement.item))
    new.seconds = seconds
    try:
        with transaction.atomic():
            _keep_edit(new)
            new.save(force_insert=True)
    except IntegrityError:
        if stored := _stored(submission_id, annotator, payload):
            return Submitted(stored, replay=True)
        raise NotCurrent from None
    return Submitted(new, replay=False)


def withdraw_judgement(*, judgement: Judgement, annotator: Annotator, source: str) -> Slot | None:
    """Undo: append a withdrawal and lease the slot to the same annotator again. Safe to repeat. One transaction.

    Whatever else the annotator holds in the project goes back. None if there is no slot to return to: the judgement was
    over quota, or after an earlier undo the slot has gone to somebody else.
    """
    _check_own(judgement, annotator)
    new = _successor(
        judgement,
        submission_id=uuid.uuid5(WITHDRAWALS, str(judgement.pk)),
        payload_sha256=_payload_sha256({"withdraws": judgement.pk}),
        source=source,
    )
    new.action = Judgement.Action.WITHDRAWN

    def work() -> None:
        after = Judgement.objects.filter(replaces=judgement).first()
        if after is not None and after.action != Judgement.Action.WITHDRAWN:
            raise NotCurrent
        if after is None:
            new.pk = None
            new.save(force_insert=True)
            _unskip(judgement)
            if judgement.slot is not None and not judgement.over_quota:
                done = Q(state=Slot.State.DONE, annotator=annotator)
                lease_instead(slot=judgement.slot, annotator=annotator, guard=done)

    settle(work)
    held = lease_of(project=judgement.project, annotator=annotator)
    return held if held is not None and held.pk == judgement.slot_id else None


def _store_first(new: Judgement, slot: Slot) -> None:
    """Call inside a transaction. The place is taken before the chain is read: on PostgreSQL its row is the lock."""
    place = _finish(slot, new)
    last = Judgement.objects.filter(item=new.item_id, annotator=new.annotator_id, replaced_by=None).first()
    if last is not None and last.action == Judgement.Action.JUDGED and not (place and last.over_quota):
        raise AlreadyJudged
    new.replaces = last
    new.over_quota = place is None
    new.slot_id = place or slot.pk
    _keep_edit(new)
    new.save(force_insert=True)


def _finish(slot: Slot, new: Judgement) -> int | None:
    """The slot that the judgement fills: the one held, or after a lost lease another one held on the same item, or the
    same one if it is open again; None if it is somebody else's now."""
    mine = Q(state=Slot.State.LEASED, annotator=new.annotator)
    done = {
        "state": Slot.State.DONE,
        "annotator": new.annotator,
        "lease_token": None,
        "lease_expires_at": None,
        "display_order": new.display_order,
    }
    if Slot.objects.filter(mine, pk=slot.pk).update(**done):
        return slot.pk
    _unskip(new)  # it was skipped perhaps, and is answered all the same from an older tab
    other = Slot.objects.filter(mine, item=slot.item_id).values_list("pk", flat=True).first()
    for pk, guard in ((other, mine), (slot.pk, Q(state=Slot.State.OPEN))):
        if pk and Slot.objects.filter(guard, pk=pk).update(**done):
            return pk
    return None


def _unskip(judgement: Judgement) -> None:
    Skip.objects.filter(item=judgement.item_id, annotator=judgement.annotator_id).delete()


def _stored(submission_id: uuid.UUID, annotator: Annotator, payload: str) -> Judgement | None:
    stored = Judgement.objects.filter(submission_id=submission_id).first()
    if stored is not None and (stored.annotator_id, stored.payload_sha256) != (annotator.pk, payload):
        raise SubmissionReused
    return stored


def _check_own(judgement: Judgement, annotator: Annotator) -> None:
    if judgement.annotator_id != annotator.pk:
        raise PermissionDenied("This judgement is somebody else's; only they can change it.")
    if judgement.action != Judgement.Action.JUDGED:
        raise NotCurrent


def _successor(judgement: Judgement, *, submission_id: uuid.UUID, payload_sha256: str, source: str) -> Judgement:
    return Judgement(
        project_id=judgement.project_id,
        item_id=judgement.item_id,
        slot_id=judgement.slot_id,
        annotator_id=judgement.annotator_id,
        submission_id=submission_id,
        payload_sha256=payload_sha256,
        display_order=judgement.display_order,
        source=source,
        over_quota=judgement.over_quota,
        replaces=judgement,
    )


def _checked(item: Item, verdict: object, texts: Mapping[str, str]) -> Verdict:
    found = task_type(item.kind).check_verdict(verdict, list(texts), item.project)
    check_against_texts(found, texts)
    return found


def _texts(item: Item) -> dict[str, str]:
    """uid → text of the item's completions, in the item's order."""
    parts = ItemCompletion.objects.filter(item=item).order_by("index")
    return dict(parts.values_list("completion__uid", "completion__text"))


def _shown(slot: Slot, annotator: Annotator, texts: Mapping[str, str]) -> list[str]:
    """The order in which this annotator saw the completions, also when the slot has passed to somebody else."""
    if slot.annotator_id == annotator.pk and slot.display_order:
        return list(slot.display_order)
    return display_order(item_id=slot.item_id, number=slot.number, uids=list(texts))


def _keep_edit(judgement: Judgement) -> None:
    """A correction becomes a completion by this annotator, unless the prompt has that very text already."""
    if edit := judgement.verdict.get("edit"):
        Completion.objects.get_or_create(
            prompt_id=judgement.item.prompt_id,
            sha256=text_sha256(edit["text"]),
            model_name="",
            defaults={
                "text": edit["text"],
                "source": Completion.Source.HUMAN,
                "author": judgement.annotator,
                "metadata": {"edit_of": edit["completion"]},
            },
        )


def _payload_sha256(payload: dict[str, Any]) -> str:
    """Of its canonical JSON, in ASCII: it comes before any check, and half a surrogate pair must not fail here."""
    return hashlib.sha256(json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
