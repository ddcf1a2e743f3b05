"""What leaves the house, and who may take it."""

import csv
import io
import json
import shutil

import pytest

from exports.writers.formats import as_csv, as_trl, as_trl_text
from tests.exports.building import build

ROW = {
    "split": "train",
    "prompt": [{"role": "user", "content": "Why?"}],
    "chosen": "=SUM(1)",
    "rejected": "No.",
    "margin": None,
}


def test_a_cell_that_a_spreadsheet_would_run_is_defused():
    table = list(csv.reader(io.StringIO("".join(as_csv(iter([ROW, ROW | {"chosen": "@cmd"}]))))))
    assert table[0] == list(ROW)
    assert [row[2] for row in table[1:]] == ["'=SUM(1)", "'@cmd"]


def test_trl_rows_do_not_repeat_the_prompt_in_the_answers():
    (row,) = map(json.loads, as_trl(iter([ROW])))
    assert row == {
        "prompt": [{"role": "user", "content": "Why?"}],
        "chosen": [{"role": "assistant", "content": "=SUM(1)"}],
        "rejected": [{"role": "assistant", "content": "No."}],
    }


def test_text_rows_show_several_turns_as_a_transcript():
    (row,) = map(json.loads, as_trl_text(iter([ROW])))
    assert (row["prompt"], row["chosen"]) == ("Why?", "=SUM(1)")
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, *ROW["prompt"]]
    (row,) = map(json.loads, as_trl_text(iter([ROW | {"prompt": turns}])))
    assert row["prompt"] == "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant:"


@pytest.mark.django_db(transaction=True)
def test_every_format_downloads_whole_or_by_split(judged, alice, api_for):
    version = build(judged, validation=0.5, test=0.0)
    api = api_for(alice)
    base = f"/api/v1/datasets/{version.dataset_id}/versions/1/"
    assert set(api.get(base).json()["files"]) == {"parquet", "jsonl", "csv", "trl", "trl_text"}
    for name in ("jsonl", "trl", "trl_text"):
        answer = api.get(f"{base}files/{name}/")
        lines = b"".join(answer.streaming_content).decode().splitlines()
        assert len(lines) == 20
        assert answer["Content-Disposition"].startswith("attachment")
    part = b"".join(api.get(f"{base}files/jsonl/?split=validation").streaming_content).decode().splitlines()
    assert len(part) == version.counts["rows"]["validation"]
    assert b"".join(api.get(f"{base}files/parquet/").streaming_content)[:4] == b"PAR1"
    assert api.get(f"{base}files/pickle/").status_code == 404
    assert api.get(f"{base}files/jsonl/?split=../../secret").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_a_download_names_no_person(judged, alice, api_for):
    version = build(judged)
    answer = api_for(alice).get(f"/api/v1/datasets/{version.dataset_id}/versions/1/files/jsonl/")
    text = b"".join(answer.streaming_content).decode()
    assert "ann" not in text.replace("annotat", "")
    assert "alice" not in text


@pytest.mark.django_db(transaction=True)
def test_annotators_and_outsiders_take_nothing(judged, bob, charlie, victor, api_for, client_for):
    version = build(judged)
    paths = [
        f"/api/v1/datasets/{version.dataset_id}/",
        f"/api/v1/datasets/{version.dataset_id}/versions/1/",
        f"/api/v1/datasets/{version.dataset_id}/versions/1/files/jsonl/",
    ]
    for path in paths:
        assert api_for(bob).get(path).status_code == 403
        assert api_for(charlie).get(path).status_code == 404
        assert api_for(victor).get(path).status_code == 200
    page = f"/datasets/{version.dataset_id}/versions/1/"
    assert client_for(bob).get(page).status_code == 403
    assert client_for(charlie).get(page).status_code == 404
    assert client_for(victor).get(page).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_the_page_makes_a_dataset_and_starts_its_build(judged, alice, client_for):
    client = client_for(alice)
    path = f"/projects/{judged.slug}/datasets/"
    assert b"No dataset yet" in client.get(path).content
    form = {
        "name": "From the page", "kind": "pairwise", "aggregation": "soft", "judges": "all", "min_judgements": 1,
        "validation": 0.1, "test": 0.1, "seed": 0, "demonstrations": ["edits"],
    }  # fmt: skip
    answer = client.post(path, form, follow=True)
    assert answer.status_code == 200
    dataset = judged.datasets.get()
    assert dataset.recipe["aggregation"] == "soft"
    assert dataset.versions.get().job.status == "queued"
    assert client.post(path, form | {"validation": 0.9, "test": 0.9}).status_code == 200
    assert judged.datasets.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_page_takes_groups_line_by_line_and_says_which_line_is_wrong(judged, alice, client_for):
    client = client_for(alice)
    path = f"/projects/{judged.slug}/datasets/"
    form = {
        "name": "By group", "kind": "pairwise", "aggregation": "majority", "judges": "all", "min_judgements": 1,
        "validation": 0.1, "test": 0.1, "seed": 0, "slice": "category",
    }  # fmt: skip
    for groups, problem in (
        ("experts ann", "“experts ann” has no colon"),
        ("experts: ann\nexperts: bob", "has two lines"),
        ("experts: anne", "Nobody called “anne” has judged here. Who has: “ann”."),
        ("experts: , ", "“experts” needs a list"),
    ):
        page = client.post(path, form | {"groups": groups}).content.decode()
        assert problem in page
        assert groups.splitlines()[0] in page
    assert not judged.datasets.exists()
    client.post(path, form | {"groups": "experts: ann\n"})
    recipe = judged.datasets.get().recipe
    assert (recipe["groups"], recipe["slice"]) == ({"experts": ["ann"]}, "category")


@pytest.mark.django_db(transaction=True)
def test_a_version_whose_files_are_gone_says_so(judged, alice, api_for, client_for, data_dir):
    version = build(judged, validation=0.5, test=0.0)
    shutil.rmtree(data_dir / version.folder)
    page = client_for(alice).get(f"/datasets/{version.dataset_id}/versions/1/").content.decode()
    assert "Its files are gone." in page
    assert version.folder in page
    assert "Train on it" not in page
    for name in ("jsonl", "parquet"):
        answer = api_for(alice).get(f"/api/v1/datasets/{version.dataset_id}/versions/1/files/{name}/")
        assert answer.status_code == 404
