"""Bring prompts, items and judgements in: rows of section 8, or one item of completions that are there."""

import logging
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import F, Max

from annotate.imports.limits import API_ROWS
from annotate.imports.plan import Known, Plan, known_of, make_plan
from annotate.imports.problems import Problem, RowError
from annotate.imports.rows import Draft, check_verdict, read_row
from annotate.models import Annotator, Completion, Item, ItemCompletion, Judgement, Project, Prompt, Slot
from annotate.services.content import canonical_json, item_key, text_sha256
from annotate.tasktypes import Verdict
from feedback_site.accounts.models import User

# The submission id of an imported judgement follows from its item and annotator: the same statement is one submission.
IMPORTED = uuid.UUID("0b6d5c3e-3b0e-4a55-9a4c-7d9f3b2c1a10")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Added:
    """`created`: items, and prompts that came alone. `duplicates`: rows that said nothing new."""

    created: int = 0
    duplicates: int = 0
    judgements: int = 0
    problems: list[Problem] = field(default_factory=list)


def add_rows(
    *, project: Project, rows: Sequence[object], created_by: User | None = None, dry_run: bool = False
) -> Added:
    """Add up to 1,000 rows; good ones land, bad ones are named by their index. One transaction.

    Rows that say what is stored already are duplicates, so sending them again is harmless. A dry run writes nothing
    and reports the same. Raises ValueError for more rows than that.
    """
    if len(rows) > API_ROWS:
        raise ValueError(
            f"{len(rows):,} rows are too many at once; send at most {API_ROWS:,}, or import them as a file."
        )
    drafts, problems = read_rows(project=project, rows=enumerate(rows))
    if dry_run:
        return report(make_plan(drafts, known_of(project, drafts)), problems)
    added = store(project=project, drafts=drafts, problems=problems)
    logger.info(
        "%s items and %s judgements added to %s by %s",
        added.created,
        added.judgements,
        project.slug,
        created_by or "nobody",
    )
    return added


def read_rows(*, project: Project, rows: Iterable[tuple[int, object]]) -> tuple[list[Draft], list[Problem]]:
    """What numbered rows mean, and what is wrong with the others. Touches no database."""
    drafts, problems = [], []
    for index, row in rows:
        try:
            drafts.append(read_row(row, index=index, project=project))
        except RowError as error:
            problems.append(Problem(index, error.field, error.message))
    return drafts, problems


def store(*, project: Project, drafts: list[Draft], problems: Iterable[Problem] = ()) -> Added:
    """Write what is new of these drafts. One transaction, which holds the project's row against other imports.

    The lock leaves claiming and judging alone: those only refer to the project.
    """
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        known = known_of(project, drafts)
        plan = make_plan(drafts, known)
        _add_prompts(project, plan, known)
        _add_judgements(project, plan, known, _add_items(project, plan, known))
    return report(plan, problems)


def report(plan: Plan, problems: Iterable[Problem] = ()) -> Added:
    return Added(
        created=len(plan.items) + plan.bare_prompts,
        duplicates=plan.duplicates,
        judgements=len(plan.judgements),
        problems=sorted([*problems, *plan.problems], key=lambda problem: problem.index),
    )


def add_item(*, project: Project, prompt: Prompt, completions: Sequence[Completion]) -> tuple[Item, bool]:
    """The item of this prompt and these completions, with `project.overlap` open slots. One transaction.

    True when it is new. Completions in any order are the same item.
    """
    ordered = sorted(completions, key=lambda completion: (completion.sha256, completion.model_name))
    key = item_key(prompt.sha256, [(completion.sha256, completion.model_name) for completion in ordered])
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        item, created = Item.objects.get_or_create(
            project=project, key=key, defaults={"prompt": prompt, "kind": project.kind, "overlap": project.overlap}
        )
        if created:
            ItemCompletion.objects.bulk_create(
                ItemCompletion(item=item, completion=completion, index=index)
                for index, completion in enumerate(ordered)
            )
            Slot.objects.bulk_create(_slot(item, number) for number in range(item.overlap))
    return item, created


