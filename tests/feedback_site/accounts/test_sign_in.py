import pytest
from django.contrib.auth import SESSION_KEY
from django.test import Client

from feedback_site.accounts.models import User
from tests.makers import PASSWORD

LOGIN = "/accounts/login/"


def sign_in(client: Client, name: str = "alice", password: str = PASSWORD, **extra):
    return client.post(LOGIN, {"username": name, "password": password}, **extra)


def is_in(client: Client) -> bool:
    return client.get("/tokens/").status_code == 200


def test_somebody_signs_in_and_out(alice):
    client = Client()
    assert sign_in(client).url == "/"
    assert is_in(client)
    assert client.post("/accounts/logout/").status_code == 302
    assert not is_in(client)


def test_signing_in_leads_back_to_where_it_was_asked_for(alice):
    client = Client()
    assert client.get("/tokens/").url == "/accounts/login/?next=/tokens/"
    assert sign_in(client, QUERY_STRING="next=/tokens/").url == "/tokens/"


def test_signing_in_never_leads_to_another_site(alice):
    assert sign_in(Client(), QUERY_STRING="next=https://evil.example.org/").url == "/"


def test_the_session_gets_a_new_id_when_somebody_signs_in(alice):
    client = Client()
    session = client.session
    session["planted"] = True
    session.save()
    before = session.session_key
    client.cookies["session"] = before
    sign_in(client)
    assert client.session.session_key != before
    assert client.session[SESSION_KEY] == str(alice.pk)
    stranger = Client()
    stranger.cookies["session"] = before
    assert not is_in(stranger)


def test_a_session_dies_when_its_owner_signs_out(alice):
    client = Client()
    sign_in(client)
    stolen = client.cookies["session"].value
    client.post("/accounts/logout/")
    thief = Client()
    thief.cookies["session"] = stolen
    assert not is_in(thief)


def test_a_link_cannot_sign_anybody_out(client_for, alice):
    client = client_for(alice)
    assert client.get("/accounts/logout/").status_code == 405
    assert is_in(client)


def test_a_switched_off_account_is_out_at_its_next_request(client_for, alice):
    client = client_for(alice)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert not is_in(client)
    assert sign_in(Client()).status_code == 200, "and cannot sign in again"


def test_changing_the_password_ends_the_other_sessions_only(alice):
    here, elsewhere = Client(), Client()
    sign_in(here)
    sign_in(elsewhere)
    new = "another long password"
    answer = here.post("/accounts/password/", {"old_password": PASSWORD, "new_password1": new, "new_password2": new})
    assert answer.status_code == 302
    assert is_in(here)
    assert not is_in(elsewhere)
    assert sign_in(Client(), password=new).status_code == 302


def test_a_password_is_not_changed_without_the_old_one(client_for, alice):
    new = "another long password"
    answer = client_for(alice).post(
        "/accounts/password/", {"old_password": "wrong", "new_password1": new, "new_password2": new}
    )
    assert answer.status_code == 200
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_wrong_name_and_wrong_password_are_told_in_the_same_words(alice):
    wrong = [sign_in(Client(), name, "wrong").content.decode() for name in ("alice", "nobody")]
    assert all("do not go together" in page for page in wrong)


def test_the_sixth_wrong_password_is_not_even_looked_at(alice):
    client = Client()
    for _ in range(5):
        assert "do not go together" in sign_in(client, password="wrong").content.decode()
    answer = sign_in(client)
    assert "Too many attempts" in answer.content.decode(), "although the password was right"
    assert not is_in(client)


def test_writing_the_name_in_capitals_gives_no_more_attempts(alice):
    for name in ("alice", "Alice", "ALICE", "aLice", "alicE"):
        sign_in(Client(), name, "wrong")
    assert "Too many attempts" in sign_in(Client(), "alice").content.decode()


def test_an_attacker_elsewhere_does_not_lock_the_owner_out(alice):
    for _ in range(9):
        sign_in(Client(), password="wrong", REMOTE_ADDR="10.6.6.6")
    assert sign_in(Client()).status_code == 302


def test_an_office_behind_one_address_signs_in_undisturbed(alice):
    for _ in range(60):
        assert sign_in(Client()).status_code == 302


def test_one_address_cannot_try_many_names(db):
    pages = [sign_in(Client(), f"name{n}", "wrong").content.decode() for n in range(51)]
    assert "Too many attempts" not in pages[49]
    assert "Too many attempts" in pages[50]


@pytest.mark.parametrize("address", ["/accounts/signup/", "/accounts/register/", "/signup/"])
def test_there_is_no_way_to_sign_up_without_an_invitation(client_for, alice, address):
    assert client_for(alice).get(address).status_code == 404


def test_cookies_are_closed_to_scripts_and_other_sites(alice):
    client = Client()
    client.get(LOGIN)
    sign_in(client)
    for name in ("session", "csrf"):
        assert client.cookies[name]["httponly"]
        assert client.cookies[name]["samesite"] == "Lax"


def test_with_https_cookies_never_cross_the_network_in_the_clear(tmp_path):
    from tests.feedback_site.processes import python

    show = (
        "from feedback_site import settings as s;"
        "print(s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME);"
        "print(s.SECURE_HSTS_SECONDS)"
    )
    answer = python("-c", show, data=tmp_path, SITE_URL="https://plumb.example.org")
    assert answer.stdout.split() == ["True", "True", "__Host-session", "__Host-csrf", "31536000"]
