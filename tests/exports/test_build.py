"""Building versions from real rows in a real database."""

import hashlib
import json
from pathlib import Path

import pytest

from exports.models import VersionJudgement
from exports.services.datasets import DatasetError, create_dataset
from exports.verify import CHECKS, check_files
from feedback_site.jobs.models import Job
from tests.exports.building import build, build_again
from tests.makers import make_annotator, make_item, make_judgement, make_project, make_user, uids

pytestmark = pytest.mark.django_db(transaction=True)


def folder(version, data_dir) -> Path:
    return data_dir / version.folder


def rows(version, data_dir):
    return [json.loads(line) for line in (folder(version, data_dir) / "data.jsonl").read_text().splitlines()]


def test_a_build_freezes_its_judgements_and_writes_files_with_their_sums(judged, data_dir):
    version = build(judged)
    assert version.status == "ready"
    assert version.members.count() == 20
    manifest = (folder(version, data_dir) / "manifest.json").read_bytes()
    assert hashlib.sha256(manifest).hexdigest() == version.sha256
    assert set(json.loads(manifest)["files"]) == {
        "data.jsonl", "data.parquet", "train.parquet", "validation.parquet", "test.parquet",
    }  # fmt: skip
    assert sum(version.counts["rows"].values()) == 20
    assert list(check_files()) == []


def test_the_same_judgements_give_the_same_bytes(judged, data_dir):
    first = build(judged)
    second = build_again(first.dataset)
    assert (first.number, second.number) == (1, 2)
    assert first.sha256 == second.sha256
    for path in folder(first, data_dir).iterdir():
        assert path.read_bytes() == (folder(second, data_dir) / path.name).read_bytes()


def test_a_version_does_not_change_when_judgements_come_later(judged, data_dir):
    first = build(judged)
    item = make_item(judged, ["One more.", "And another."])
    a, b = uids(item)
    make_judgement(item, make_annotator(judged, "late"), {"ranking": [[a], [b]]})
    second = build_again(first.dataset)
    assert first.members.count() == 20
    assert second.members.count() == 21
    old = {row["prompt_sha256"]: row["split"] for row in rows(first, data_dir)}
    new = {row["prompt_sha256"]: row["split"] for row in rows(second, data_dir)}
    assert old.items() <= new.items()


def test_parquet_reads_back_what_was_judged(judged, data_dir):
    import pyarrow.parquet as pq

    version = build(judged, validation=0.0, test=0.0)
    table = pq.read_table(folder(version, data_dir) / "train.parquet").to_pylist()
    assert len(table) == 20
    assert all(row["chosen"].startswith("Good") and row["rejected"].startswith("Bad") for row in table)
    assert {(row["p"], round(row["margin"], 6)) for row in table} == {(1.0, 0.666667)}
    assert table[0]["prompt"][0]["role"] == "user"
    assert [len(row["judgements"]) for row in table] == [1] * 20


def test_only_the_end_of_a_chain_counts_and_withdrawals_do_not(project, data_dir):
    annotator = make_annotator(project, "ann")
    changed, withdrawn = make_item(project, ["A.", "B."]), make_item(project, ["C.", "D."])
    a, b = uids(changed)
    c, d = uids(withdrawn)
    first = make_judgement(changed, annotator, {"ranking": [[a], [b]]})
    make_judgement(changed, annotator, {"ranking": [[b], [a]]}, replaces=first)
    gone = make_judgement(withdrawn, annotator, {"ranking": [[c], [d]]})
    make_judgement(withdrawn, annotator, {}, action="withdrawn", replaces=gone)
    (row,) = rows(build(project), data_dir)
    assert row["chosen"] == "B."


def test_judgements_over_quota_and_by_machines_count_only_if_the_recipe_says_so(project):
    machine = make_user("robot", is_machine=True)
    for n, (annotator, late) in enumerate(
        [(make_annotator(project, user=machine), False), (make_annotator(project, "x"), True)]
    ):
        item = make_item(project, [f"A{n}.", f"B{n}."])
        a, b = uids(item)
        make_judgement(item, annotator, {"ranking": [[a], [b]]}, over_quota=late)
    assert build(project, name="default").members.count() == 1
    assert build(project, name="all", over_quota=True).members.count() == 2
    assert build(project, name="people", over_quota=True, judges="people").members.count() == 1


def test_nothing_to_build_from_fails_with_a_sentence_and_leaves_nothing(project, data_dir):
    version = build(project)
    job = Job.objects.get()
    assert version.state == "failed"
    assert "no judgements to build from" in job.error
    assert not list((data_dir / "datasets").rglob("*.parquet"))


def test_a_pairwise_project_becomes_labels_and_demonstrations(judged, data_dir):
    labels = rows(build(judged, "binary", "labels"), data_dir)
    assert len(labels) == 40
    assert sum(row["label"] for row in labels) == 20
    demonstrations = rows(build(judged, "demonstration", "good", demonstrations=["chosen"]), data_dir)
    assert {row["completion"][:4] for row in demonstrations} == {"Good"}


def test_kinds_that_do_not_fit_and_names_that_are_taken_are_refused(project):
    with pytest.raises(DatasetError) as error:
        create_dataset(project=project, name="x", kind="ratings", recipe={}, created_by=None)
    assert error.value.field == "kind"
    create_dataset(project=project, name="x", kind="pairwise", recipe={}, created_by=None)
    with pytest.raises(DatasetError) as error:
        create_dataset(project=project, name="x", kind="pairwise", recipe={}, created_by=None)
    assert error.value.field == "name"
    binary = make_project("thumbs", kind="binary")
    with pytest.raises(DatasetError):
        create_dataset(project=binary, name="x", kind="pairwise", recipe={}, created_by=None)


def test_a_changed_file_is_found_by_verify(judged, data_dir):
    version = build(judged)
    with (folder(version, data_dir) / "train.parquet").open("ab") as file:
        file.write(b"x")
    assert list(check_files()) == [f"{version}: train.parquet has changed since it was built."]


def test_the_checks_hold_on_good_data(judged):
    from feedback_site.management.commands.verify import _offenders

    build(judged)
    assert [name for name, _, check in CHECKS if list(_offenders(check))] == []


def test_members_are_unique(judged):
    version = build(judged)
    assert VersionJudgement.objects.filter(version=version).values("judgement").distinct().count() == 20
