"""The judging page and the items it is given, as HTML."""

import json
import re

import pytest
from django.utils import timezone

from annotate.models import Completion, Project, Slot
from tests.makers import make_completion, make_item, make_judgement, make_project, make_prompt, uids

NEXT = "/projects/answers/judge/next/"


def test_the_page_itself_claims_nothing(client_for, project, bob):
    make_item(project)
    response = client_for(bob).get("/projects/answers/judge/")
    assert response.status_code == 200
    assert not Slot.objects.exclude(state="open").exists()
    assert "no-store" in response.headers["Cache-Control"]


def test_next_leases_an_item_and_shows_it_in_display_order(client_for, project, bob):
    make_item(project, ("Left", "Right"))
    page = client_for(bob).post(NEXT).content.decode()
    slot = Slot.objects.get(state="leased")
    shown = json.loads(re.search(r'data-uids="([^"]+)"', page)[1].replace("&quot;", '"'))
    texts = [Completion.objects.get(uid=uid).text for uid in shown]
    assert shown == slot.display_order
    assert page.index(texts[0]) < page.index(texts[1])
    assert str(slot.lease_token) in page


def test_next_again_is_the_same_item(client_for, project, bob):
    for _ in range(3):
        make_item(project)
    client = client_for(bob)
    first, second = (re.search(r'data-slot="(\d+)"', client.post(NEXT).content.decode())[1] for _ in range(2))
    assert first == second


def test_nothing_tells_where_a_completion_came_from(client_for, project, bob):
    prompt = make_prompt(project)
    item = make_item(project, ("One", "Two"), prompt=prompt)
    Completion.objects.filter(parts__item=item).update(
        model_name="secret-model", source="model", model_id=77123, metadata={"note": "secret-note"}
    )
    make_completion(prompt, "Never shown", model_name="secret-model")
    client = client_for(bob)
    for page in (client.get("/projects/answers/judge/"), client.post(NEXT)):
        for secret in ("secret-", "77123", "Never shown", *Completion.objects.values_list("sha256", flat=True)):
            assert secret not in page.content.decode()


def test_undo_is_offered_for_the_last_judgement(client_for, project, bob):
    from annotate.access import annotator_for

    done, _ = make_item(project), make_item(project)
    first, second = uids(done)
    judgement = make_judgement(done, annotator_for(bob, project), {"ranking": [[first], [second]], "strength": 1})
    page = client_for(bob).post(NEXT).content.decode()
    last = json.loads(re.search(r'<script id="last" type="application/json">(.*?)</script>', page)[1])
    assert last == {
        "what": "judgement",
        "id": judgement.pk,
        "item": done.pk,
        "verdict": {"ranking": [[first], [second]], "strength": 1},
    }


@pytest.mark.parametrize(
    ("state", "said"),
    [("empty", "Nothing to judge yet"), ("archived", "This project is archived"), ("taken", "Others are at work")],
)
def test_when_nothing_is_left_the_page_says_why(client_for, project, alice, bob, state, said):
    if state != "empty":
        make_item(project)
    if state == "archived":
        Project.objects.filter(pk=project.pk).update(archived_at=timezone.now())
    if state == "taken":
        client_for(alice).post(NEXT)
    assert said in client_for(bob).post(NEXT).content.decode()


def test_viewers_are_given_no_items(client_for, project, victor):
    make_item(project)
    assert client_for(victor).post(NEXT).status_code == 403
    assert Slot.objects.get().state == "open"


def test_a_kind_that_has_no_task_type_yet_says_so(client_for, alice):
    make_project("rank", owner=alice, kind="rating")
    client = client_for(alice)
    page = client.get("/projects/rank/judge/").content.decode()
    assert "cannot be judged here yet" in page
    assert client.post("/projects/rank/judge/next/").status_code == 200


def test_an_item_costs_few_queries(client_for, project, bob, django_assert_max_num_queries):
    for _ in range(20):
        make_item(project)
    client = client_for(bob)
    client.post(NEXT)
    with django_assert_max_num_queries(20):
        client.post(NEXT)


def test_nothing_is_inline_in_any_page(client_for, project, alice):
    make_item(project)
    client = client_for(alice)
    pages = [client.get(path) for path in ("/", "/projects/answers/", "/projects/answers/judge/")] + [client.post(NEXT)]
    for page in pages:
        html = page.content.decode()
        assert not re.search(r"\sstyle=|<style|\son\w+=|javascript:", html)
        assert all("src=" in tag or "application/json" in tag for tag in re.findall(r"<script[^>]*>", html))
