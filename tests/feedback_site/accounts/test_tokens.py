import hashlib
import re
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from feedback_site.accounts import guard
from feedback_site.accounts.models import ApiToken, User
from feedback_site.accounts.tokens import create_token, revoke_token

PROJECTS = "/api/v1/projects/"
NEW = {"name": "New", "kind": "pairwise"}


def bearer(secret: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


def make(client, **fields) -> str:
    page = client.post("/tokens/", {"name": "script", "scopes": ["read"], "days": "90"} | fields).content.decode()
    found = re.search(r"plumb_[\w-]{43}", page)
    assert found, page
    return found.group()


def test_a_token_is_shown_once_and_stored_as_a_digest_only(client_for, alice):
    client = client_for(alice)
    secret = make(client)
    assert secret not in client.get("/tokens/").content.decode()
    row = ApiToken.objects.values().get()
    assert row["digest"] == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in str(row)
    assert bearer(secret).get(PROJECTS).status_code == 200


def test_the_page_with_the_token_is_never_cached(client_for, alice):
    answer = client_for(alice).post("/tokens/", {"name": "script", "scopes": ["read"], "days": "90"})
    assert "no-store" in answer.headers["Cache-Control"]


def test_a_token_without_a_scope_is_not_made(client_for, alice):
    client_for(alice).post("/tokens/", {"name": "script", "days": "90"})
    client_for(alice).post("/tokens/", {"name": "script", "scopes": ["root"], "days": "90"})
    assert not ApiToken.objects.exists()


def test_a_revoked_token_fails_at_its_next_request(client_for, alice):
    client = client_for(alice)
    api = bearer(make(client))
    assert api.get(PROJECTS).status_code == 200
    assert client.post(f"/tokens/{ApiToken.objects.get().pk}/revoke/").status_code == 302
    answer = api.get(PROJECTS)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "revoked" in answer.json()["error"]["message"]


def test_an_expired_token_fails(alice):
    _, secret = create_token(user=alice, name="x", scopes=["read"], expires_at=timezone.now() - timedelta(seconds=1))
    assert bearer(secret).get(PROJECTS).status_code == 401


def test_the_token_of_a_switched_off_account_fails(alice):
    _, secret = create_token(user=alice, name="x", scopes=["read"])
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert bearer(secret).get(PROJECTS).status_code == 401


def test_nobody_revokes_or_sees_the_token_of_another(client_for, alice, charlie):
    token, _ = create_token(user=alice, name="of alice", scopes=["read"])
    client = client_for(charlie)
    assert client.post(f"/tokens/{token.pk}/revoke/").status_code == 404
    assert "of alice" not in client.get("/tokens/").content.decode()
    assert ApiToken.objects.usable().exists()


def test_revoking_twice_keeps_the_first_time(alice):
    token, _ = create_token(user=alice, name="x", scopes=["read"])
    revoke_token(token=token)
    first = ApiToken.objects.get().revoked_at
    revoke_token(token=token)
    assert ApiToken.objects.get().revoked_at == first


@pytest.mark.parametrize(
    ("scopes", "read", "write"), [(["read"], 200, 403), (["annotate"], 403, 403), (["manage"], 403, 201)]
)
def test_a_token_does_what_its_scopes_say_and_nothing_else(api_for, alice, scopes, read, write):
    api = api_for(alice, scopes)
    assert api.get(PROJECTS).status_code == read
    assert api.post(PROJECTS, NEW, format="json").status_code == write


def test_a_token_cannot_open_pages(alice, api_for):
    """Pages are for browsers; a token that could make tokens would outlive its own revocation."""
    assert api_for(alice).get("/tokens/").status_code == 302


def test_guessing_tokens_is_slowed_down_while_good_ones_still_work(alice, api_for):
    guesses = [bearer(f"plumb_{n}").get(PROJECTS) for n in range(guard.WRONG_TOKENS.times + 1)]
    assert [answer.status_code for answer in guesses[-2:]] == [401, 429]
    assert guesses[-1].headers["Retry-After"] == "60"
    assert api_for(alice).get(PROJECTS).status_code == 200


@pytest.mark.parametrize("header", ["Bearer", "Bearer a b", "Bearer \xff\xfe"])
def test_a_malformed_header_is_refused_in_words(db, header):
    answer = APIClient().get(PROJECTS, HTTP_AUTHORIZATION=header)
    assert answer.status_code == 401
    assert answer.json()["error"]["message"]


def test_the_command_prints_a_token_that_works(alice):
    out = StringIO()
    call_command("create_token", "alice", scopes="read,manage", expires="7", name="nightly", stdout=out)
    token = ApiToken.objects.get()
    assert (token.name, token.scopes) == ("nightly", ["read", "manage"])
    assert timedelta(days=6) < token.expires_at - timezone.now() <= timedelta(days=7)
    assert bearer(out.getvalue().strip()).post(PROJECTS, NEW, format="json").status_code == 201


@pytest.mark.parametrize("expires", ["never", "2999-01-31"])
def test_the_command_takes_a_date_or_never(alice, expires):
    call_command("create_token", "alice", expires=expires, stdout=StringIO())
    assert (ApiToken.objects.get().expires_at is None) == (expires == "never")


@pytest.mark.parametrize(
    ("user", "options", "sentence"),
    [
        ("nobody", {}, "There is no active user"),
        ("alice", {"scopes": "root"}, "Unknown scope root"),
        ("alice", {"scopes": ""}, "without a scope"),
        ("alice", {"expires": "soon"}, "write a number of days"),
        ("alice", {"expires": "2001-01-31"}, "past already"),
        ("alice", {"expires": "0"}, "past already"),
    ],
)
def test_the_command_refuses_in_a_sentence(alice, user, options, sentence):
    with pytest.raises(CommandError, match=sentence):
        call_command("create_token", user, **options)
    assert not ApiToken.objects.exists()
