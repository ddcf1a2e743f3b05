from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from annotate.models import Judgement, Membership, Slot
from annotate.services.members import MemberRefused, change_role, remove_member
from annotate.services.slots import claim_slot
from tests.makers import make_annotator, make_item, make_judgement, make_project, make_user, uids

MEMBERS = "/projects/answers/members/"


def member(project, user) -> Membership:
    return project.memberships.get(user=user)


def role(project, user) -> str | None:
    return project.memberships.filter(user=user).values_list("role", flat=True).first()


@pytest.fixture
def mary(project):
    """A manager."""
    user = make_user("mary")
    project.memberships.create(user=user, role="manager")
    return user


def test_an_owner_changes_roles(client_for, alice, bob, project):
    answer = client_for(alice).post(f"{MEMBERS}{member(project, bob).pk}/role/", {"role": "manager"}, follow=True)
    assert "bob is manager now" in answer.content.decode()
    assert role(project, bob) == "manager"


def test_a_role_that_does_not_exist_is_refused(client_for, alice, bob, project):
    answer = client_for(alice).post(f"{MEMBERS}{member(project, bob).pk}/role/", {"role": "god"}, follow=True)
    assert "There is no such role" in answer.content.decode()
    assert role(project, bob) == "annotator"


@pytest.mark.parametrize("new_role", ["manager", "owner"])
def test_a_manager_cannot_raise_anybody_to_their_own_height(client_for, mary, bob, project, new_role):
    answer = client_for(mary).post(f"{MEMBERS}{member(project, bob).pk}/role/", {"role": new_role})
    assert answer.status_code == 403
    assert role(project, bob) == "annotator"


def test_a_manager_cannot_touch_owners_or_managers(client_for, mary, alice, project):
    client = client_for(mary)
    for user in (alice, mary):
        assert client.post(f"{MEMBERS}{member(project, user).pk}/role/", {"role": "viewer"}).status_code == 403
        assert client.post(f"{MEMBERS}{member(project, user).pk}/remove/").status_code == 403
    assert (role(project, alice), role(project, mary)) == ("owner", "manager")


def test_a_manager_looks_after_annotators_and_viewers(client_for, mary, bob, victor, project):
    client = client_for(mary)
    client.post(f"{MEMBERS}{member(project, bob).pk}/role/", {"role": "viewer"})
    client.post(f"{MEMBERS}{member(project, victor).pk}/remove/")
    assert (role(project, bob), role(project, victor)) == ("viewer", None)


def test_the_last_owner_can_neither_step_down_nor_be_removed(client_for, alice, project):
    client = client_for(alice)
    down = client.post(f"{MEMBERS}{member(project, alice).pk}/role/", {"role": "viewer"}, follow=True)
    gone = client.post(f"{MEMBERS}{member(project, alice).pk}/remove/", follow=True)
    assert all("A project needs an owner" in answer.content.decode() for answer in (down, gone))
    assert role(project, alice) == "owner"


def test_one_of_two_owners_may_go(client_for, alice, bob, project):
    change_role(member=member(project, bob), role="owner")
    assert client_for(alice).post(f"{MEMBERS}{member(project, alice).pk}/remove/").url == "/"
    assert client_for(alice).get(MEMBERS).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_two_owners_cannot_leave_at_the_same_time_and_leave_none(alice, bob):
    project = make_project("answers", owner=alice)
    project.memberships.create(user=bob, role="owner")
    rows = [member(project, alice), member(project, bob)]  # both read while there were two

    def leave(row: Membership) -> bool:
        try:
            remove_member(member=row)
        except MemberRefused:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(leave, rows)) == [False, True]
    assert project.memberships.filter(role="owner").count() == 1


def test_who_is_removed_is_out_at_the_next_request(client_for, api_for, alice, bob, project):
    browser, api = client_for(bob), api_for(bob)
    assert browser.get("/projects/answers/").status_code == 200
    remove_member(member=member(project, bob))
    assert browser.get("/projects/answers/").status_code == 404
    assert api.get("/api/v1/projects/answers/").status_code == 404
    assert api.post("/api/v1/projects/answers/slots/claim/").status_code == 404


def test_the_judgements_of_somebody_who_left_stay_and_their_lease_returns(alice, bob, project):
    annotator = make_annotator(project, user=bob)
    judged = make_item(project)
    make_judgement(judged, annotator, {"ranking": [[uid] for uid in uids(judged)]})
    make_item(project)
    held = claim_slot(project=project, annotator=annotator)
    remove_member(member=member(project, bob))
    assert Judgement.objects.filter(annotator=annotator).count() == 1
    row = Slot.objects.get(pk=held.pk)
    assert (row.state, row.annotator, row.lease_token) == ("open", None, None)


def test_somebody_who_becomes_a_viewer_gives_their_lease_back(bob, project):
    make_item(project)
    held = claim_slot(project=project, annotator=make_annotator(project, user=bob))
    change_role(member=member(project, bob), role="viewer")
    assert Slot.objects.get(pk=held.pk).state == "open"


@pytest.mark.parametrize(("person", "status"), [("bob", 403), ("victor", 403), ("charlie", 404)])
def test_the_members_page_is_for_those_who_manage(client_for, request, project, person, status):
    assert client_for(request.getfixturevalue(person)).get(MEMBERS).status_code == status


def test_a_member_of_another_project_is_not_found_under_this_one(client_for, alice, charlie, project):
    foreign = make_project("other", owner=charlie).memberships.get()
    for verb in ("role", "remove"):
        assert client_for(alice).post(f"{MEMBERS}{foreign.pk}/{verb}/", {"role": "viewer"}).status_code == 404
    assert Membership.objects.get(pk=foreign.pk).role == "owner"