def _slot(item: Item, number: int, annotator: Annotator | None = None) -> Slot:
    return Slot(
        item=item,
        project_id=item.project_id,
        number=number,
        state=Slot.State.DONE if annotator else Slot.State.OPEN,
        annotator=annotator,
        priority=item.priority,
        shuffle_key=random.random(),  # noqa: S311 - an order, not a secret
    )


def _add_prompts(project: Project, plan: Plan, known: Known) -> None:
    """What a row without completions brought beside its prompt is kept with the prompt."""
    new = []
    for sha256, draft in plan.prompts.items():
        metadata = {} if draft.key else draft.metadata | ({"id": draft.external_id} if draft.external_id else {})
        new.append(Prompt(project=project, sha256=sha256, messages=draft.messages, metadata=metadata))
    Prompt.objects.bulk_create(new)
    known.prompts |= {prompt.sha256: prompt.pk for prompt in new}


def _add_items(project: Project, plan: Plan, known: Known) -> dict[str, Item]:
    """The new items with their completions, by key; their slots come with the judgements."""
    completions = _add_completions(plan, known)
    new = [
        Item(
            project=project,
            prompt_id=known.prompts[draft.prompt_sha256],  # type: ignore[misc]  # written just now, or found
            kind=project.kind,
            key=key,
            overlap=project.overlap,
            external_id=draft.external_id,
            metadata=draft.metadata,
        )
        for key, draft in plan.items.items()
    ]
    said = Counter(draft.key for draft, _ in plan.judgements)
    for item in new:
        item.overlap = max(project.overlap, said[item.key])
    Item.objects.bulk_create(new)
    parts = []
    for item in new:
        found = [completions[item.prompt_id, *answer.identity] for answer in plan.items[item.key].answers]
        known.items[item.key] = item.pk
        known.uids[item.key] = [completion.uid for completion in found]
        parts += [ItemCompletion(item=item, completion=completion, index=n) for n, completion in enumerate(found)]
    ItemCompletion.objects.bulk_create(parts)
    return {item.key: item for item in new}


def _add_completions(plan: Plan, known: Known) -> dict[tuple[int, str, str], Completion]:
    """The completions of the new items by prompt, sha256 and model name. A text that came meanwhile serves."""
    wanted: dict[tuple[int, str, str], Completion] = {}
    for draft in plan.items.values():
        prompt_id = known.prompts[draft.prompt_sha256]
        assert prompt_id is not None  # written just now, or found
        for answer in draft.answers:
            sha256, model = answer.identity
            wanted.setdefault(
                (prompt_id, sha256, model),
                Completion(
                    prompt_id=prompt_id,
                    text=answer.text,
                    sha256=sha256,
                    source=Completion.Source.IMPORT,
                    model_name=model,
                    metadata=answer.metadata,
                ),
            )
    there = _completions_at(wanted)
    missing = [completion for place, completion in wanted.items() if place not in there]
    Completion.objects.bulk_create(missing, ignore_conflicts=True)
    return there | _completions_at({place: wanted[place] for place in wanted.keys() - there.keys()})


def _completions_at(wanted: dict[tuple[int, str, str], Completion]) -> dict[tuple[int, str, str], Completion]:
    rows = Completion.objects.filter(
        prompt__in={place[0] for place in wanted}, sha256__in={place[1] for place in wanted}
    ).only("pk", "uid", "prompt_id", "sha256", "model_name")
    return {(row.prompt_id, row.sha256, row.model_name): row for row in rows}


