import pytest
from django.db import IntegrityError

from annotate.models import Membership, Project
from annotate.services import projects as services
from annotate.services.projects import create_project
from tests.makers import make_item, make_project, make_user

PROJECTS = "/api/v1/projects/"
ANSWERS = "/api/v1/projects/answers/"
FIELDS = {"slug", "name", "kind", "guidelines", "overlap", "lease_minutes", "aspects", "allow_ties"}


def message(answer) -> str:
    error = answer.json()["error"]
    assert set(error) <= {"code", "message", "fields"}
    return error["message"]


def test_a_project_is_made_with_its_maker_as_owner(api_for, alice):
    body = {
        "slug": "tone", "name": "Tone", "kind": "binary", "guidelines": "# Be kind\n", "overlap": 3, "lease_minutes": 5,
        "aspects": [], "allow_ties": False,
    }  # fmt: skip
    answer = api_for(alice).post(PROJECTS, body, format="json")
    assert answer.status_code == 201
    assert answer.json() == body
    assert Membership.objects.get().role == "owner"
    assert Project.objects.get().created_by == alice


def test_what_is_missing_gets_its_default_and_the_slug_comes_from_the_name(api_for, alice):
    made = [
        api_for(alice).post(PROJECTS, {"name": "Größe & Maß_1", "kind": "pairwise"}, format="json") for _ in range(3)
    ]
    assert [answer.json()["slug"] for answer in made] == ["groe-ma-1", "groe-ma-1-2", "groe-ma-1-3"]
    assert set(made[0].json()) == FIELDS
    assert made[0].json()["overlap"] == 1


@pytest.mark.parametrize(("name", "slug"), [("日本語", "project"), ("New", "new-2"), ("x" * 120, "x" * 54)])
def test_every_name_gives_a_slug(api_for, alice, name, slug):
    answer = api_for(alice).post(PROJECTS, {"name": name, "kind": "pairwise"}, format="json")
    assert answer.json()["slug"] == slug


