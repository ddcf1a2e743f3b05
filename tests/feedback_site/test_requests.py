"""What every answer carries: a request id, the security headers, and an error page when it is one."""

import logging

import pytest
from django.test import Client, RequestFactory
from django.urls import path

from feedback_site.lib.net import client_address
from feedback_site.logs import configure_logging
from feedback_site.urls import urlpatterns as real_urls

POLICY = {
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "font-src 'self'",
    "connect-src 'self'", "form-action 'self'", "manifest-src 'self'", "base-uri 'none'", "object-src 'none'",
    "frame-ancestors 'none'",
}  # fmt: skip


def broken(request):
    raise RuntimeError("a secret detail")


class Urls:
    """The site, and one page that fails."""

    urlpatterns = [path("broken/", broken), path("api/v1/broken/", broken), *real_urls]
    handler400 = "feedback_site.errors.bad_request"
    handler403 = "feedback_site.errors.permission_denied"
    handler404 = "feedback_site.errors.page_not_found"
    handler500 = "feedback_site.errors.server_error"


@pytest.fixture
def with_broken_page(settings):
    settings.ROOT_URLCONF = Urls


def policy(answer) -> set[str]:
    return {part.strip() for part in answer.headers["Content-Security-Policy"].split(";")}


@pytest.mark.parametrize(
    "address", ["/accounts/login/", "/healthz", "/nowhere/", "/api/v1/projects/", "/", "/admin/login/"]
)
def test_every_answer_carries_the_strict_policy(db, address):
    answer = Client().get(address)
    assert policy(answer) == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    "address", ["/", "/projects/answers/", "/tokens/", "/projects/answers/members/", "/api/v1/docs/"]
)
def test_pages_behind_the_sign_in_carry_it_too(client_for, alice, project, address):
    answer = client_for(alice).get(address)
    assert answer.status_code == 200
    assert policy(answer) == POLICY


@pytest.mark.parametrize(
    "address", ["/accounts/login/", "/tokens/", "/projects/answers/members/", "/projects/new/", "/api/v1/docs/"]
)
def test_no_page_holds_an_inline_script_or_style(client_for, alice, project, address):
    page = client_for(alice).get(address) if address != "/accounts/login/" else Client().get(address)
    html = page.content.decode()
    for inline in ("<style", " style=", "onclick=", "javascript:", "<script>"):
        assert inline not in html


def test_a_request_gets_an_id_of_its_own(db):
    first, second = (Client().get("/healthz").headers["X-Request-ID"] for _ in range(2))
    assert first != second
    assert len(first) == 32


def test_the_proxys_request_id_is_kept():
    answer = Client().get("/healthz", headers={"X-Request-ID": "proxy-1234.5678"})
    assert answer.headers["X-Request-ID"] == "proxy-1234.5678"


@pytest.mark.parametrize("forged", ["short", "x" * 65, "abcdefgh\tstatus=200", "<script>alert(1)</script>"])
def test_a_request_id_that_could_forge_a_log_line_is_replaced(forged):
    assert Client().get("/healthz", headers={"X-Request-ID": forged}).headers["X-Request-ID"] != forged


def lines(caplog) -> list[dict]:
    return [record.msg for record in caplog.records if isinstance(record.msg, dict)]


def test_the_log_names_request_person_and_answer(client_for, alice, caplog):
    with caplog.at_level(logging.INFO, logger="plumb.request"):
        answer = client_for(alice).get("/", headers={"X-Request-ID": "log-me-please"})
    line = lines(caplog)[-1]
    assert line["request_id"] == answer.headers["X-Request-ID"] == "log-me-please"
    assert (line["method"], line["path"], line["status"], line["user_id"]) == ("GET", "/", 200, alice.pk)


@pytest.mark.parametrize("enforce_csrf", [False, True])
def test_the_secret_of_an_invitation_never_reaches_the_log(db, caplog, enforce_csrf):
    with caplog.at_level(logging.DEBUG):
        Client(enforce_csrf_checks=enforce_csrf).post("/invitations/very-secret-part/")
    written = "\n".join(formatter(json).format(record) for record in caplog.records for json in (True, False))
    assert "/invitations/…/" in written.replace("\\u2026", "…")
    assert "very-secret-part" not in written


