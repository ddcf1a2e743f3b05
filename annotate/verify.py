"""What must always hold of items, slots and judgements. `manage.py verify` runs it; each check names offending rows."""

from collections.abc import Callable, Iterator

from django.db.models import Prefetch

from annotate.models import Completion, ItemCompletion, Judgement, Prompt, Slot
from annotate.services.content import prompt_sha256, text_sha256
from annotate.tasktypes import TASK_TYPES, VerdictError

CHUNK = 1000


def check_prompt_sums() -> Iterator[str]:
    """Every prompt has the sha256 of its canonical JSON."""
    for prompt in Prompt.objects.only("pk", "sha256", "messages").iterator(CHUNK):
        if prompt_sha256(prompt.messages) != prompt.sha256:
            yield f"prompt {prompt.pk}: its messages have changed since it was stored."


def check_completion_sums() -> Iterator[str]:
    """Every completion has the sha256 of its text."""
    for completion in Completion.objects.only("pk", "sha256", "text").iterator(CHUNK):
        if text_sha256(completion.text) != completion.sha256:
            yield f"completion {completion.pk}: its text has changed since it was stored."


def check_display_orders() -> Iterator[str]:
    """What was shown is the item's completions, each once."""
    slots = Slot.objects.exclude(display_order=None).only("pk", "item", "display_order")
    judgements = Judgement.objects.exclude(display_order=None).only("pk", "item", "display_order")
    for name, rows in (("slot", slots), ("judgement", judgements)):
        for row in rows.prefetch_related(_parts()).iterator(CHUNK):
            if sorted(row.display_order or []) != sorted(_uids(row)):
                yield f"{name} {row.pk}: its display order is not an order of the completions of item {row.item_id}."


def check_verdicts() -> Iterator[str]:
    """Verdicts are about the completions of their item, and in the normal form of their task type.

    Whether ties are allowed may have changed since: they are let pass.
    """
    rows = Judgement.objects.filter(action=Judgement.Action.JUDGED, item__kind__in=TASK_TYPES)
    for row in rows.select_related("item__project").prefetch_related(_parts()).iterator(CHUNK):
        project = row.item.project
        project.allow_ties = True
        try:
            normal = TASK_TYPES[row.item.kind].check_verdict(row.verdict, _uids(row), project)
        except VerdictError as error:
            yield f"judgement {row.pk}: {error.message}"
            continue
        if normal != row.verdict:
            yield f"judgement {row.pk}: its verdict is not in the form in which it should have been stored."


def _parts() -> Prefetch:
    parts = ItemCompletion.objects.select_related("completion").only("item", "index", "completion__uid")
    return Prefetch("item__parts", queryset=parts)


def _uids(row: Slot | Judgement) -> list[str]:
    return [part.completion.uid for part in row.item.parts.all()]


# `counted`: current judgements (nothing replaces them, they are no withdrawals) that are not over quota.
COUNTED = """
    WITH said AS (
        SELECT j.* FROM annotate_judgement j WHERE j.action = 'judged'
            AND NOT EXISTS (SELECT 1 FROM annotate_judgement later WHERE later.replaces_id = j.id)
    ), counted AS (SELECT * FROM said WHERE NOT over_quota)
"""


def _counting(sql: str) -> str:
    return f"{COUNTED} {sql}"


