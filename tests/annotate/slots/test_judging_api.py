"""Judging over HTTP, as a program and as a signed-in browser."""

import json
import uuid

import pytest
from django.test import Client

from annotate.models import Judgement, Slot
from tests.annotate.slots.helpers import broken, expire
from tests.makers import make_completion, make_item, make_project, make_prompt

pytestmark = pytest.mark.django_db
CLAIM = "/api/v1/projects/answers/slots/claim/"
LIST = "/api/v1/projects/answers/judgements/"


@pytest.fixture
def api(api_for, bob):
    return api_for(bob, ["read", "annotate"])


def answer(lease, **changes):
    ids = [completion["id"] for completion in lease["item"]["completions"]]
    given = {
        "submission_id": str(uuid.uuid4()),
        "lease_token": lease["lease_token"],
        "verdict": {"ranking": [[uid] for uid in ids], "strength": 2},
        "seconds": 12.5,
    }
    return given | changes


def send(api, lease, query="", **changes):
    return api.post(f"/api/v1/slots/{lease['id']}/judgement/{query}", answer(lease, **changes), format="json")


def test_a_claim_shows_the_item_in_display_order_and_then_nothing_is_left(api, project):
    item = make_item(project)
    lease = api.post(CLAIM).json()
    assert set(lease) == {"id", "lease_token", "lease_expires_at", "item"}
    assert lease["item"]["prompt"] == item.prompt.messages
    assert [one["id"] for one in lease["item"]["completions"]] == Slot.objects.get().display_order
    assert {one["text"] for one in lease["item"]["completions"]} == {"A fine answer.", "Another answer."}
    assert send(api, lease).status_code == 201
    assert api.post(CLAIM).status_code == 204
    assert broken() == []


def test_a_replay_answers_200_with_the_same_body(api, project):
    make_item(project)
    lease = api.post(CLAIM).json()
    same = answer(lease)
    first, second = send(api, lease, **same), send(api, lease, **same)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.content == second.content
    assert first.json()["verdict"] == same["verdict"]
    assert first.json()["over_quota"] is False


def test_another_payload_under_the_same_id_answers_422(api, project):
    make_item(project)
    lease = api.post(CLAIM).json()
    same = answer(lease)
    send(api, lease, **same)
    refused = send(api, lease, **same | {"verdict": {"both_bad": True}})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "submission_reused")


def test_a_token_of_another_lease_answers_409_and_stores_nothing(api, project):
    make_item(project)
    lease = api.post(CLAIM).json()
    refused = send(api, lease, lease_token=str(uuid.uuid4()))
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "wrong_lease")
    assert not Judgement.objects.exists()


def test_a_second_answer_answers_409(api, project):
    make_item(project)
    lease = api.post(CLAIM).json()
    send(api, lease)
    assert send(api, lease).json()["error"]["code"] == "already_judged"


def test_next_claims_in_the_same_round_trip_also_at_a_replay(api, project):
    make_item(project)
    make_item(project)
    lease = api.post(CLAIM).json()
    same = answer(lease)
    first = send(api, lease, "?next=1", **same).json()
    assert first["next"]["id"] != lease["id"]
    again = send(api, lease, "?next=1", **same).json()
    assert again["next"]["lease_token"] == first["next"]["lease_token"]
    assert send(api, first["next"], "?next=1").json()["next"] is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"verdict": {"ranking": "a"}}, "verdict.ranking"),
        ({"verdict": {"winner": "a"}}, "verdict.winner"),
        ({"verdict": {"both_bad": True, "rationale": "half \ud800"}}, "verdict.rationale"),
        ({"verdict": "left"}, "verdict"),
        ({"seconds": -1}, "seconds"),
        ({"seconds": "nan"}, "seconds"),
        ({"submission_id": "one"}, "submission_id"),
    ],
)
def test_what_cannot_be_read_is_refused_by_field(api, project, change, field):
    make_item(project)
    lease = api.post(CLAIM).json()
    body = json.dumps(answer(lease, **change))
    refused = api.post(f"/api/v1/slots/{lease['id']}/judgement/", body, content_type="application/json")
    assert refused.status_code == 400
    assert field in refused.json()["error"]["fields"]


def test_a_body_nested_out_of_reason_is_refused(api, project):
    make_item(project)
    lease = api.post(CLAIM).json()
    for depth in (400, 100_000):
        body = '{"verdict": ' + '{"a":' * depth + "1" + "}" * depth + "}"
        refused = api.post(f"/api/v1/slots/{lease['id']}/judgement/", body, content_type="application/json")
        assert refused.status_code == 400


def test_skip_release_and_heartbeat_take_the_lease_token(api, project):
    make_item(project)
    lease = api.post(CLAIM).json()
    token = {"lease_token": lease["lease_token"]}
    beat = api.post(f"/api/v1/slots/{lease['id']}/heartbeat/", token, format="json")
    assert beat.json()["lease_expires_at"] >= lease["lease_expires_at"]
    assert api.post(f"/api/v1/slots/{lease['id']}/release/", token, format="json").status_code == 204
    gone = api.post(f"/api/v1/slots/{lease['id']}/heartbeat/", token, format="json")
    assert (gone.status_code, gone.json()["error"]["code"]) == (409, "lease_lost")
    lease = api.post(CLAIM).json()
    skip = {"lease_token": lease["lease_token"], "reason": "broken"}
    skipped = api.post(f"/api/v1/slots/{lease['id']}/skip/?next=1", skip, format="json").json()
    assert (skipped["reason"], skipped["next"]) == ("broken", None)
    assert api.post(CLAIM).status_code == 204
    assert api.post(f"/api/v1/skips/{skipped['id']}/withdraw/").json()["id"] == lease["id"]
    assert broken() == []


