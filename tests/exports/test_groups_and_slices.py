"""Rows of parts of the data, and of groups of annotators, in real versions."""

import json

import pytest

from exports.services.datasets import DatasetError, create_dataset
from feedback_site.jobs.models import Job
from tests.exports.building import build
from tests.makers import make_annotator, make_item, make_judgement, make_project, make_prompt, uids

pytestmark = pytest.mark.django_db(transaction=True)


def rows(version, data_dir):
    return [json.loads(line) for line in (data_dir / version.folder / "data.jsonl").read_text().splitlines()]


def judge(item, annotator, best=0):
    first, second = uids(item)
    ranking = [[first], [second]] if best == 0 else [[second], [first]]
    make_judgement(item, annotator, {"ranking": ranking})


@pytest.fixture
def described(project):
    """Three pairs: about maths, about poems by their prompt alone, and about nothing that was said."""
    annotator = make_annotator(project, "ann")
    prompt = make_prompt(project, "Write a poem.")
    prompt.metadata = {"category": "poems", "level": 3}
    prompt.save()
    maths, poems, bare = make_item(project), make_item(project, prompt=prompt), make_item(project)
    maths.metadata = {"category": "maths", "tags": ["a"], "notes": "long " * 40, "none": ""}
    maths.save()
    for item in (maths, poems, bare):
        judge(item, annotator)
    return project


@pytest.mark.parametrize("kind", ["pairwise", "binary", "listwise"])
def test_a_slice_is_what_the_row_or_its_prompt_brought(kind, described, data_dir):
    found = {row["slice"] for row in rows(build(described, kind, slice="category"), data_dir)}
    assert found == {"maths", "poems", None}


def test_numbers_are_slices_and_lists_and_long_texts_are_none(described, data_dir):
    assert {row["slice"] for row in rows(build(described, slice="level"), data_dir)} == {"3", None}
    for key in ("tags", "notes", "none"):
        version = build(described, name=key, slice=key)
        assert version.state == "failed"
        error = Job.objects.latest("pk").error
        assert f"No row brought a value “{key}” beside its content." in error
        assert "Rows here brought “category”, “level”, “none”, “notes”, “tags”." in error


def test_a_key_with_too_many_values_is_refused(project):
    annotator = make_annotator(project, "ann")
    for n in range(101):
        item = make_item(project)
        item.metadata = {"number": n}
        item.save()
        judge(item, annotator)
    version = build(project, slice="number")
    assert version.state == "failed"
    assert "“number” has more than 100 different values" in Job.objects.get().error


def test_a_list_of_items_of_two_slices_has_none(project, data_dir):
    annotator, prompt = make_annotator(project, "ann"), make_prompt(project)
    one, other = make_item(project, ["A", "B"], prompt=prompt), make_item(project, ["C", "D"], prompt=prompt)
    for item, category in ((one, "maths"), (other, "poems")):
        item.metadata = {"category": category}
        item.save()
        judge(item, annotator)
    bridge = make_item(project, ["E", "F"], prompt=prompt)
    bridge.parts.filter(index=0).update(completion=one.parts.get(index=0).completion)
    bridge.parts.filter(index=1).update(completion=other.parts.get(index=0).completion)
    judge(bridge, annotator)
    (row,) = rows(build(project, "listwise", slice="category"), data_dir)
    assert len(row["completions"]) == 4
    assert row["slice"] is None


@pytest.mark.parametrize("kind", ["pairwise", "binary"])
def test_groups_that_disagree_are_rows_of_their_own(kind, project, data_dir):
    expert, worker = make_annotator(project, "kim"), make_annotator(project, "w1")
    item = make_item(project, ["A.", "B."], overlap=2)
    judge(item, expert, best=0)
    judge(item, worker, best=1)
    assert build(project, kind, "together").state == "failed"
    version = build(project, kind, "apart", groups={"experts": ["kim"], "crowd": ["w1"]})
    best = {
        row["group"]: row.get("chosen", row.get("completion"))
        for row in rows(version, data_dir)
        if row.get("label", True)
    }
    assert best == {"experts": "A.", "crowd": "B."}
    ids = [row["id"] for row in rows(version, data_dir)]
    assert len(set(ids)) == len(ids)


def test_groups_are_refused_where_rows_have_none_and_for_strangers(project):
    make_annotator(project, "kim")
    for kind, groups, problem in (
        ("listwise", {"experts": ["kim"]}, "only those of pairwise and binary datasets do"),
        ("pairwise", {"experts": ["kim", "lee"]}, "Nobody called “lee” has judged here. Who has: “kim”."),
    ):
        with pytest.raises(DatasetError) as error:
            create_dataset(project=project, name="x", kind=kind, recipe={"groups": groups}, created_by=None)
        assert error.value.field == "recipe.groups"
        assert problem in error.value.message


def test_an_annotator_of_another_project_is_a_stranger(project):
    make_annotator(make_project("other"), "kim")
    with pytest.raises(DatasetError, match="Who has: nobody yet"):
        create_dataset(
            project=project, name="x", kind="pairwise", recipe={"groups": {"experts": ["kim"]}}, created_by=None
        )
