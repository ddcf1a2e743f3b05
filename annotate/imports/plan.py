"""What rows would change: new prompts, new items, new judgements; what is there already; what contradicts it.

The same plan serves a dry run and the real one. It sees the project through `Known`.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from django.db.models import Prefetch

from annotate.imports.problems import Problem
from annotate.imports.rows import Draft
from annotate.models import Item, ItemCompletion, Judgement, Project, Prompt
from annotate.services.content import canonical_json, text_sha256
from annotate.tasktypes import Verdict

UNNAMED = "unnamed"


@dataclass
class Known:
    """What is there already of the prompts and items of some drafts."""

    prompts: dict[str, int | None] = field(default_factory=dict)  # sha256 → primary key
    items: dict[str, int | None] = field(default_factory=dict)  # key → primary key
    uids: dict[str, list[str]] = field(default_factory=dict)  # key → uids in the order of the drafts' answers
    said: dict[str, dict[str, set[str]]] = field(default_factory=lambda: defaultdict(dict))  # key → stand-in → verdicts


@dataclass
class Plan:
    prompts: dict[str, Draft] = field(default_factory=dict)
    items: dict[str, Draft] = field(default_factory=dict)
    judgements: list[tuple[Draft, str]] = field(default_factory=list)  # the draft and the stand-in's name
    duplicates: int = 0
    bare_prompts: int = 0  # rows that are prompts to sample for, and new
    problems: list[Problem] = field(default_factory=list)


def known_of(project: Project, drafts: list[Draft]) -> Known:
    """One query for prompts, and three for items with what stand-ins said of them."""
    known = Known()
    shas = {draft.prompt_sha256 for draft in drafts}
    known.prompts |= Prompt.objects.filter(project=project, sha256__in=shas).values_list("sha256", "pk")
    parts = ItemCompletion.objects.select_related("completion").only(
        "item", "index", "completion__uid", "completion__sha256", "completion__model_name"
    )
    keys = {draft.key for draft in drafts if draft.key}
    items = Item.objects.filter(project=project, key__in=keys).only("pk", "key")
    for item in items.prefetch_related(Prefetch("parts", queryset=parts)):
        completions = [part.completion for part in item.parts.all()]
        completions.sort(key=lambda completion: (completion.sha256, completion.model_name))
        known.items[item.key] = item.pk
        known.uids[item.key] = [completion.uid for completion in completions]
    said = Judgement.objects.filter(
        item__in=[pk for pk in known.items.values() if pk], annotator__user=None, action=Judgement.Action.JUDGED
    )
    for key, name, verdict in said.values_list("item__key", "annotator__name", "verdict"):
        known.said[key].setdefault(name, set()).add(_said_sha256(verdict, known.uids[key]))
    return known


def _said_sha256(verdict: Verdict, uids: list[str]) -> str:
    """As `Draft.said_sha256`: completions named by position, ties in the order of their names."""
    position = {uid: str(n) for n, uid in enumerate(uids)}
    found = dict(verdict)
    if "ranking" in verdict:
        found["ranking"] = [sorted(position[uid] for uid in tied) for tied in verdict["ranking"]]
    if "labels" in verdict:
        found["labels"] = {position[uid]: label for uid, label in verdict["labels"].items()}
    return text_sha256(canonical_json(found))


def make_plan(drafts: list[Draft], known: Known) -> Plan:
    """Go through the drafts in their order. `known` learns what the plan would add."""
    plan = Plan()
    for draft in drafts:
        new_prompt = draft.prompt_sha256 not in known.prompts
        new_item = bool(draft.key) and draft.key not in known.items
        name = ""
        if draft.verdict is not None:
            name, problem = _annotator(draft, known)
            if problem:
                plan.problems.append(problem)
                continue
        if new_prompt:
            known.prompts[draft.prompt_sha256] = None
            plan.prompts[draft.prompt_sha256] = draft
            plan.bare_prompts += not draft.key
        if new_item:
            known.items[draft.key] = None
            plan.items[draft.key] = draft
        if name:
            known.said[draft.key].setdefault(name, set()).add(draft.said_sha256)
            plan.judgements.append((draft, name))
        elif not new_item and not (new_prompt and not draft.key):
            plan.duplicates += 1
    return plan


def _annotator(draft: Draft, known: Known) -> tuple[str, Problem | None]:
    """Under which name the judgement is kept: empty when this name has said just that before."""
    said = known.said[draft.key]
    if not draft.annotator:
        name, number = UNNAMED, 1
        while name in said:
            if draft.said_sha256 in said[name]:
                return "", None
            number += 1
            name = f"{UNNAMED} {number}"
        return name, None
    before = said.get(draft.annotator)
    if before is None:
        return draft.annotator, None
    if draft.said_sha256 in before:
        return "", None
    message = (
        f"“{draft.annotator}” judged this item differently in an earlier row. Keep one of the two rows, or, if"
        " they are two people, give them two names."
    )
    return "", Problem(draft.index, "annotator", message)
