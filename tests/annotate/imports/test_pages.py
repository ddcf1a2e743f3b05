"""The import page: upload, try, read what was refused."""

import csv
import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from annotate.models import Item, ItemImport
from tests.jobs import run_all_jobs

from .helpers import PAIR, lines, pairs

PAGE = "/projects/answers/import/"


def upload(client, content, **fields):
    return client.post(PAGE, {"file": SimpleUploadedFile("rows.jsonl", content), **fields})


def test_the_page_shows_what_rows_of_this_kind_of_project_look_like(project, alice, client_for):
    page = client_for(alice).get(PAGE).content.decode()
    assert "&quot;chosen&quot;" in page
    assert "&quot;label&quot;" not in page
    assert "Nothing imported yet" in page


@pytest.mark.django_db(transaction=True)
def test_a_file_is_tried_and_then_imported_without_another_upload(project, alice, client_for):
    client = client_for(alice)
    page = upload(client, lines([*pairs(3), {"x": "<script>"}]), dry_run="on")
    trial = ItemImport.objects.get()
    assert page.headers["Location"] == f"/imports/{trial.pk}/"
    run_all_jobs()
    assert not Item.objects.exists()
    page = client.get(f"/imports/{trial.pk}/").content.decode()
    assert "Nothing was written" in page
    assert "Rename its keys" in page
    answer = client.post(f"/imports/{trial.pk}/run/", follow=True)
    assert answer.status_code == 200
    run_all_jobs()
    real = ItemImport.objects.first()
    assert (real.path, real.dry_run, real.created_items) == (trial.path, False, 3)
    page = client.get(PAGE).content.decode()
    assert page.count("rows.jsonl") == 2


@pytest.mark.parametrize(("content", "says"), [(b"", "empty"), (b"PK\x03\x04xl/", "Excel"), (b"hello", "neither JSON")])
def test_what_is_no_table_is_refused_beside_the_field(project, alice, client_for, content, says):
    page = upload(client_for(alice), content)
    assert page.status_code == 400
    assert says in page.content.decode()
    assert not ItemImport.objects.exists()


def test_problems_are_downloaded_as_a_table_without_formulas(project, alice, client_for):
    kept = ItemImport.objects.create(project=project, file_name="x", path="imports/x", sha256="0" * 64, bytes=1)
    kept.problems.create(row=7, field="=cmd|' /C calc'!A0", message='Say "it", twice.')
    answer = client_for(alice).get(f"/imports/{kept.pk}/problems.csv")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    table = list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert table == [["row", "field", "message"], ["7", "'=cmd|' /C calc'!A0", 'Say "it", twice.']]


@pytest.mark.django_db(transaction=True)
def test_cancelled_says_what_stays(project, alice, client_for):
    client = client_for(alice)
    upload(client, lines([PAIR]))
    found = ItemImport.objects.get()
    client.post(f"/jobs/{found.job_id}/cancel/")
    assert "What had landed stays" in client.get(f"/imports/{found.pk}/").content.decode()


def test_only_owners_and_managers_get_there(project, bob, victor, charlie, client_for):
    kept = ItemImport.objects.create(project=project, file_name="x", path="imports/x", sha256="0" * 64, bytes=1)
    for user, code in [(bob, 403), (victor, 403), (charlie, 404)]:
        client = client_for(user)
        assert client.get(PAGE).status_code == code
        assert upload(client, lines([PAIR])).status_code == code
        assert client.get(f"/imports/{kept.pk}/").status_code == code
        assert client.get(f"/imports/{kept.pk}/problems.csv").status_code == code
        assert client.post(f"/imports/{kept.pk}/run/").status_code == code
    assert ItemImport.objects.count() == 1


def test_looking_changes_nothing(project, alice, client_for):
    kept = ItemImport.objects.create(project=project, file_name="x", path="imports/x", sha256="0" * 64, bytes=1)
    assert client_for(alice).get(f"/imports/{kept.pk}/run/").status_code == 405
    answer = client_for(alice).post(f"/imports/{kept.pk}/run/", follow=True)
    assert "Upload it again" in answer.content.decode()
