"""Items and imports over the API: shapes, limits, permissions."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from annotate.models import Item, ItemImport
from tests.jobs import run_all_jobs
from tests.makers import make_project

from .helpers import PAIR, lines, pairs

ITEMS = "/api/v1/projects/answers/items/"
IMPORTS = "/api/v1/projects/answers/imports/"


def test_good_rows_land_and_bad_ones_are_named(project, alice, api_for):
    answer = api_for(alice).post(ITEMS, [PAIR, {"x": 1}, PAIR, {"prompt": "Q"}], format="json")
    assert answer.status_code == 201
    body = answer.json()
    assert (body["created"], body["duplicates"]) == (2, 1)
    [error] = body["errors"]
    assert (error["index"], error["field"]) == (1, "row")
    assert "“x”" in error["message"]


def test_a_dry_run_writes_nothing(project, alice, api_for):
    answer = api_for(alice).post(ITEMS + "?dry_run=1", [PAIR], format="json")
    assert (answer.status_code, answer.json()["created"]) == (200, 1)
    assert not Item.objects.exists()


def test_more_than_a_thousand_rows_are_sent_as_a_file(project, alice, api_for):
    answer = api_for(alice).post(ITEMS, [PAIR] * 1001, format="json")
    assert answer.status_code == 413
    assert IMPORTS in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"null",
        b"[",
        b"\xff",
        b"[NaN]",
        b'[{"a": 1, "a": 2}]',
        b"[" * 100_000,
        b'"text"',
        b"[" + b"9" * 5000 + b"]",
    ],
)
def test_a_body_that_is_no_list_of_rows_is_a_plain_refusal(project, alice, api_for, body):
    answer = api_for(alice).generic("POST", ITEMS, body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_a_body_out_of_measure_is_refused(project, alice, api_for, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    answer = api_for(alice).post(ITEMS, pairs(100), format="json")
    assert answer.status_code == 413


def test_nothing_is_added_to_an_archived_project(project, alice, api_for):
    project.archived_at = "2024-01-01T00:00Z"
    project.save(update_fields=["archived_at"])
    assert api_for(alice).post(ITEMS, [PAIR], format="json").status_code == 409
    assert api_for(alice).generic("POST", IMPORTS, lines([PAIR])).status_code == 400


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "content_type", ["application/x-ndjson", "application/json", "text/csv", "multipart/form-data"]
)
def test_a_file_is_imported_by_a_job(project, alice, api_for, content_type):
    api = api_for(alice)
    content = lines([*pairs(3), {"x": 1}])
    if content_type == "multipart/form-data":
        upload = SimpleUploadedFile("../../etc/rows.jsonl", content)
        answer = api.post(IMPORTS, {"file": upload}, format="multipart")
    else:
        answer = api.generic("POST", IMPORTS + "?name=a/rows.jsonl", content, content_type=content_type)
    assert answer.status_code == 202
    assert (answer.json()["kind"], answer.json()["status"]) == ("import_items", "queued")
    [job] = run_all_jobs()
    assert job.status == "done"
    detail = api.get(answer.headers["Location"]).json()
    assert (detail["file_name"], detail["rows"], detail["created_items"]) == ("rows.jsonl", 4, 3)
    assert (detail["status"], detail["job"], detail["project"]) == ("done", job.pk, "answers")
    [problem] = detail["problems"]["results"]
    assert (problem["row"], problem["field"]) == (3, "row")
    [listed] = api.get(IMPORTS).json()["results"]
    assert listed["id"] == detail["id"]


def test_problems_come_in_pages(project, alice, api_for, client_for):
    kept = ItemImport.objects.create(project=project, file_name="x", path="imports/x", sha256="0" * 64, bytes=1)
    for row in range(5):
        kept.problems.create(row=row, field="row", message="Bad.")
    api, url, seen = api_for(alice), f"/api/v1/imports/{kept.pk}/?limit=2", []
    while url:
        problems = api.get(url).json()["problems"]
        seen += [problem["row"] for problem in problems["results"]]
        url = problems["next"]
    assert seen == [0, 1, 2, 3, 4]


def test_a_file_that_is_no_table_is_refused_at_once(project, alice, api_for, data_dir):
    answer = api_for(alice).generic("POST", IMPORTS, b"PK\x03\x04xl/", content_type="application/octet-stream")
    assert answer.status_code == 400
    assert "Excel" in answer.json()["error"]["message"]
    assert list((data_dir / "imports").iterdir()) == []
    assert api_for(alice).post(IMPORTS, {}, format="multipart").status_code == 400
    assert api_for(alice).generic("POST", IMPORTS, b"").status_code == 400


def test_only_owners_and_managers_bring_rows_in(project, alice, bob, victor, charlie, api_for):
    kept = ItemImport.objects.create(project=project, file_name="x", path="imports/x", sha256="0" * 64, bytes=1)
    for user, code in [(bob, 403), (victor, 403), (charlie, 404)]:
        api = api_for(user)
        assert api.post(ITEMS, [PAIR], format="json").status_code == code
        assert api.generic("POST", IMPORTS, lines([PAIR])).status_code == code
        assert api.get(IMPORTS).status_code == code
        assert api.get(f"/api/v1/imports/{kept.pk}/").status_code == code
    assert api_for(alice, scopes=["read", "annotate"]).post(ITEMS, [PAIR], format="json").status_code == 403
    assert not Item.objects.exists()


def test_an_import_of_another_project_is_not_there(alice, bob, api_for, project):
    other = make_project("other", owner=bob)
    kept = ItemImport.objects.create(project=other, file_name="x", path="imports/x", sha256="0" * 64, bytes=1)
    assert api_for(alice).get(f"/api/v1/imports/{kept.pk}/").status_code == 404


def test_the_body_is_never_held_in_memory(project, alice, api_for, monkeypatch):
    sizes = []
    keep = "annotate.api.imports.keep_file"
    monkeypatch.setattr(keep, lambda *, chunks, **_: sizes.extend(map(len, chunks)) or pytest.skip("seen enough"))
    with pytest.raises(pytest.skip.Exception):
        api_for(alice).generic("POST", IMPORTS, lines([PAIR]) * 50_000, content_type="application/x-ndjson")
    assert len(sizes) > 1
    assert max(sizes) <= 1 << 20
    assert json.dumps(sizes)
