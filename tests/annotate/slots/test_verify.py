"""Each invariant is seen to be broken when it is."""

import uuid

import pytest
from django.db import connection

from annotate.models import Completion, Item, ItemCompletion, Judgement, Prompt, Skip, Slot
from annotate.services.judgements import withdraw_judgement
from tests.annotate.slots.helpers import broken, claim, submit
from tests.makers import make_annotator, make_completion, make_item, make_project, make_prompt

pytestmark = pytest.mark.django_db


@pytest.fixture
def judged(project, ann, ben):
    """A judged item, an undone one that is leased again, and an open one."""
    for _ in range(3):
        make_item(project)
    judgement = submit(claim(project, ann), ann).judgement
    undone = submit(claim(project, ben), ben).judgement
    withdraw_judgement(judgement=undone, annotator=ben, source="browser")
    assert broken() == []
    return judgement


def copy_of(judgement, **changes):
    fields = {"submission_id": uuid.uuid4(), "replaces": judgement} | changes
    for name in ("project", "item", "slot", "annotator", "payload_sha256", "verdict", "source"):
        fields.setdefault(name, getattr(judgement, name))
    return Judgement.objects.create(**fields)


def move_chain(judgement):
    """Put the last judgement of a chain onto another item."""
    last = copy_of(judgement)
    Judgement.objects.filter(pk=last.pk).update(item=Item.objects.exclude(pk=judgement.item_id).first())


BREAKS = {
    "item_slots": lambda judgement: Item.objects.filter(pk=judgement.item_id).update(overlap=2),
    "item_overlap": lambda judgement: copy_of(
        judgement, replaces=None, annotator=make_annotator(judgement.project, "third")
    ),
    "item_parts": lambda judgement: ItemCompletion.objects.filter(item=judgement.item_id).delete(),
    "item_prompt_project": lambda judgement: Prompt.objects.filter(items=judgement.item_id).update(
        project=make_project("other")
    ),
    "slot_project": lambda judgement: Slot.objects.filter(state="open").update(project=make_project("other")),
    "slot_leased": lambda judgement: Slot.objects.filter(state="leased").update(display_order=None),
    "slot_done": lambda judgement: copy_of(judgement, action="withdrawn", verdict={}),
    "judgement_slot": lambda judgement: Slot.objects.filter(state="done").update(state="void"),
    "judgement_chain": move_chain,
    "judgement_project": lambda judgement: Judgement.objects.filter(pk=judgement.pk).update(
        project=make_project("other")
    ),
    "skip_not_held": lambda judgement: Skip.objects.create(
        item=Slot.objects.get(state="leased").item, annotator=Slot.objects.get(state="leased").annotator
    ),
    "prompt_sha256": lambda judgement: Prompt.objects.update(messages=[{"role": "user", "content": "changed"}]),
    "completion_sha256": lambda judgement: Completion.objects.update(text="changed"),
    "display_order": lambda judgement: Slot.objects.filter(state="leased").update(display_order=["ca", "cb"]),
    "verdict": lambda judgement: Judgement.objects.update(verdict={"ranking": [["left"], ["right"]]}),
}


@pytest.mark.parametrize("name", BREAKS)
def test_verify_names_what_is_broken(judged, name):
    BREAKS[name](judged)
    assert [problem for problem in broken() if problem.startswith(f"{name}: ")]


def test_verify_sees_a_person_with_two_current_judgements_of_an_item(judged):
    """Only without the constraint that forbids it can this be so."""
    copy = copy_of(judged)
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX judgement_first_once")
    Judgement.objects.filter(pk=copy.pk).update(replaces=None)
    assert f"judgement_once: {copy.pk}" in broken()


def test_an_item_that_was_put_away_is_in_order_and_one_without_slots_is_not(judged):
    left = Slot.objects.get(state="open")
    Slot.objects.filter(pk=left.pk).update(state="void")
    assert broken() == []
    left.delete()
    assert broken() == [f"item_slots: {left.item_id}"]


def test_a_completion_of_another_prompt_in_an_item_is_named(judged):
    foreign = make_completion(make_prompt(judged.project), "elsewhere")
    ItemCompletion.objects.filter(item=judged.item_id, index=0).update(completion=foreign)
    assert f"item_parts: {judged.item_id}" in broken()