def test_a_withdrawn_judgement_gives_its_item_back(api, project):
    make_item(project)
    lease = api.post(CLAIM).json()
    stored = send(api, lease).json()
    again = api.post(f"/api/v1/judgements/{stored['id']}/withdraw/").json()
    assert again["item"] == lease["item"]
    assert send(api, again, verdict={"both_bad": True}).json()["over_quota"] is False
    assert broken() == []


def test_a_revision_is_stored_once_and_conflicts_with_a_later_one(api, project):
    make_item(project)
    stored = send(api, api.post(CLAIM).json()).json()
    where = f"/api/v1/judgements/{stored['id']}/revision/"
    given = {"submission_id": str(uuid.uuid4()), "verdict": {"both_bad": True}}
    codes = [api.post(where, given, format="json").status_code for _ in range(2)]
    codes.append(api.post(where, given | {"submission_id": str(uuid.uuid4())}, format="json").status_code)
    assert codes == [201, 200, 409]


def test_a_late_answer_is_kept_as_an_extra(api, api_for, alice, project):
    make_item(project)
    lease = api.post(CLAIM).json()
    expire(Slot.objects.get())
    assert api_for(alice).post(CLAIM).json()["id"] == lease["id"]
    late = send(api, lease)
    assert (late.status_code, late.json()["over_quota"]) == (201, True)


def test_a_signed_in_browser_judges_with_its_csrf_token_and_not_without(bob, project):
    make_item(project)
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(bob)
    assert browser.post(CLAIM).status_code == 403
    token = "a1" * 16
    browser.cookies["csrf"] = token
    lease = browser.post(CLAIM, content_type="application/json", headers={"X-CSRFToken": token}).json()
    stored = browser.post(
        f"/api/v1/slots/{lease['id']}/judgement/",
        json.dumps(answer(lease)),
        content_type="application/json",
        headers={"X-CSRFToken": token},
    )
    assert stored.status_code == 201
    assert Judgement.objects.get().source == "browser"


def test_judgements_come_in_pages_newest_first_or_as_lines_oldest_first(api_for, alice, project):
    owner = api_for(alice)
    for _ in range(5):
        make_item(project)
        send(owner, owner.post(CLAIM).json())
    page = owner.get(LIST + "?limit=2").json()
    assert [row["id"] for row in page["results"]] == sorted((row["id"] for row in page["results"]), reverse=True)
    rest = owner.get(page["next"]).json()
    assert len(page["results"]) == len(rest["results"]) == 2
    for stream in (owner.get(LIST + "?format=ndjson"), owner.get(LIST, HTTP_ACCEPT="application/x-ndjson")):
        assert stream.streaming
        lines = [json.loads(line) for line in b"".join(stream.streaming_content).splitlines()]
        assert [row["id"] for row in lines] == sorted(row["id"] for row in lines)
        assert len(lines) == 5
        assert lines[-1] == page["results"][0]
        assert lines[0]["current"] is True


def test_reading_many_judgements_takes_no_more_queries_than_few(api_for, alice, project, django_assert_max_num_queries):
    owner = api_for(alice)
    for _ in range(12):
        make_item(project)
        send(owner, owner.post(CLAIM).json())
    for query in ("", "?format=ndjson"):
        with django_assert_max_num_queries(5):
            answered = owner.get(LIST + query)
            _ = b"".join(answered.streaming_content) if answered.streaming else answered.content


def test_model_names_never_reach_an_annotator(api, project):
    prompt = make_prompt(project)
    item = make_item(project, ["one", "two"], prompt=prompt)
    item.completions.update(model_name="secret-model-7b", metadata={"origin": "secret-model-7b"})
    make_completion(prompt, "three", model_name="secret-model-8b")
    lease = api.post(CLAIM).json()
    stored = send(api, lease, "?next=1")
    again = api.post(f"/api/v1/judgements/{stored.json()['id']}/withdraw/")
    beat = api.post(
        f"/api/v1/slots/{lease['id']}/heartbeat/", {"lease_token": again.json()["lease_token"]}, format="json"
    )
    skipped = api.post(
        f"/api/v1/slots/{lease['id']}/skip/", {"lease_token": again.json()["lease_token"]}, format="json"
    )
    back = api.post(f"/api/v1/skips/{skipped.json()['id']}/withdraw/")
    listed, lines = api.get(LIST), b"".join(api.get(LIST + "?format=ndjson").streaming_content)
    said = [json.dumps(lease).encode(), lines] + [one.content for one in (stored, again, beat, skipped, back, listed)]
    assert all(said)
    assert b"secret-model" not in b"".join(said)


def test_a_binary_item_is_judged_by_its_label(api_for, alice):
    binary = make_project("thumbs", owner=alice, kind="binary")
    make_item(binary)
    api = api_for(alice)
    lease = api.post("/api/v1/projects/thumbs/slots/claim/").json()
    [completion] = lease["item"]["completions"]
    stored = send(api, lease, verdict={"labels": {completion["id"]: False}})
    assert stored.json()["verdict"] == {"labels": {completion["id"]: False}}
    assert broken() == []
