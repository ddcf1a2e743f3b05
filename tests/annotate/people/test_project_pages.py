import pytest

from annotate.models import Project
from annotate.services.slots import claim_slot
from tests.makers import make_annotator, make_item

EDIT = "/projects/answers/edit/"


def form(**fields) -> dict:
    return {
        "name": "Answers", "kind": "pairwise", "guidelines": "", "overlap": 1, "lease_minutes": 30, "allow_ties": "on"
    } | fields  # fmt: skip


def test_somebody_makes_a_project_and_lands_on_it(client_for, alice):
    answer = client_for(alice).post("/projects/new/", form(name="Kind words", kind="binary"))
    assert answer.url == "/projects/kind-words/"
    made = Project.objects.get()
    assert (made.kind, made.created_by, made.memberships.get().role) == ("binary", alice, "owner")


def test_a_slug_that_is_taken_is_told_at_its_field(client_for, alice, project):
    page = client_for(alice).post("/projects/new/", form(slug="answers")).content.decode()
    assert "slug" in page
    assert "errorlist" in page
    assert Project.objects.count() == 1


def test_the_form_shows_what_is_stored_and_stores_what_is_changed(client_for, alice, project):
    client = client_for(alice)
    assert 'value="Answers"' in client.get(EDIT).content.decode()
    answer = client.post(EDIT, form(name="Better answers", guidelines="Be strict.", overlap=2))
    assert answer.url == EDIT
    project.refresh_from_db()
    assert (project.name, project.guidelines, project.overlap) == ("Better answers", "Be strict.", 2)


def test_unticking_ties_forbids_them(client_for, alice, project):
    fields = form()
    del fields["allow_ties"]
    client_for(alice).post(EDIT, fields)
    project.refresh_from_db()
    assert project.allow_ties is False


def test_once_there_are_items_the_kind_is_fixed(client_for, alice, project):
    make_item(project)
    client_for(alice).post(EDIT, form(kind="binary", name="Renamed"))
    project.refresh_from_db()
    assert (project.kind, project.name) == ("pairwise", "Renamed")


def test_a_refused_form_leaves_the_page_under_its_real_name(client_for, alice, project):
    page = client_for(alice).post(EDIT, form(name="Elsewhere", overlap=0)).content.decode()
    assert "Settings of Answers" in page
    assert 'value="Elsewhere"' in page, "what was typed is kept"


@pytest.mark.parametrize("fields", [{"slug": "stolen"}, {"created_by": "1"}, {"archived_at": "2000-01-01"}])
def test_fields_that_are_not_in_the_form_change_nothing(client_for, alice, project, fields):
    before = Project.objects.values().get()
    client_for(alice).post(EDIT, form(**fields))
    assert Project.objects.values().get() == before


def test_an_archived_project_gives_nobody_items_until_it_is_opened_again(client_for, alice, bob, project):
    make_item(project)
    annotator = make_annotator(project, user=bob)
    client = client_for(alice)
    client.post("/projects/answers/archive/")
    assert claim_slot(project=Project.objects.get(), annotator=annotator) is None
    assert "Open it again" in client.get(EDIT).content.decode()
    client.post("/projects/answers/archive/", {"restore": "1"})
    assert claim_slot(project=Project.objects.get(), annotator=annotator) is not None


def test_archiving_twice_keeps_the_first_time(client_for, alice, project):
    client = client_for(alice)
    client.post("/projects/answers/archive/")
    first = Project.objects.get().archived_at
    client.post("/projects/answers/archive/")
    assert Project.objects.get().archived_at == first


def test_a_manager_edits_but_only_an_owner_archives(client_for, charlie, project):
    project.memberships.create(user=charlie, role="manager")
    client = client_for(charlie)
    assert client.post(EDIT, form(name="By a manager")).status_code == 302
    assert "Archive" not in client.get(EDIT).content.decode()
    assert client.post("/projects/answers/archive/").status_code == 403