CHECKS: list[tuple[str, str, str | Callable[[], Iterator[str]]]] = [
    (
        "item_slots",
        "An item has as many slots as its overlap, void ones not counted; or only void ones, when it was put away.",
        """
        SELECT i.id FROM annotate_item i LEFT JOIN annotate_slot s ON s.item_id = i.id
        GROUP BY i.id, i.overlap HAVING COUNT(CASE WHEN s.state <> 'void' THEN 1 END) <> i.overlap
            AND (COUNT(s.id) = 0 OR COUNT(CASE WHEN s.state <> 'void' THEN 1 END) > 0)
        """,
    ),
    (
        "item_overlap",
        "No item has more counted judgements than its overlap.",
        _counting("""
        SELECT i.id FROM annotate_item i JOIN counted j ON j.item_id = i.id
        GROUP BY i.id, i.overlap HAVING COUNT(j.id) > i.overlap
        """),
    ),
    (
        "item_parts",
        "An item has completions, and all of them answer its prompt.",
        """
        SELECT i.id FROM annotate_item i
        LEFT JOIN annotate_itemcompletion p ON p.item_id = i.id
        LEFT JOIN annotate_completion c ON c.id = p.completion_id
        WHERE c.id IS NULL OR c.prompt_id <> i.prompt_id
        """,
    ),
    (
        "item_prompt_project",
        "An item and its prompt belong to one project.",
        """
        SELECT i.id FROM annotate_item i JOIN annotate_prompt p ON p.id = i.prompt_id WHERE p.project_id <> i.project_id
        """,
    ),
    (
        "slot_project",
        "A slot, its item and its annotator belong to one project.",
        """
        SELECT s.id FROM annotate_slot s
        JOIN annotate_item i ON i.id = s.item_id
        LEFT JOIN annotate_annotator a ON a.id = s.annotator_id
        WHERE s.project_id <> i.project_id OR a.project_id <> i.project_id
        """,
    ),
    (
        "slot_leased",
        "A leased slot has an annotator, a token, an end and a display order; an open one has none of them.",
        """
        SELECT s.id FROM annotate_slot s
        WHERE (s.state = 'leased' AND (s.annotator_id IS NULL OR s.lease_token IS NULL
                OR s.lease_expires_at IS NULL OR s.display_order IS NULL))
            OR (s.state = 'open' AND (s.annotator_id IS NOT NULL OR s.lease_token IS NOT NULL
                OR s.lease_expires_at IS NOT NULL OR s.display_order IS NOT NULL))
        """,
    ),
    (
        "slot_done",
        "A done slot has exactly one counted judgement, by its annotator.",
        _counting("""
        SELECT s.id FROM annotate_slot s
        LEFT JOIN counted j ON j.slot_id = s.id AND j.annotator_id = s.annotator_id
        WHERE s.state = 'done' GROUP BY s.id HAVING COUNT(j.id) <> 1
        """),
    ),
    (
        "judgement_slot",
        "A counted judgement fills a done slot of its item and annotator.",
        _counting("""
        SELECT j.id FROM counted j LEFT JOIN annotate_slot s ON s.id = j.slot_id
        WHERE s.id IS NULL OR s.state <> 'done' OR s.item_id <> j.item_id OR s.annotator_id <> j.annotator_id
        """),
    ),
    (
        "judgement_once",
        "Nobody has two current judgements of one item.",
        _counting("""
        SELECT MAX(j.id) FROM said j GROUP BY j.item_id, j.annotator_id HAVING COUNT(j.id) > 1
        """),
    ),
    (
        "judgement_chain",
        "A judgement replaces an earlier one of the same item and annotator; a withdrawal never follows another.",
        """
        SELECT j.id FROM annotate_judgement j JOIN annotate_judgement k ON k.id = j.replaces_id
        WHERE k.id >= j.id OR k.item_id <> j.item_id OR k.annotator_id <> j.annotator_id
            OR (j.action = 'withdrawn' AND k.action = 'withdrawn')
        """,
    ),
    (
        "judgement_project",
        "A judgement, its item and its annotator belong to one project.",
        """
        SELECT j.id FROM annotate_judgement j
        JOIN annotate_item i ON i.id = j.item_id
        JOIN annotate_annotator a ON a.id = j.annotator_id
        WHERE j.project_id <> i.project_id OR a.project_id <> i.project_id
        """,
    ),
    (
        "skip_not_held",
        "Nobody holds an item that they skipped.",
        """
        SELECT k.id FROM annotate_skip k
        JOIN annotate_slot s ON s.item_id = k.item_id AND s.annotator_id = k.annotator_id AND s.state = 'leased'
        """,
    ),
    ("prompt_sha256", "Every prompt has the sha256 of its messages.", check_prompt_sums),
    ("completion_sha256", "Every completion has the sha256 of its text.", check_completion_sums),
    ("display_order", "What was shown is an order of the item's completions.", check_display_orders),
    ("verdict", "Every verdict is about its item's completions, in the form of its task type.", check_verdicts),
]
