"""Every route × every kind of visitor, against the table. No route is forgotten: the list comes from the resolver."""

import re
from collections import Counter

import pytest
from django.db import transaction

from tests.feedback_site.routes.table import IN, LINES, PEOPLE, SIGN_IN, Line
from tests.feedback_site.routes.world import World, api_methods, arguments, found, routes
from tests.makers import make_project

pytestmark = pytest.mark.django_db  # each test is rolled back to the world

NOWHERE = 9_999_999
ROUTES = {name for name, _, _ in routes()}
PRESENT = [line for line in LINES if line.route in ROUTES]  # the others fail by name, in a test of their own
WRITES = [line for line in PRESENT if line.method != "GET"]
WITH_ID = [line for line in PRESENT if not line.rule.everybody and "pk" in arguments(line.route)]
IN_PROJECT_WITH_ID = [line for line in WITH_ID if "slug" in arguments(line.route)]


@pytest.fixture(scope="module")
def whole_world(django_db_setup, django_db_blocker):
    """Made once for all tests, and undone with the last of them."""
    with django_db_blocker.unblock(), transaction.atomic():
        yield World()
        transaction.set_rollback(True)


@pytest.fixture
def world(whole_world: World, data_dir) -> World:
    whole_world.write_files(data_dir)
    return whole_world


def outcome(answer) -> int | str:
    if answer.status_code == 302 and answer.url.startswith("/accounts/login/?next="):
        return SIGN_IN
    return answer.status_code if answer.status_code in {401, 403, 404, 405} or answer.status_code >= 500 else IN


def test_every_route_is_in_the_table():
    listed = {line.route for line in LINES}
    missing = sorted(ROUTES - listed)
    assert not missing, f"say in tests/feedback_site/routes/table.py who may use: {', '.join(missing)}"


def test_the_table_lists_no_route_that_is_gone():
    gone = sorted({line.route for line in LINES} - ROUTES)
    assert not gone


def test_no_two_routes_share_a_name_and_no_line_is_there_twice():
    assert [name for name, count in Counter(name for name, _, _ in routes()).items() if count > 1] == []
    assert [line for line, count in Counter(str(line) for line in LINES).items() if count > 1] == []


@pytest.mark.parametrize("route", sorted({line.route for line in PRESENT if line.api}))
def test_every_method_of_the_api_is_in_the_table(route):
    listed = {line.method for line in LINES if line.route == route}
    assert api_methods(found(route)[1].callback) == listed


@pytest.mark.parametrize("route", sorted({line.route for line in PRESENT if not line.api}))
def test_a_page_answers_no_method_that_is_not_in_the_table(world, route):
    listed = {line.method for line in LINES if line.route == route}
    client = world.client("owner")
    for method in {"GET", "POST", "PATCH", "DELETE"} - listed:
        assert getattr(client, method.lower())(world.address(route)).status_code == 405, method


@pytest.mark.parametrize("line", PRESENT, ids=str)
def test_everybody_gets_what_the_table_says(world, line: Line):
    got = {}
    for person in PEOPLE:
        with transaction.atomic():
            got[person] = outcome(world.send(line, person))
            transaction.set_rollback(True)
    assert got == {person: line.expected(person) for person in PEOPLE}


@pytest.mark.parametrize("line", WITH_ID, ids=str)
def test_something_of_others_looks_like_something_that_does_not_exist(world, line: Line):
    theirs, nothing = world.send(line, "outsider"), world.send(line, "outsider", pk=NOWHERE)
    assert (theirs.status_code, nothing.status_code) == (404, 404)
    assert plain(theirs) == plain(nothing)


@pytest.mark.parametrize("line", IN_PROJECT_WITH_ID, ids=str)
def test_an_id_of_one_project_opens_nothing_under_another(world, line: Line):
    make_project("mine", owner=world.users["outsider"])
    assert world.send(line, "outsider", slug="mine").status_code == 404


@pytest.mark.parametrize("line", [line for line in WRITES if line.expected("owner") == IN], ids=str)
def test_no_change_is_made_without_the_csrf_token(world, line: Line):
    client = world.client("owner", csrf=True)
    content = {"content_type": "application/json"} if line.api else {}
    answer = getattr(client, line.method.lower())(world.address(line.route), **content)
    assert answer.status_code == 403
    assert ("CSRF" if line.api else "out of date") in answer.content.decode()


def plain(answer) -> str:
    """The body without what is random in it."""
    return re.sub(r'(csrf-token" content|csrfmiddlewaretoken" value)="\w+"', "", answer.content.decode())
