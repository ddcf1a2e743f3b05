"""How many annotators judge each item of a project, changed while they judge."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from django.db import transaction
from django.db.models import Count, F, IntegerField, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from annotate.models import Item, Project, Slot

CHUNK = 1000
OF_NOBODY = Q(annotator=None, judgements=None)


class OverlapChange(NamedTuple):
    added: int
    voided: int


def change_overlap(*, project: Project, overlap: int) -> OverlapChange:
    """Give every item as many slots as this, and set what new items get.

    Slots that somebody holds or has filled stay, so an item may keep more than `overlap`. One transaction; it holds
    the project's row, so that two changes follow one another. Claims go on meanwhile: voiding is guarded by
    `state = open`, so a claim that is faster keeps its slot, and the next look counts it.
    """
    with transaction.atomic():
        Project.objects.select_for_update().get(pk=project.pk)
        Project.objects.filter(pk=project.pk).update(overlap=overlap)
        voided = _void_surplus(project, overlap)
        added = _add_missing(project, overlap)
    return OverlapChange(added=added, voided=voided)


def _void_surplus(project: Project, overlap: int) -> int:
    voided = 0
    while surplus := list(_surplus(project, overlap).values_list("pk", flat=True)[:CHUNK]):
        voided += Slot.objects.filter(pk__in=surplus, state=Slot.State.OPEN).update(state=Slot.State.VOID)
    Item.objects.annotate(live=_live_slots()).filter(project=project, overlap__gt=F("live"), live__gte=1).update(
        overlap=_live_slots()
    )
    return voided


def _surplus(project: Project, overlap: int) -> QuerySet[Slot]:
    """Open slots with `overlap` others before them: those that are taken, then the open ones with lower numbers."""
    before = (
        Slot.objects.filter(item=OuterRef("item"))
        .filter(
            Q(state__in=[Slot.State.LEASED, Slot.State.DONE]) | Q(state=Slot.State.OPEN, number__lt=OuterRef("number"))
        )
        .order_by()
        .values("item")
        .annotate(count=Count("*"))
        .values("count")
    )
    counted = Slot.objects.annotate(before=Coalesce(Subquery(before), 0))
    return counted.filter(project=project, state=Slot.State.OPEN, before__gte=overlap).order_by()


def _add_missing(project: Project, overlap: int) -> int:
    added = 0
    for items in _short_items(project, overlap):
        added += _fill(items, overlap)
    return added


def _short_items(project: Project, overlap: int) -> Iterator[Sequence[Item]]:
    """Items with fewer live slots, a chunk at a time, locked. One without any live slot was put away."""
    short = (
        Item.objects.annotate(live=_live_slots()).filter(project=project, live__gte=1, live__lt=overlap).order_by("pk")
    )
    last = 0
    while chunk := list(short.filter(pk__gt=last).select_for_update(of=("self",))[:CHUNK]):
        yield chunk
        last = chunk[-1].pk


def _fill(items: Sequence[Item], overlap: int) -> int:
    """Voided slots that nobody ever had are opened again before new ones are made."""
    spare: dict[int, list[int]] = defaultdict(list)
    voided = Slot.objects.filter(OF_NOBODY, item__in=items, state=Slot.State.VOID).order_by("number")
    for item_id, pk in voided.values_list("item_id", "pk"):
        spare[item_id].append(pk)
    highest = dict(Slot.objects.filter(item__in=items).order_by().values_list("item_id").annotate(Max("number")))
    opened: list[int] = []
    made: list[Slot] = []
    for item in items:
        missing = overlap - item.live  # type: ignore[attr-defined]
        opened += spare[item.pk][:missing]
        for number in range(1, missing - len(spare[item.pk]) + 1):
            made.append(
                Slot(
                    item=item,
                    project_id=item.project_id,
                    number=highest[item.pk] + number,
                    priority=item.priority,
                    shuffle_key=random.random(),  # noqa: S311 - an order, not a secret
                )
            )
    Slot.objects.filter(pk__in=opened, state=Slot.State.VOID).update(state=Slot.State.OPEN)
    Slot.objects.bulk_create(made)
    Item.objects.filter(pk__in=[item.pk for item in items]).update(overlap=overlap)
    return len(opened) + len(made)


def _live_slots() -> Coalesce:
    live = Slot.objects.filter(item=OuterRef("pk")).exclude(state=Slot.State.VOID).order_by().values("item")
    return Coalesce(Subquery(live.annotate(count=Count("*")).values("count")), 0, output_field=IntegerField())
