"""Real judgements of public releases, as they come and turned into our rows."""

import json

from annotate.models import Annotator, Item, Judgement
from annotate.services.items import add_rows

from .helpers import broken, import_bytes, problems


def test_hh_harmless_has_499_judged_pairs_and_one_empty_reply(project, shared_data):
    content = (shared_data / "hh_harmless" / "hh_harmless_test_000-499.jsonl").read_bytes()
    found = import_bytes(project, content)
    [(row, field, message)] = problems(found)
    assert (row, field) == (86, "chosen")
    assert "empty" in message
    assert Item.objects.count() == Judgement.objects.filter(slot__state="done").count() == 499
    assert broken() == []
    again = import_bytes(project, content)
    assert (again.created_items, again.created_judgements, again.duplicates, again.problem_count) == (0, 0, 499, 1)
    assert Item.objects.count() == Judgement.objects.count() == 499


def pandalm_rows(row):
    models = row["cmp_key"].split("_")
    answers = [{"text": str(row[f"response{n}"]), "model": models[n - 1]} for n in (1, 2)]
    rankings = {0: [[0, 1]], 1: [[0], [1]], 2: [[1], [0]]}
    prompt = f"{row['instruction']}\n\n{row['input']}".strip()
    for n in (1, 2, 3):
        ranking = rankings[row[f"annotator{n}"]]
        yield {"prompt": prompt, "completions": answers, "ranking": ranking, "annotator": f"annotator{n}"}


def test_pandalm_has_three_annotators_on_each_item(project, shared_data):
    source = json.loads((shared_data / "pandalm" / "testset-v1.json").read_text())[:200]
    source = [row for row in source if all(str(row[f"response{n}"] or "").strip() for n in (1, 2))]
    rows = [row for found in source for row in pandalm_rows(found)]
    added = add_rows(project=project, rows=rows)
    assert added.problems == []
    assert added.judgements == 3 * added.created
    assert Annotator.objects.count() == 3
    assert set(Item.objects.values_list("overlap", flat=True)) == {3}


def test_tulu_completions_name_their_models(project, shared_data):
    path = shared_data / "tulu1_human_eval" / "eval_instances_tulu_1.jsonl"
    found = import_bytes(project, b"".join(path.read_bytes().splitlines(keepends=True)[:100]))
    assert problems(found) == []
    assert found.created_items == 100
    assert Item.objects.filter(completions__model_name="chatgpt").exists()