def _add_judgements(project: Project, plan: Plan, known: Known, new: dict[str, Item]) -> None:
    """Each fills an open slot of its item; where there is none, the item gets one more."""
    annotators = _stand_ins(project, {name for _, name in plan.judgements})
    said: dict[str, list[tuple[Draft, Annotator]]] = defaultdict(list)
    for draft, name in plan.judgements:
        said[draft.key].append((draft, annotators[name]))
    old = Item.objects.filter(pk__in=[known.items[key] for key in said if key not in new]).order_by("pk")
    old_slots = _fill_old(list(old.select_for_update(no_key=True)), said)
    judging = {key: [annotator for _, annotator in rows] for key, rows in said.items()}
    slots = {
        key: [
            _slot(item, number, annotator)
            for number, annotator in enumerate([*judging.get(key, []), *[None] * item.overlap][: item.overlap])
        ]
        for key, item in new.items()
    }
    Slot.objects.bulk_create(slot for of_item in slots.values() for slot in of_item)
    Judgement.objects.bulk_create(
        _judgement(project, draft, annotator, slot, known.uids[key])
        for key, rows in said.items()
        for (draft, annotator), slot in zip(rows, slots.get(key) or old_slots[key], strict=False)
    )


def _fill_old(items: list[Item], said: dict[str, list[tuple[Draft, Annotator]]]) -> dict[str, list[Slot]]:
    """Slots for judgements of items that were there. Slots that people hold at this moment stay theirs."""
    free: dict[int, list[Slot]] = defaultdict(list)
    open_slots = Slot.objects.filter(item__in=items, state=Slot.State.OPEN).order_by("item", "number")
    for slot in open_slots.select_for_update(skip_locked=True):
        free[slot.item_id].append(slot)
    highest = dict(Slot.objects.filter(item__in=items).order_by().values_list("item").annotate(Max("number")))
    filled, made, grown, found = [], [], defaultdict(list), {}
    for item in items:
        annotators = [annotator for _, annotator in said[item.key]]
        taken = free[item.pk][: len(annotators)]
        for slot, annotator in zip(taken, annotators, strict=False):
            slot.state, slot.annotator = Slot.State.DONE, annotator
        more = annotators[len(taken) :]
        extra = [_slot(item, highest.get(item.pk, -1) + n, annotator) for n, annotator in enumerate(more, start=1)]
        filled += taken
        made += extra
        grown[len(extra)].append(item.pk)
        found[item.key] = taken + extra
    Slot.objects.bulk_update(filled, ["state", "annotator"])
    Slot.objects.bulk_create(made)
    for count, pks in grown.items():
        Item.objects.filter(pk__in=pks).update(overlap=F("overlap") + count)
    return found


def _stand_ins(project: Project, names: set[str]) -> dict[str, Annotator]:
    there = {row.name: row for row in Annotator.objects.filter(project=project, user=None, name__in=names)}
    new = [Annotator(project=project, name=name) for name in sorted(names - there.keys())]
    Annotator.objects.bulk_create(new)
    return there | {annotator.name: annotator for annotator in new}


def _judgement(project: Project, draft: Draft, annotator: Annotator, slot: Slot, uids: list[str]) -> Judgement:
    verdict = check_verdict(_by_uid(draft.verdict or {}, uids), uids, project)
    return Judgement(
        project=project,
        item_id=slot.item_id,
        slot=slot,
        annotator=annotator,
        submission_id=uuid.uuid5(IMPORTED, f"{slot.item_id} {annotator.pk}"),
        payload_sha256=text_sha256(canonical_json({"verdict": verdict, "seconds": draft.seconds})),
        verdict=verdict,
        seconds=draft.seconds,
        source=Judgement.Source.IMPORT,
    )


def _by_uid(verdict: Verdict, uids: list[str]) -> Verdict:
    found: dict[str, Any] = dict(verdict)
    if "ranking" in verdict:
        found["ranking"] = [[uids[int(position)] for position in tied] for tied in verdict["ranking"]]
    if "labels" in verdict:
        found["labels"] = {uids[int(position)]: label for position, label in verdict["labels"].items()}
    return found
