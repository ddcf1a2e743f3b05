"""What pages and exports read about judging. Nothing here writes."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from annotate.models import Annotator, Completion, Item, Judgement, Project, Skip, Slot
from annotate.services.slots import claimable, free


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a project is. A lease that has expired counts as open. `items_done` have no slot left to judge."""

    items: int
    items_done: int
    open: int
    leased: int
    done: int
    void: int
    judgements: int
    over_quota: int
    skips: int
    annotators: int

    @property
    def slots(self) -> int:
        return self.open + self.leased + self.done

    @property
    def fraction(self) -> float:
        return self.done / self.slots if self.slots else 0.0


@dataclass(frozen=True, slots=True)
class OwnProgress:
    """How far one annotator is: judged in all and since midnight UTC, and items that they could still be given."""

    judged: int
    judged_today: int
    left: int


@dataclass(frozen=True, slots=True)
class Recent:
    """Something that an annotator did last and may undo: `what` is "judgement" or "skip", `id` is its id."""

    what: str
    id: int
    item_id: int
    at: datetime
    verdict: dict[str, Any]
    reason: str
    over_quota: bool


def current_judgements(project: Project) -> QuerySet[Judgement]:
    """The end of every chain that is not withdrawn. Those over quota are among them, marked `over_quota`."""
    return _current().filter(project=project)


def progress(project: Project) -> Progress:
    """Four queries, whatever the size of the project."""
    slots = Slot.objects.filter(project=project).aggregate(
        open=Count("pk", filter=free()),
        leased=Count("pk", filter=Q(state=Slot.State.LEASED) & ~free()),
        done=Count("pk", filter=Q(state=Slot.State.DONE)),
        void=Count("pk", filter=Q(state=Slot.State.VOID)),
    )
    waiting = Slot.objects.filter(item=OuterRef("pk"), state__in=[Slot.State.OPEN, Slot.State.LEASED])
    finished = Slot.objects.filter(item=OuterRef("pk"), state=Slot.State.DONE)
    items = Item.objects.filter(project=project).aggregate(
        items=Count("pk"), items_done=Count("pk", filter=~Exists(waiting) & Exists(finished))
    )
    said = current_judgements(project).aggregate(
        judgements=Count("pk", filter=Q(over_quota=False)),
        over_quota=Count("pk", filter=Q(over_quota=True)),
        annotators=Count("annotator", distinct=True),
    )
    skips = Skip.objects.filter(item__project=project).count()
    return Progress(**slots, **items, **said, skips=skips)


def own_progress(project: Project, annotator: Annotator) -> OwnProgress:
    """Two queries."""
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    judged = my_judgements(annotator).aggregate(
        judged=Count("pk"), judged_today=Count("pk", filter=Q(created_at__gte=midnight))
    )
    left = claimable(project=project, annotator=annotator).order_by().values("item").distinct().count()
    return OwnProgress(**judged, left=left)


def my_judgements(annotator: Annotator) -> QuerySet[Judgement]:
    """The annotator's current judgements, newest first."""
    return _current().filter(annotator=annotator).order_by("-pk")


def recent(annotator: Annotator, limit: int = 10) -> list[Recent]:
    """What the annotator judged or skipped last and may undo, newest first. Two queries."""
    judged = [
        Recent("judgement", row.pk, row.item_id, row.created_at, row.verdict, "", row.over_quota)
        for row in my_judgements(annotator)[:limit]
    ]
    skipped = [
        Recent("skip", row.pk, row.item_id, row.created_at, {}, row.reason, False)
        for row in Skip.objects.filter(annotator=annotator).order_by("-created_at", "-pk")[:limit]
    ]
    return sorted(judged + skipped, key=lambda row: row.at, reverse=True)[:limit]


def shown_completions(slot: Slot) -> list[Completion]:
    """The completions of a leased slot from left to right, as its annotator is to see them. One query."""
    found = Completion.objects.filter(parts__item=slot.item_id).only("uid", "text")
    by_uid = {completion.uid: completion for completion in found}
    return [by_uid[uid] for uid in slot.display_order or []]


def _current() -> QuerySet[Judgement]:
    return Judgement.objects.filter(action=Judgement.Action.JUDGED, replaced_by=None)
