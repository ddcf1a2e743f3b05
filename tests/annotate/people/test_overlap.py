from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from annotate.models import Item, Project, Slot
from annotate.services import overlap as services
from annotate.services.overlap import change_overlap
from annotate.services.slots import claim_slot
from tests.makers import make_annotator, make_item, make_judgement, make_project, uids

Open, Leased, Done, Void = Slot.State.OPEN, Slot.State.LEASED, Slot.State.DONE, Slot.State.VOID


def states(item: Item) -> list[str]:
    return list(item.slots.order_by("number").values_list("state", flat=True))


def consistent(item: Item) -> bool:
    """An item's overlap counts its slots that are not void."""
    return Item.objects.get(pk=item.pk).overlap == item.slots.exclude(state=Void).count()


def judge(item: Item, name: str) -> None:
    make_judgement(item, make_annotator(item.project, name), {"ranking": [[uid] for uid in uids(item)]})


def test_a_higher_overlap_adds_slots_with_the_next_numbers(project):
    item = make_item(project)
    judge(item, "first")
    assert change_overlap(project=project, overlap=3) == (2, 0)
    assert states(item) == [Done, Open, Open]
    assert list(item.slots.order_by("number").values_list("number", flat=True)) == [0, 1, 2]
    assert consistent(item)
    assert Project.objects.get().overlap == 3


def test_a_lower_overlap_voids_open_slots_from_the_end(project):
    item = make_item(project, overlap=4)
    assert change_overlap(project=project, overlap=2) == (0, 2)
    assert states(item) == [Open, Open, Void, Void]
    assert consistent(item)


def test_slots_that_somebody_holds_or_filled_stay(project, bob):
    item = make_item(project, overlap=4)
    judge(item, "first")
    judge(item, "second")
    claim_slot(project=project, annotator=make_annotator(project, user=bob))
    assert change_overlap(project=project, overlap=1) == (0, 1)
    assert sorted(states(item)) == sorted([Done, Done, Leased, Void])
    assert consistent(item), "the item keeps what was taken"


def test_up_and_down_again_opens_the_voided_slots_first(project):
    item = make_item(project, overlap=3)
    change_overlap(project=project, overlap=1)
    assert change_overlap(project=project, overlap=4) == (3, 0)
    assert states(item) == [Open] * 4
    assert consistent(item)


def test_an_item_that_was_put_away_stays_away(project):
    item = make_item(project)
    item.slots.update(state=Void)
    assert change_overlap(project=project, overlap=3) == (0, 0)
    assert states(item) == [Void]


def test_other_projects_are_left_alone(project, charlie):
    other = make_item(make_project("other", owner=charlie))
    change_overlap(project=project, overlap=3)
    assert states(other) == [Open]


def test_new_slots_keep_the_items_priority_and_are_shuffled(project):
    item = make_item(project)
    Item.objects.filter(pk=item.pk).update(priority=7)
    change_overlap(project=project, overlap=4)
    made = item.slots.filter(number__gte=1)
    assert set(made.values_list("priority", flat=True)) == {7.0}
    assert len(set(made.values_list("shuffle_key", flat=True))) == 3


def test_many_items_go_through_in_chunks(project, monkeypatch):
    monkeypatch.setattr(services, "CHUNK", 3)
    items = [make_item(project) for _ in range(8)]
    assert change_overlap(project=project, overlap=3) == (16, 0)
    assert change_overlap(project=project, overlap=2) == (0, 8)
    assert all(consistent(item) for item in items)
    assert {len(states(item)) for item in items} == {3}


@pytest.mark.django_db(transaction=True)
def test_claims_during_the_change_never_lose_their_slot(alice):
    """Forty annotators claim while the overlap falls from five to one: a claimed slot stays, no item gets more."""
    project = make_project("answers", owner=alice, overlap=5)
    items = [make_item(project) for _ in range(4)]
    annotators = [make_annotator(project, f"annotator {n}") for n in range(40)]

    def work(index: int):
        try:
            if index == 10:
                return change_overlap(project=project, overlap=1)
            return claim_slot(project=project, annotator=annotators[index])
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(work, range(40)))
    claimed = [answer.pk for answer in answers if isinstance(answer, Slot)]
    assert len(claimed) == len(set(claimed))
    assert Slot.objects.filter(pk__in=claimed, state=Leased).count() == len(claimed)
    for item in items:
        taken = item.slots.exclude(state__in=[Open, Void]).count()
        assert item.slots.exclude(state=Void).count() == max(taken, 1)
        assert consistent(item)