def test_a_slug_that_somebody_else_was_faster_with_is_followed_by_the_next(alice, monkeypatch):
    real = services._free_slug
    slugs = iter(["taken", "free"])
    make_project("taken")
    monkeypatch.setattr(services, "_free_slug", lambda name: next(slugs))
    assert create_project(created_by=alice, name="Taken", kind="pairwise").slug == "free"
    assert real("Taken") == "taken-2"


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("slug", "Two Words", "lower-case"),
        ("slug", "-x", "lower-case"),
        ("slug", "new", "an address of the site"),
        ("slug", "answers", "is taken"),
        ("name", "", "name"),
        ("kind", "essay", "kind"),
        ("overlap", 0, "overlap"),
        ("overlap", 51, "overlap"),
        ("overlap", "many", "overlap"),
        ("lease_minutes", 0, "lease_minutes"),
        ("lease_minutes", 1441, "lease_minutes"),
        ("allow_ties", "perhaps", "allow_ties"),
        ("guidelines", None, "guidelines"),
        ("aspects", "all", "aspects"),
        ("aspects", [{"name": "tone", "low": 5, "high": 1}], "low below high"),
        ("aspects", [{"name": "a", "low": 1, "high": 5}, {"name": "a", "low": 1, "high": 5}], "twice"),
        ("aspects", [{"name": "a", "low": 1}], "high"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(api_for, alice, project, field, value, sentence):
    body = {"name": "Other", "kind": "pairwise", field: value}
    answer = api_for(alice).post(PROJECTS, body, format="json")
    assert answer.status_code == 400
    assert sentence in message(answer)
    assert any(name.startswith(field) for name in answer.json()["error"]["fields"])
    assert Project.objects.count() == 1


def test_a_kind_that_nobody_can_judge_yet_is_refused(api_for, alice, monkeypatch):
    monkeypatch.setattr(services, "TASK_TYPES", {"pairwise": None, "binary": None})
    answer = api_for(alice).post(PROJECTS, {"name": "Ranks", "kind": "listwise"}, format="json")
    assert answer.status_code == 400
    assert "Choose pairwise or binary" in message(answer)


def test_unknown_keys_are_refused_and_name_what_there_is(api_for, alice, project):
    answer = api_for(alice).patch(ANSWERS, {"lease_minuts": 5}, format="json")
    assert answer.status_code == 400
    assert "lease_minutes" in message(answer)


@pytest.mark.parametrize("body", [[], "text", 7, None])
def test_a_body_that_is_no_object_is_refused(api_for, alice, project, body):
    assert api_for(alice).post(PROJECTS, body, format="json").status_code == 400
    if body is not None:
        assert api_for(alice).patch(ANSWERS, body, format="json").status_code == 400


@pytest.mark.parametrize(
    "extra",
    [
        {"id": 999}, {"created_by": 1}, {"created_at": "2000-01-01T00:00:00Z"}, {"archived_at": "2000-01-01T00:00:00Z"},
        {"memberships": [{"user": 1, "role": "owner"}]}, {"role": "owner"},
    ],
)  # fmt: skip
def test_what_is_not_offered_cannot_be_set(api_for, alice, charlie, project, extra):
    before = Project.objects.values().get()
    assert api_for(alice).patch(ANSWERS, {"name": "Mine", **extra}, format="json").status_code == 400
    assert (
        api_for(alice).post(PROJECTS, {"name": "Mine", "kind": "pairwise", **extra}, format="json").status_code == 400
    )
    assert Project.objects.values().get() == before


def test_a_patch_changes_what_it_names_and_nothing_else(api_for, alice, project):
    before = api_for(alice).get(ANSWERS).json()
    answer = api_for(alice).patch(ANSWERS, {"lease_minutes": 7}, format="json")
    assert answer.status_code == 200
    assert answer.json() == before | {"lease_minutes": 7}


def test_what_was_read_can_be_written_back(api_for, alice, project):
    before = api_for(alice).get(ANSWERS).json()
    answer = api_for(alice).patch(ANSWERS, before, format="json")
    assert (answer.status_code, answer.json()) == (200, before)


def test_the_slug_stays(api_for, alice, project):
    answer = api_for(alice).patch(ANSWERS, {"slug": "other"}, format="json")
    assert answer.status_code == 400
    assert "links and scripts depend on it" in message(answer)


def test_the_kind_changes_until_there_are_items(api_for, alice, project):
    assert api_for(alice).patch(ANSWERS, {"kind": "binary"}, format="json").json()["kind"] == "binary"
    make_item(Project.objects.get())
    answer = api_for(alice).patch(ANSWERS, {"kind": "pairwise", "name": "Half"}, format="json")
    assert answer.status_code == 400
    assert "there are items" in message(answer)
    assert Project.objects.get().name == "Answers", "all or nothing"


def test_a_new_overlap_holds_for_the_items_that_are_there(api_for, alice, project):
    item = make_item(project)
    assert api_for(alice).patch(ANSWERS, {"overlap": 3}, format="json").json()["overlap"] == 3
    assert item.slots.count() == 3


@pytest.mark.parametrize(("person", "status"), [("alice", 200), ("bob", 403), ("victor", 403), ("charlie", 404)])
def test_owners_and_managers_change_a_project(api_for, request, project, person, status):
    user = request.getfixturevalue(person)
    assert api_for(user).patch(ANSWERS, {"name": "Renamed"}, format="json").status_code == status
    assert (Project.objects.get().name == "Renamed") is (status == 200)


def test_people_see_the_projects_they_belong_to(api_for, alice, bob, charlie, project):
    make_project("other", owner=charlie)
    listed = {
        user: [row["slug"] for row in api_for(user).get(PROJECTS).json()["results"]] for user in (alice, bob, charlie)
    }
    assert listed == {alice: ["answers"], bob: ["answers"], charlie: ["other"]}


def test_lists_come_in_pages(api_for, alice):
    for number in range(5):
        make_project(f"p{number}", owner=alice)
    api = api_for(alice)
    first = api.get(PROJECTS, {"limit": 3}).json()
    second = api.get(first["next"]).json()
    assert [row["slug"] for row in first["results"] + second["results"]] == ["p4", "p3", "p2", "p1", "p0"]
    assert second["next"] is None


def test_who_may_not_make_projects_is_told_so(api_for, client_for, alice):
    alice.can_create_projects = False
    alice.save(update_fields=["can_create_projects"])
    answer = api_for(alice).post(PROJECTS, {"name": "New", "kind": "pairwise"}, format="json")
    assert answer.status_code == 403
    assert "not make projects" in message(answer)
    assert client_for(alice).get("/projects/new/").status_code == 403


def test_a_superuser_is_everywhere(api_for, project):
    root = make_user("root", is_superuser=True, can_create_projects=False)
    assert api_for(root).get(ANSWERS).status_code == 200
    assert api_for(root).post(PROJECTS, {"name": "New", "kind": "pairwise"}, format="json").status_code == 201


def test_an_integrity_error_that_is_not_about_the_slug_is_not_swallowed(alice, monkeypatch):
    def fail(**fields):
        raise IntegrityError("something else")

    monkeypatch.setattr(Membership.objects, "create", fail)
    with pytest.raises(IntegrityError):
        create_project(created_by=alice, name="X", kind="pairwise", slug="x")
