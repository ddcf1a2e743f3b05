"""Small hand-written makers. Each makes one thing with sensible defaults and returns it."""

import hashlib
import json
import random
import uuid
from collections.abc import Sequence
from typing import Any

from annotate.models import (
    Annotator,
    Completion,
    Item,
    ItemCompletion,
    Judgement,
    Membership,
    Project,
    Prompt,
    Slot,
)
from feedback_site.accounts.models import User

PASSWORD = "a long enough password"


def make_user(name: str, **fields: Any) -> User:
    return User.objects.create_user(username=name, password=PASSWORD, email=f"{name}@example.org", **fields)


def make_project(slug: str = "answers", *, owner: User | None = None, **fields: Any) -> Project:
    fields = {"name": slug.title(), "kind": Project.Kind.PAIRWISE, "overlap": 1} | fields
    project = Project.objects.create(slug=slug, created_by=owner, **fields)
    if owner:
        Membership.objects.create(project=project, user=owner, role=Membership.Role.OWNER)
    return project


def make_annotator(project: Project, name: str = "", user: User | None = None) -> Annotator:
    return Annotator.objects.create(project=project, user=user, name=name or (user.username if user else "somebody"))


def make_prompt(project: Project, content: str = "", messages: list[dict[str, str]] | None = None) -> Prompt:
    messages = messages or [{"role": "user", "content": content or f"Question {uuid.uuid4().hex[:8]}?"}]
    canonical = json.dumps(messages, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return Prompt.objects.create(
        project=project, messages=messages, sha256=hashlib.sha256(canonical.encode()).hexdigest()
    )


def make_completion(prompt: Prompt, text: str, **fields: Any) -> Completion:
    fields = {"source": Completion.Source.IMPORT} | fields
    return Completion.objects.create(
        prompt=prompt, text=text, sha256=hashlib.sha256(text.encode()).hexdigest(), **fields
    )


def make_item(
    project: Project, texts: Sequence[str] = (), *, prompt: Prompt | None = None, overlap: int | None = None
) -> Item:
    """An item with its slots. Two completions unless the project is binary."""
    prompt = prompt or make_prompt(project)
    texts = texts or (["A fine answer."] if project.kind == "binary" else ["A fine answer.", "Another answer."])
    overlap = overlap or project.overlap
    completions = [make_completion(prompt, text, model_name=f"model {n}") for n, text in enumerate(texts)]
    item = Item.objects.create(
        project=project, prompt=prompt, kind=project.kind, key=uuid.uuid4().hex * 2, overlap=overlap
    )
    for index, completion in enumerate(completions):
        ItemCompletion.objects.create(item=item, completion=completion, index=index)
    for number in range(overlap):
        Slot.objects.create(item=item, project=project, number=number, shuffle_key=random.random())
    return item


def uids(item: Item) -> list[str]:
    """The completions' public names in the item's own order."""
    return list(item.parts.values_list("completion__uid", flat=True))


def make_judgement(item: Item, annotator: Annotator, verdict: dict[str, Any], **fields: Any) -> Judgement:
    """A judgement in the item's next open slot, as if it had been claimed and submitted."""
    slot = item.slots.filter(state=Slot.State.OPEN).order_by("number").first()
    if slot is not None:
        Slot.objects.filter(pk=slot.pk).update(state=Slot.State.DONE, annotator=annotator)
    return Judgement.objects.create(
        project=item.project,
        item=item,
        slot=slot,
        annotator=annotator,
        submission_id=uuid.uuid4(),
        payload_sha256="0" * 64,
        verdict=verdict,
        source=fields.pop("source", Judgement.Source.API),
        **fields,
    )
