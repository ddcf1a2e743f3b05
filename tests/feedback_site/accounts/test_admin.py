import pytest

from feedback_site.accounts.tokens import create_token
from tests.makers import make_user


@pytest.fixture
def root(db):
    return make_user("root", is_staff=True, is_superuser=True)


def test_a_superuser_switches_somebody_off_but_deletes_nobody(client_for, root, bob):
    client = client_for(root)
    page = client.get(f"/admin/accounts/user/{bob.pk}/change/")
    assert page.status_code == 200
    assert client.post(f"/admin/accounts/user/{bob.pk}/delete/", {"post": "yes"}).status_code == 403


def test_staff_cannot_make_themselves_superusers(client_for, bob):
    bob.is_staff = True
    bob.save(update_fields=["is_staff"])
    client = client_for(bob)
    assert client.get("/admin/").status_code == 200
    assert client.get(f"/admin/accounts/user/{bob.pk}/change/").status_code == 403


def test_tokens_can_be_looked_at_but_show_no_digest(client_for, root, alice):
    token, secret = create_token(user=alice, name="x", scopes=["read"])
    client = client_for(root)
    page = client.get(f"/admin/accounts/apitoken/{token.pk}/change/").content.decode()
    assert token.prefix in page
    assert token.digest not in page
    assert secret not in page
    assert client.get("/admin/accounts/apitoken/add/").status_code == 403
    assert client.post(f"/admin/accounts/apitoken/{token.pk}/delete/", {"post": "yes"}).status_code == 403


def test_the_administration_is_closed_to_people(client_for, alice):
    assert client_for(alice).get("/admin/").status_code == 302


@pytest.mark.parametrize("model", ["project", "membership", "invitation", "annotator", "item", "judgement"])
def test_what_people_said_can_be_looked_at_and_not_changed(client_for, root, project, model):
    client = client_for(root)
    assert client.get(f"/admin/annotate/{model}/").status_code == 200
    assert client.get(f"/admin/annotate/{model}/add/").status_code == 403
