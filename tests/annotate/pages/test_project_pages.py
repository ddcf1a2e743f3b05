"""Home and the project's page: who sees what, and that they stay quick."""

import pytest
from django.utils import timezone

from annotate.models import Project
from feedback_site.jobs.models import Job
from tests.makers import make_annotator, make_item, make_judgement, make_project, uids


def prefer_first(item):
    first, second = uids(item)
    return {"ranking": [[first], [second]]}


def test_home_lists_my_projects_and_no_others(client_for, project, bob, charlie):
    make_project("secret", owner=charlie, name="Secret project")
    page = client_for(bob).get("/").content.decode()
    assert "Answers" in page
    assert "Secret project" not in page


def test_home_counts_places_and_what_i_did_myself(client_for, project, bob, alice):
    items = [make_item(project, overlap=2) for _ in range(3)]
    make_judgement(items[0], make_annotator(project, user=bob), prefer_first(items[0]))
    make_judgement(items[0], make_annotator(project, user=alice), prefer_first(items[0]))
    page = client_for(bob).get("/").content.decode()
    assert "2 of 6 judged" in page
    assert "1 by you" in page


def test_home_without_projects_says_what_to_do(client_for, charlie):
    page = client_for(charlie).get("/").content.decode()
    assert "No projects yet" in page
    assert "invitation" in page


def test_archived_projects_stand_apart_on_home(client_for, project, bob):
    Project.objects.filter(pk=project.pk).update(archived_at=timezone.now())
    page = client_for(bob).get("/").content.decode()
    assert "Archived (1)" in page
    assert "No projects yet" in page


def test_home_takes_the_same_queries_for_many_projects(client_for, bob, alice, django_assert_max_num_queries):
    def some(count):
        for n in range(count):
            made = make_project(f"p{count}-{n}", owner=bob)
            make_item(made)

    client = client_for(bob)
    some(1)
    with django_assert_max_num_queries(8):
        client.get("/")
    some(12)
    with django_assert_max_num_queries(8):
        client.get("/")


def test_outsiders_get_the_same_404_as_for_nothing(client_for, project, charlie):
    client = client_for(charlie)
    for address in ("/projects/answers/", "/projects/answers/judge/"):
        found, missing = client.get(address), client.get(address.replace("answers", "nothing"))
        assert found.status_code == missing.status_code == 404
    assert client.post("/projects/answers/judge/next/").status_code == 404


def test_a_project_without_items_asks_its_owner_to_import(client_for, project, alice, bob):
    assert "Bring in prompts" in client_for(alice).get("/projects/answers/").content.decode()
    assert "Come back later" in client_for(bob).get("/projects/answers/").content.decode()


def test_the_project_page_shows_progress_people_and_jobs(client_for, project, alice, bob):
    items = [make_item(project) for _ in range(4)]
    make_judgement(items[0], make_annotator(project, user=bob), prefer_first(items[0]))
    Job.objects.create(kind="import_items", title="Import answers.jsonl", scope=f"project:{project.pk}")
    page = client_for(alice).get("/projects/answers/").content.decode()
    assert "1 of 4 judgements" in page
    assert "25 %" in page
    assert "<strong>bob</strong> judged 1 item" in page
    assert "Import answers.jsonl" in page


def test_annotators_see_no_work_of_others_and_no_management(client_for, project, alice, bob):
    item = make_item(project)
    make_judgement(item, make_annotator(project, user=alice), prefer_first(item))
    page = client_for(bob).get("/projects/answers/").content.decode()
    assert "alice" not in page
    assert "/projects/answers/members/" not in page
    assert "/projects/answers/judge/" in page


def test_machines_are_marked_in_the_activity(client_for, project, alice, bob):
    bob.is_machine = True
    bob.save(update_fields=["is_machine"])
    item = make_item(project)
    make_judgement(item, make_annotator(project, user=bob), prefer_first(item))
    assert '<span class="badge">machine</span>' in client_for(alice).get("/projects/answers/").content.decode()


def test_viewers_are_offered_no_judging(client_for, project, victor):
    make_item(project)
    client = client_for(victor)
    assert "/projects/answers/judge/" not in client.get("/projects/answers/").content.decode()
    assert client.get("/projects/answers/judge/").status_code == 403


@pytest.mark.parametrize("items", [1, 30])
def test_the_project_page_takes_the_same_queries_for_many_items(
    client_for, project, alice, items, django_assert_max_num_queries
):
    for _ in range(items):
        make_item(project)
    client = client_for(alice)
    with django_assert_max_num_queries(16):
        client.get("/projects/answers/")


def test_guidelines_are_markdown_made_safe(client_for, project, alice):
    Project.objects.filter(pk=project.pk).update(guidelines="**Be kind**<script>alert(1)</script>")
    page = client_for(alice).get("/projects/answers/").content.decode()
    assert "<strong>Be kind</strong>" in page
    assert "<script>alert" not in page
