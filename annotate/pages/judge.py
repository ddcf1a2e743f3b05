"""The page on which people judge, and the items that it shows one after the other.

What people say goes to the API (annotate/api/slots.py), as from any other program; only the showing is here.
"""

import json
from dataclasses import asdict
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from annotate.access import annotator_for, get_project
from annotate.models import Annotator, Project, Slot
from annotate.selectors import own_progress, progress, recent, shown_completions
from annotate.services.slots import claim_slot
from annotate.tasktypes import TASK_TYPES
from feedback_site.accounts.models import User

REASONS = (
    ("factual", "Facts"),
    ("instructions", "Does what was asked"),
    ("reasoning", "Reasoning"),
    ("clarity", "Clarity"),
    ("harmless", "Safety"),
    ("style", "Tone and style"),
    ("length", "Length"),
)
SKIP_REASONS = (
    "I cannot judge this",
    "Too long",
    "Not in a language I read",
    "Broken or unreadable",
    "Disturbing content",
)
# Of a long conversation, what is unfolded at once.
UNFOLDED = 3
ROLES = {"user": "Person", "assistant": "Assistant", "system": "Instructions"}


@require_safe
@never_cache
def judge(request: HttpRequest, slug: str) -> HttpResponse:
    user: User = request.user  # type: ignore[assignment]  # signed in: SignInFirst saw to it
    project = get_project(user, slug, "annotate")
    context = {
        "project": project,
        "task": TASK_TYPES.get(project.kind),
        "reasons": REASONS,
        "skip_reasons": SKIP_REASONS,
        "heartbeat": max(15, min(60, project.lease_minutes * 60 // 3)),
    }
    return render(request, "annotate/judge.html", context)


@require_POST
@never_cache
def judge_next(request: HttpRequest, slug: str) -> HttpResponse:
    """The reader's next item, leased and rendered; or that nothing is left for them."""
    user: User = request.user  # type: ignore[assignment]  # signed in: SignInFirst saw to it
    project = get_project(user, slug, "annotate")
    annotator = annotator_for(user, project)
    slot = claim_slot(project=project, annotator=annotator) if project.kind in TASK_TYPES else None
    if slot is None:
        context = {
            "project": project,
            "progress": progress(project),
            "own": own_progress(project, annotator),
            "last": _undoable(annotator) if project.archived_at is None else None,
        }
        return render(request, "annotate/_judge_done.html", context)
    return render(request, "annotate/_judge_item.html", _shown(slot, project, annotator))


def _shown(slot: Slot, project: Project, annotator: Annotator) -> dict[str, Any]:
    """All that the page says about an item. Nothing here tells where a completion came from."""
    messages = [
        {"role": ROLES.get(message["role"], message["role"]), "kind": message["role"], "content": message["content"]}
        for message in slot.item.prompt.messages
    ]
    completions = shown_completions(slot)
    own = own_progress(project, annotator)
    return {
        "slot": slot,
        "uids": json.dumps([completion.uid for completion in completions]),
        "completions": [
            {"letter": letter, "text": completion.text} for letter, completion in zip("AB", completions, strict=False)
        ],
        "earlier": messages[:-UNFOLDED],
        "recent": messages[-UNFOLDED:],
        "last": _undoable(annotator),
        "own": own,
        "left": own.left + 1,
    }


def _undoable(annotator: Annotator) -> dict[str, Any] | None:
    """What “undo” would take back."""
    for last in recent(annotator, limit=1):
        found = asdict(last)
        return {"what": last.what, "id": last.id, "item": last.item_id, "verdict": found["verdict"]}
    return None
