"""The reader's projects."""

from dataclasses import dataclass

from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from annotate.access import ALLOWED, Role, may_create_projects, visible_projects
from annotate.models import Judgement, Membership, Project, Slot
from feedback_site.accounts.models import User


@dataclass(frozen=True, slots=True)
class Row:
    """A project as its reader sees it: how far it is, and what they have done themselves."""

    project: Project
    role: str
    done: int
    slots: int
    mine: int

    @property
    def open(self) -> int:
        return self.slots - self.done

    @property
    def can_judge(self) -> bool:
        return self.role in ALLOWED["annotate"]

    @property
    def can_manage(self) -> bool:
        return self.role in ALLOWED["manage"]


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    user: User = request.user  # type: ignore[assignment]  # signed in: SignInFirst saw to it
    rows = _rows(user)
    context = {
        "rows": [row for row in rows if row.project.archived_at is None],
        "archived": [row for row in rows if row.project.archived_at is not None],
        "new_url": reverse("project_new") if may_create_projects(user) else "",
    }
    return render(request, "annotate/home.html", context)


def _rows(user: User) -> list[Row]:
    """Four queries, however many projects there are."""
    projects = list(visible_projects(user))
    roles = dict(Membership.objects.filter(user=user).values_list("project_id", "role"))
    counted = Slot.objects.filter(project__in=projects).exclude(state=Slot.State.VOID).order_by().values("project")
    slots = {
        row["project"]: row
        for row in counted.annotate(all=Count("pk"), done=Count("pk", filter=Q(state=Slot.State.DONE)))
    }
    said = Judgement.objects.filter(project__in=projects, annotator__user=user, replaced_by=None)
    mine = said.filter(action=Judgement.Action.JUDGED).order_by().values_list("project").annotate(n=Count("pk"))
    counts: dict[int, int] = dict(mine)
    nothing = {"all": 0, "done": 0}
    return [
        Row(
            project,
            Role.OWNER if user.is_superuser else roles[project.pk],
            done=slots.get(project.pk, nothing)["done"],
            slots=slots.get(project.pk, nothing)["all"],
            mine=counts.get(project.pk, 0),
        )
        for project in projects
    ]
