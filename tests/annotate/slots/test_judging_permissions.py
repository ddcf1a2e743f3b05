"""Who may judge, and whose judgements they see."""

import uuid

import pytest
from rest_framework.test import APIClient

from annotate.access import annotator_for
from annotate.models import Membership, Skip
from tests.annotate.slots.helpers import claim, submit
from tests.annotate.slots.test_judging_api import CLAIM, LIST, answer
from tests.makers import make_item

pytestmark = pytest.mark.django_db


@pytest.fixture
def judged(project, bob):
    """Something that bob judged, as bob's own judgement and slot."""
    make_item(project)
    me = annotator_for(bob, project)
    return submit(claim(project, me), me).judgement


@pytest.fixture
def addresses(project, judged, bob):
    """Every address that changes something, with bob's ids in it."""
    make_item(project)
    slot = claim(project, annotator_for(bob, project))
    skip = Skip.objects.create(item=make_item(project), annotator=annotator_for(bob, project))
    token = {"lease_token": str(slot.lease_token)}
    said = {"submission_id": str(uuid.uuid4()), "verdict": {"both_bad": True}}
    return [
        (CLAIM, {}),
        (f"/api/v1/slots/{slot.pk}/judgement/", said | token),
        (f"/api/v1/slots/{slot.pk}/skip/", token),
        (f"/api/v1/slots/{slot.pk}/release/", token),
        (f"/api/v1/slots/{slot.pk}/heartbeat/", token),
        (f"/api/v1/judgements/{judged.pk}/withdraw/", {}),
        (f"/api/v1/judgements/{judged.pk}/revision/", said),
        (f"/api/v1/skips/{skip.pk}/withdraw/", {}),
    ]


def answers(api, addresses):
    return [api.post(address, body, format="json").status_code for address, body in addresses]


def test_outsiders_find_nothing(api_for, charlie, addresses):
    api = api_for(charlie)
    assert set(answers(api, addresses)) == {404}
    assert api.get(LIST).status_code == 404


def test_nobody_judges_without_signing_in(addresses):
    assert set(answers(APIClient(), addresses)) == {401}


def test_viewers_read_but_do_not_judge(api_for, victor, addresses):
    api = api_for(victor)
    assert set(answers(api, addresses)) <= {403, 404}
    assert api.get(LIST).status_code == 200


def test_a_token_without_the_scope_annotate_does_not_judge(api_for, bob, addresses):
    assert set(answers(api_for(bob, ["read", "manage"]), addresses)) == {403}


def test_a_token_that_may_only_annotate_does_not_read(api_for, bob, project):
    assert api_for(bob, ["annotate"]).get(LIST).status_code == 403


def test_even_an_owner_cannot_act_for_an_annotator(api_for, alice, addresses):
    """With bob's lease token in hand: 409 for his leases, 403 for his judgements, and his skips are not to be seen."""
    assert answers(api_for(alice), addresses[1:]) == [409, 409, 409, 409, 403, 403, 404]


def test_somebody_who_has_left_the_project_judges_no_more(api_for, bob, project, addresses):
    api = api_for(bob)
    Membership.objects.filter(user=bob).delete()
    assert set(answers(api, addresses)) == {404}


def test_annotators_see_their_own_judgements_only(api_for, alice, bob, victor, project, judged):
    make_item(project)
    owner = annotator_for(alice, project)
    submit(claim(project, owner), owner)
    seen = {user.username: api_for(user).get(LIST).json()["results"] for user in (alice, bob, victor)}
    assert [row["id"] for row in seen["bob"]] == [judged.pk]
    assert len(seen["alice"]) == len(seen["victor"]) == 2


def test_a_bearer_token_needs_no_csrf_token(api_for, bob, project):
    make_item(project)
    api = api_for(bob)
    api.handler.enforce_csrf_checks = True
    lease = api.post(CLAIM).json()
    assert api.post(f"/api/v1/slots/{lease['id']}/judgement/", answer(lease), format="json").status_code == 201