def formatter(json: bool) -> logging.Formatter:
    options = dict(configure_logging(json=json, level="INFO")["formatters"]["structured"])
    return options.pop("()")(**options)


def test_a_failure_shows_people_a_page_and_no_traceback(with_broken_page, client_for, alice):
    client = client_for(alice)
    client.raise_request_exception = False
    answer = client.get("/broken/")
    assert answer.status_code == 500
    html = answer.content.decode()
    assert "Something went wrong on our side" in html
    assert "a secret detail" not in html
    assert "Traceback" not in html
    assert policy(answer) == POLICY
    assert answer.headers["X-Request-ID"]


def test_the_page_of_a_failure_needs_neither_database_nor_static_files(settings, rf):
    from feedback_site.errors import server_error

    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": "no.such.Storage"}}
    assert server_error(rf.get("/broken/")).status_code == 500


def test_a_failure_of_the_api_has_the_apis_shape(with_broken_page, client_for, alice):
    client = client_for(alice)
    client.raise_request_exception = False
    answer = client.get("/api/v1/broken/")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "server_error"
    assert "a secret detail" not in answer.content.decode()


def test_a_page_that_is_not_there_is_said_in_plain_words(client_for, alice):
    answer = client_for(alice).get("/nowhere/")
    assert answer.status_code == 404
    assert "There is no such page" in answer.content.decode()


def test_an_address_of_the_api_that_is_not_there_has_the_apis_shape(db):
    answer = Client().get("/api/v1/nowhere/")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_a_role_that_is_too_small_is_told_so(client_for, victor, project):
    answer = client_for(victor).get("/projects/answers/edit/")
    assert answer.status_code == 403
    assert "You are viewer in “Answers”" in answer.content.decode()


def test_a_host_that_is_not_ours_gets_a_readable_400(db):
    answer = Client(headers={"host": "evil.example.org"}).get("/")
    assert answer.status_code == 400
    assert "could not be understood" in answer.content.decode()


def test_a_form_without_its_token_is_told_to_reload(db):
    answer = Client(enforce_csrf_checks=True).post("/accounts/login/", {"username": "a", "password": "b"})
    assert answer.status_code == 403
    assert "out of date" in answer.content.decode()


def test_a_fragment_asked_for_after_the_session_ended_sends_the_whole_page_to_sign_in(db):
    answer = Client().get("/tokens/", headers={"HX-Request": "true", "HX-Current-URL": "http://testserver/tokens/"})
    assert answer.status_code == 200
    assert answer.headers["HX-Redirect"] == "/accounts/login/?next=%2Ftokens%2F"


@pytest.mark.parametrize(
    ("behind_proxy", "header", "address"),
    [
        (False, "", "10.0.0.1"),
        (False, "1.2.3.4", "10.0.0.1"),
        (True, "", "10.0.0.1"),
        (True, "9.9.9.9, 1.2.3.4", "1.2.3.4"),
    ],
)
def test_an_address_is_believed_only_from_our_own_proxy(settings, behind_proxy, header, address):
    settings.BEHIND_PROXY = behind_proxy
    headers = {"X-Forwarded-For": header} if header else {}
    assert client_address(RequestFactory().get("/", headers=headers, REMOTE_ADDR="10.0.0.1")) == address


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/api/v1/projects/", {"name": "Tone", "kind": "pair"}, 'kind: "pair" is none of pairwise,'),
        ("/api/v1/projects/answers/datasets/", {"name": "Pairs", "kind": "pair"}, 'kind: "pair" is none of pairwise,'),
        ("/api/v1/runs/", {"task": "fit"}, 'task: "fit" is none of train,'),
        (
            "/api/v1/models/",
            {"name": "m", "project": "answers", "kind": "base"},
            'kind: "base" is none of policy, reward',
        ),
    ],
)
def test_a_word_that_is_none_of_those_allowed_is_told_them(project, alice, api_for, path, body, says):
    answer = api_for(alice).post(path, body, format="json")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(says)
