import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from annotate.models import Invitation, Membership
from annotate.services.members import MemberRefused, accept_invitation, create_invitation
from feedback_site.accounts.models import User
from tests.makers import make_project, make_user

MEMBERS = "/projects/answers/members/"
PERSON = {"username": "newcomer", "password1": "a long enough password", "password2": "a long enough password"}


def invite(project, alice, role="annotator") -> tuple[Invitation, str]:
    invitation, secret = create_invitation(project=project, role=role, created_by=alice)
    return invitation, f"/invitations/{secret}/"


def test_a_link_is_shown_once_and_stored_as_a_digest_only(client_for, alice, project):
    client = client_for(alice)
    answer = client.post(MEMBERS, {"role": "annotator", "email": "bea@example.org"})
    link = re.search(r"http://testserver/invitations/([\w-]{43})/", answer.content.decode())
    assert link
    assert "no-store" in answer.headers["Cache-Control"]
    page = client.get(MEMBERS).content.decode()
    assert link.group(1) not in page
    assert "bea@example.org" in page
    assert link.group(1) not in str(Invitation.objects.values().get())
    assert client_for(make_user("bea")).get(link.group()).status_code == 200


def test_somebody_with_an_account_joins_with_one_click(client_for, alice, charlie, project):
    invitation, link = invite(project, alice, "manager")
    client = client_for(charlie)
    assert "Join as charlie" in client.get(link).content.decode()
    assert not project.memberships.filter(user=charlie).exists(), "looking is not joining"
    assert client.post(link).url == "/projects/answers/"
    assert project.memberships.get(user=charlie).role == "manager"
    invitation.refresh_from_db()
    assert invitation.accepted_by == charlie


def test_a_stranger_makes_an_account_and_is_signed_in(alice, project):
    _, link = invite(project, alice)
    client = Client()
    page = client.get(link).content.decode()
    assert "alice invites you" in page
    assert f"/accounts/login/?next={link}" in page
    assert client.post(link, PERSON).url == "/projects/answers/"
    newcomer = User.objects.get(username="newcomer")
    assert project.memberships.get(user=newcomer).role == "annotator"
    assert client.get("/projects/answers/").status_code == 200
    assert (newcomer.is_staff, newcomer.is_superuser) == (False, False)


@pytest.mark.parametrize(("role", "may"), [("owner", True), ("manager", True), ("annotator", False), ("viewer", False)])
def test_who_was_asked_to_judge_or_look_makes_no_projects(alice, project, role, may):
    _, link = invite(project, alice, role)
    Client().post(link, PERSON)
    assert User.objects.get(username="newcomer").can_create_projects is may


@pytest.mark.parametrize("extra", [{"is_superuser": "on"}, {"is_staff": "on"}, {"role": "owner"}, {"is_machine": "on"}])
def test_a_newcomer_gets_nothing_that_the_link_does_not_give(alice, project, extra):
    _, link = invite(project, alice)
    Client().post(link, PERSON | extra)
    newcomer = User.objects.get(username="newcomer")
    assert (newcomer.is_superuser, newcomer.is_staff, newcomer.is_machine) == (False, False, False)
    assert project.memberships.get(user=newcomer).role == "annotator"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"username": "ALICE"}, "This name is taken"),
        ({"password2": "something else"}, "password"),
        ({"password1": "short", "password2": "short"}, "too short"),
    ],
)
def test_an_account_that_cannot_be_made_leaves_the_link_good(alice, project, fields, sentence):
    invitation, link = invite(project, alice)
    assert sentence in Client().post(link, PERSON | fields).content.decode()
    invitation.refresh_from_db()
    assert invitation.accepted_at is None
    assert User.objects.filter(username__iexact="alice").count() == 1


def test_a_used_link_says_so(client_for, alice, charlie, project):
    _, link = invite(project, alice)
    client_for(charlie).post(link)
    for client in (Client(), client_for(make_user("dora"))):
        for answer in (client.get(link), client.post(link, PERSON)):
            assert answer.status_code == 410
            assert "has been used already" in answer.content.decode()
    assert not User.objects.filter(username="newcomer").exists()


def test_an_expired_link_says_so(client_for, alice, charlie, project):
    invitation, link = invite(project, alice)
    Invitation.objects.filter(pk=invitation.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    answer = client_for(charlie).post(link)
    assert answer.status_code == 410
    assert "has expired" in answer.content.decode()


def test_a_revoked_link_says_so(client_for, alice, charlie, project):
    invitation, link = invite(project, alice)
    owner = client_for(alice)
    assert owner.post(f"/projects/answers/invitations/{invitation.pk}/revoke/").url == MEMBERS
    answer = client_for(charlie).post(link)
    assert answer.status_code == 410
    assert "was taken back" in answer.content.decode()
    assert not project.memberships.filter(user=charlie).exists()


def test_a_link_with_a_part_missing_says_so(client_for, alice, project):
    _, link = invite(project, alice)
    answer = Client().get(f"{link[:-5]}/")
    assert answer.status_code == 404
    assert "a part of it is missing" in answer.content.decode()


def test_a_used_invitation_cannot_be_revoked_any_more(client_for, alice, charlie, project):
    invitation, link = invite(project, alice)
    client_for(charlie).post(link)
    answer = client_for(alice).post(f"/projects/answers/invitations/{invitation.pk}/revoke/", follow=True)
    assert "Remove the member instead" in answer.content.decode()


def test_a_member_who_opens_a_link_keeps_their_role_and_the_link_stays_good(client_for, alice, bob, project):
    invitation, link = invite(project, alice, "viewer")
    answer = client_for(bob).post(link)
    assert answer.status_code == 409
    assert "You belong to this project already, as annotator" in answer.content.decode()
    invitation.refresh_from_db()
    assert invitation.accepted_at is None
    assert project.memberships.get(user=bob).role == "annotator"


def test_a_manager_invites_annotators_but_no_owners(client_for, charlie, project):
    project.memberships.create(user=charlie, role="manager")
    client = client_for(charlie)
    client.post(MEMBERS, {"role": "owner"})
    assert not Invitation.objects.exists()
    client.post(MEMBERS, {"role": "annotator"})
    assert Invitation.objects.get().role == "annotator"


def test_a_manager_cannot_revoke_what_an_owner_offered_to_another_owner(client_for, alice, charlie, project):
    project.memberships.create(user=charlie, role="manager")
    invitation, _ = invite(project, alice, "owner")
    assert client_for(charlie).post(f"/projects/answers/invitations/{invitation.pk}/revoke/").status_code == 403


def test_an_invitation_of_another_project_is_not_found_under_this_one(client_for, alice, charlie, project):
    foreign, _ = invite(make_project("other", owner=charlie), charlie)
    assert client_for(alice).post(f"/projects/answers/invitations/{foreign.pk}/revoke/").status_code == 404
    foreign.refresh_from_db()
    assert foreign.revoked_at is None


@pytest.mark.django_db(transaction=True)
def test_two_who_open_the_link_at_the_same_time_do_not_both_come_in(alice):
    project = make_project("answers", owner=alice)
    invitation, _ = invite(project, alice)
    people = [make_user(f"person{n}") for n in range(6)]

    def accept(user: User) -> bool:
        try:
            accept_invitation(invitation=invitation, user=user)
        except MemberRefused:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(accept, people)) == 1
    assert Membership.objects.filter(project=project).exclude(user=alice).count() == 1
