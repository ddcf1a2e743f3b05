"""Several rows about one item; who said what; what is there already."""

import pytest

from annotate.access import annotator_for
from annotate.models import Annotator, Item, Judgement, Slot
from annotate.services.items import add_item, add_rows
from annotate.services.slots import claim_slot
from tests.makers import make_completion, make_project, make_prompt

from .helpers import PAIR, broken, pairs

SWAPPED = PAIR | {"chosen": PAIR["rejected"], "rejected": PAIR["chosen"]}
TIE = {"prompt": PAIR["prompt"], "completions": [PAIR["chosen"], PAIR["rejected"]], "ranking": [[0, 1]]}


def names():
    return list(Judgement.objects.order_by("id").values_list("annotator__name", flat=True))


def test_rows_of_three_annotators_are_three_judgements_of_one_item_whichever_side_comes_first(project):
    rows = [PAIR | {"annotator": "a1"}, SWAPPED | {"annotator": "a2"}, TIE | {"annotator": "a3"}]
    added = add_rows(project=project, rows=rows)
    assert (added.created, added.judgements, added.duplicates) == (1, 3, 0)
    assert Item.objects.get().overlap == 3
    assert set(Slot.objects.values_list("state", flat=True)) == {"done"}
    assert names() == ["a1", "a2", "a3"]
    assert broken() == []


def test_the_same_rows_again_add_nothing(project):
    rows = [PAIR | {"annotator": "a1"}, SWAPPED, PAIR, SWAPPED | {"annotator": "a2"}, {"prompt": "Alone"}]
    first = add_rows(project=project, rows=rows)
    again = add_rows(project=project, rows=rows)
    assert (first.created, first.judgements, first.duplicates) == (2, 4, 0)
    assert (again.created, again.judgements, again.duplicates) == (0, 0, 5)


def test_judgements_without_an_annotator_are_by_unnamed_ones_told_apart_by_what_they_say(project):
    added = add_rows(project=project, rows=[PAIR, SWAPPED, PAIR, TIE, SWAPPED])
    assert (added.judgements, added.duplicates) == (3, 2)
    assert names() == ["unnamed", "unnamed 2", "unnamed 3"]


def test_one_annotator_does_not_judge_an_item_both_ways(project):
    added = add_rows(project=project, rows=[PAIR | {"annotator": "kim"}, SWAPPED | {"annotator": "kim"}])
    [problem] = added.problems
    assert (problem.index, problem.field) == (1, "annotator")
    assert "differently" in problem.message
    assert add_rows(project=project, rows=[SWAPPED | {"annotator": "kim"}]).problems[0].index == 0


def test_stand_ins_belong_to_one_project_and_are_nobodys_account(project, bob):
    other = make_project("other")
    own = annotator_for(bob, project)
    for place in (project, other):
        add_rows(project=place, rows=[PAIR | {"annotator": own.name}])
    assert Annotator.objects.filter(name=own.name, user=None).count() == 2
    assert not Judgement.objects.filter(annotator=own).exists()


def test_an_imported_judgement_fills_an_open_slot(project):
    project.overlap = 3
    project.save(update_fields=["overlap"])
    add_rows(project=project, rows=[TIE | {"ranking": None}])
    add_rows(project=project, rows=[PAIR | {"annotator": "a1"}])
    states = list(Slot.objects.order_by("number").values_list("state", flat=True))
    assert states == ["done", "open", "open"]
    assert Item.objects.get().overlap == 3
    assert broken() == []


def test_an_item_without_open_slots_grows_and_leases_stay_with_their_holders(project, bob):
    add_rows(project=project, rows=[TIE | {"ranking": None}])
    slot = claim_slot(project=project, annotator=annotator_for(bob, project))
    add_rows(project=project, rows=[PAIR | {"annotator": "a1"}, PAIR | {"annotator": "a2"}])
    assert Item.objects.get().overlap == 3
    slot.refresh_from_db()
    assert (slot.state, slot.annotator.user) == ("leased", bob)
    assert broken() == []


def test_ties_are_refused_where_the_project_allows_none(project):
    project.allow_ties = False
    project.save(update_fields=["allow_ties"])
    [problem] = add_rows(project=project, rows=[TIE]).problems
    assert problem.field == "ranking"


def test_a_dry_run_writes_nothing_and_reports_the_same(project):
    rows = [*pairs(3), PAIR | {"annotator": "kim"}, SWAPPED | {"annotator": "kim"}, PAIR, {"x": 1}, *pairs(3)]
    tried = add_rows(project=project, rows=rows, dry_run=True)
    assert not Item.objects.exists()
    assert not Annotator.objects.exists()
    assert add_rows(project=project, rows=rows) == tried


def test_completions_that_are_there_are_used(project):
    prompt = make_prompt(project, PAIR["prompt"])
    first, second = (make_completion(prompt, PAIR[name]) for name in ("chosen", "rejected"))
    item, created = add_item(project=project, prompt=prompt, completions=[first, second])
    assert created
    assert add_item(project=project, prompt=prompt, completions=[second, first]) == (item, False)
    added = add_rows(project=project, rows=[PAIR])
    assert (added.created, added.judgements) == (0, 1)
    assert item.slots.get().state == "done"
    assert broken() == []


def test_more_than_a_thousand_rows_are_too_many_at_once(project):
    with pytest.raises(ValueError, match="as a file"):
        add_rows(project=project, rows=[{}] * 1001)
