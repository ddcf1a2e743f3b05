"""On which side a completion stands."""

import pytest

from annotate.services.leases import WrongLease, check_token, display_order, new_token
from annotate.services.slots import claim_slot
from tests.annotate.slots.helpers import claim
from tests.makers import make_annotator, make_item

PAIR = ["ca", "cb"]


def test_the_second_slot_of_a_pair_shows_it_the_other_way_round():
    for item_id in range(50):
        first, second, third = (display_order(item_id=item_id, number=n, uids=PAIR) for n in range(3))
        assert second == first[::-1]
        assert third == first


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_over_k_slots_each_completion_stands_once_at_each_place(count):
    uids = [f"c{n}" for n in range(count)]
    for rounds in range(3):
        orders = [display_order(item_id=7, number=rounds * count + n, uids=uids) for n in range(count)]
        assert all(sorted(order) == sorted(uids) for order in orders)
        assert all(len({order[place] for order in orders}) == count for place in range(count))


def test_the_order_does_not_depend_on_the_order_in_the_item():
    assert display_order(item_id=1, number=0, uids=PAIR) == display_order(item_id=1, number=0, uids=PAIR[::-1])


def test_each_side_is_first_about_as_often():
    """Binomial with n = 4,000 and p = ½: beyond 5 standard deviations (158) less than once in a million."""
    first = sum(display_order(item_id=n, number=0, uids=PAIR)[0] == "ca" for n in range(4000))
    assert abs(first - 2000) < 158


def test_nobody_foresees_the_order_without_the_secret_key(settings):
    before = [display_order(item_id=n, number=0, uids=PAIR) for n in range(64)]
    settings.SECRET_KEY = "another"
    assert before != [display_order(item_id=n, number=0, uids=PAIR) for n in range(64)]


@pytest.mark.django_db
def test_an_item_is_shown_both_ways_to_its_two_annotators_and_the_same_at_a_reload(project):
    make_item(project, overlap=2)
    one, two = make_annotator(project, "one"), make_annotator(project, "two")
    first, second = claim(project, one), claim(project, two)
    assert first.display_order == second.display_order[::-1]
    assert claim_slot(project=project, annotator=one).display_order == first.display_order


def test_tokens_are_never_alike_and_hold_for_one_slot_and_annotator():
    tokens = {new_token(slot_id=1, annotator_id=2) for _ in range(100)}
    assert len(tokens) == 100
    for token in tokens:
        check_token(token, slot_id=1, annotator_id=2)
        for slot_id, annotator_id in ((1, 3), (2, 2), (12, 1)):
            with pytest.raises(WrongLease):
                check_token(token, slot_id=slot_id, annotator_id=annotator_id)
