"""What rows mean, told by their keys."""

import json

import pytest

from annotate.imports.examples import EXAMPLES
from annotate.models import Completion, Item, Judgement, Prompt, Slot
from annotate.services.items import add_rows
from tests.makers import make_project

from .helpers import PAIR, broken


def texts(item):
    return {part.completion.uid: part.completion.text for part in item.parts.select_related("completion")}


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["pairwise", "listwise", "binary", "rating"])
def test_every_example_of_the_import_page_can_be_imported(kind):
    project = make_project("examples", kind=kind)
    rows = [json.loads(example.row) for example in EXAMPLES if kind in example.kinds]
    added = add_rows(project=project, rows=rows)
    assert added.problems == []
    assert added.created == len(rows)
    assert broken() == []


def test_a_pair_becomes_an_item_and_a_judgement_of_it(project):
    add_rows(project=project, rows=[PAIR | {"strength": 2, "annotator": "kim", "id": "sky-1", "topic": "physics"}])
    item = Item.objects.get()
    judgement = Judgement.objects.get()
    [[better], [worse]] = judgement.verdict["ranking"]
    assert (texts(item)[better], texts(item)[worse]) == (PAIR["chosen"], PAIR["rejected"])
    assert judgement.verdict["strength"] == 2
    assert (judgement.annotator.name, judgement.annotator.user, judgement.source) == ("kim", None, "import")
    assert (item.external_id, item.metadata, item.kind) == ("sky-1", {"topic": "physics"}, "pairwise")
    assert item.prompt.messages == [{"role": "user", "content": PAIR["prompt"]}]


def test_a_transcript_is_split_at_the_last_assistant_turn(project):
    talk = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: How are you?\n\nAssistant: "
    add_rows(project=project, rows=[{"chosen": talk + "Well.\n\nAnd you?", "rejected": talk + "Go away."}])
    assert Prompt.objects.get().messages == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "How are you?"},
    ]
    assert set(Completion.objects.values_list("text", flat=True)) == {"Well.\n\nAnd you?", "Go away."}


def test_chat_messages_mean_the_same_as_the_transcript(project):
    asked = [{"role": "user", "content": "Hi"}]
    replies = {
        name: [*asked, {"role": "assistant", "content": text}]
        for name, text in [("chosen", "Hello."), ("rejected", "What?")]
    }
    transcripts = {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi\n\nAssistant: What?"}
    beside = {"prompt": asked, "chosen": replies["chosen"][1:], "rejected": replies["rejected"][1:]}
    added = add_rows(project=project, rows=[replies, transcripts, beside])
    assert (added.created, added.judgements, added.duplicates) == (1, 1, 2)


def test_completions_keep_their_models_and_metadata_and_their_order_gives_nothing_away(project):
    answers = [
        {"model": "tulu_65B", "completion": "One."},
        {"model": "chatgpt", "text": "Two.", "metadata": {"answer_id": "x1"}, "seed": 3},
    ]
    forth = add_rows(project=project, rows=[{"id": "user_1", "prompt": "Count.", "completions": answers}])
    back = add_rows(project=project, rows=[{"id": "user_1", "prompt": "Count.", "completions": answers[::-1]}])
    assert (forth.created, back.created, back.duplicates) == (1, 0, 1)
    assert Completion.objects.get(model_name="chatgpt").metadata == {"answer_id": "x1", "seed": 3}
    parts = Item.objects.get().parts.values_list("completion__sha256", flat=True)
    assert list(parts) == sorted(parts)
    assert Slot.objects.get().state == "open"


@pytest.mark.django_db
def test_a_ranking_becomes_a_listwise_judgement_with_its_ties():
    project = make_project("lists", kind="listwise")
    row = {"prompt": "Name a planet.", "completions": ["Mars.", "The Moon.", "The Sun."], "ranking": [[0], [2, 1]]}
    add_rows(project=project, rows=[row])
    named = texts(Item.objects.get())
    first, tied = Judgement.objects.get().verdict["ranking"]
    assert [named[uid] for uid in first] == ["Mars."]
    assert {named[uid] for uid in tied} == {"The Moon.", "The Sun."}


@pytest.mark.django_db
def test_a_label_becomes_a_binary_judgement():
    project = make_project("thumbs", kind="binary")
    add_rows(project=project, rows=[{"prompt": "2 + 2?", "completion": "5", "label": False, "model": "m"}])
    assert list(Judgement.objects.get().verdict["labels"].values()) == [False]
    assert Completion.objects.get().model_name == "m"


def test_a_prompt_alone_is_kept_to_sample_for(project):
    added = add_rows(project=project, rows=[{"prompt": "Explain tides.", "id": "t1"}, {"prompt": "Explain tides."}])
    assert (added.created, added.duplicates) == (1, 1)
    assert Prompt.objects.get().metadata == {"id": "t1"}
    assert not Item.objects.exists()


TURN = "\n\nHuman: Hi\n\nAssistant: "
REFUSED = [
    ({"chosen": TURN, "rejected": TURN + "Hm."}, "chosen", "empty"),
    ({"chosen": TURN + "A.", "rejected": TURN.replace("Hi", "Ho") + "B."}, "rejected", "differs"),
    ({"chosen": "A.", "rejected": "B."}, "chosen", "transcript"),
    ({"prompt": "Q", "chosen": "A."}, "rejected", "missing"),
    ({"prompt": "Q", "rejected": "A."}, "chosen", "missing"),
    ({"prompt": "Q", "chosen": "Same.", "rejected": "Same."}, "rejected", "same text"),
    ({"prompt": "Q", "completions": ["A", "A"]}, "completions[1]", "same text"),
    ({"prompt": "Q", "completions": ["A"]}, "completions", "has 2"),
    ({"prompt": "Q", "completions": ["A", ""]}, "completions[1]", "empty"),
    ({"prompt": "Q", "completions": "A"}, "completions", "list"),
    ({"prompt": "Q", "completions": ["A", "B", "C"], "ranking": [[0], [1, 2]]}, "row", "listwise"),
    ({"prompt": "Q", "completions": ["A", "B"], "ranking": [[0]]}, "ranking", "exactly once"),
    ({"prompt": "Q", "completions": ["A", "B"], "ranking": [0, 1]}, "ranking", "list of lists"),
    ({"prompt": "Q", "completions": ["A", "B"], "ranking": [[True], [0]]}, "ranking", "exactly once"),
    ({"prompt": "Q", "completions": ["A", "B"], "label": True}, "label", "does not go with"),
    ({"prompt": "Q", "completion": "A", "label": True}, "row", "binary"),
    ({"prompt": "Q", "chosen": "A", "completion": "B", "rejected": "C"}, "completion", "both"),
    ({"prompt": "Q", "annotator": "kim"}, "annotator", "judgement"),
    ({"prompt": " "}, "prompt", "empty"),
    ({"prompt": 3}, "prompt", "text"),
    ({"prompt": []}, "prompt", "messages"),
    ({"prompt": [{"role": "bot", "content": "x"}]}, "prompt[0].role", "bot"),
    ({"prompt": [{"role": "user", "content": "x", "name": "n"}]}, "prompt[0]", "name"),
    ({"prompt": [{"role": "assistant", "content": "x"}], "completions": ["A", "B"]}, "prompt", "replies"),
    ({"prompt": "Q", "chosen": "A", "rejected": "B", "strength": 4}, "strength", "1"),
    ({"prompt": "Q", "chosen": "A", "rejected": "B", "seconds": -1}, "seconds", "0 or more"),
    ({"prompt": "Q", "chosen": "A", "rejected": "B", "annotator": "x" * 151}, "annotator", "150"),
    ({"prompt": "Q\x00", "chosen": "A", "rejected": "B"}, "prompt", "NUL"),
    ({"prompt": "Q", "chosen": "A\ud800", "rejected": "B"}, "chosen", "surrogate"),
    ({"prompt": "Q", "completions": ["A", "B"], "score": float("nan")}, "score", "finite"),
    ({"prompt": "Q", "completions": ["A", "B"], "notes": "n" * 100_001}, "metadata", "100,000"),
    ({"question": "Q", "answer": "A"}, "row", "“question”, “answer”"),
    ({}, "row", "empty"),
    ([], "row", "list"),
    ("text", "row", "text"),
    (None, "row", "null"),
]


@pytest.mark.parametrize(("row", "field", "says"), REFUSED)
def test_a_row_that_cannot_be_taken_is_named_with_its_field(project, row, field, says):
    added = add_rows(project=project, rows=[PAIR, row])
    [problem] = added.problems
    assert (problem.index, problem.field) == (1, field)
    assert says in problem.message
    assert added.created == 1


def test_nesting_without_end_is_refused(project):
    deep = [1]
    for _ in range(10_000):
        deep = [deep]
    [problem] = add_rows(project=project, rows=[PAIR | {"extra": deep}]).problems
    assert problem.field == "extra"
    assert "nested" in problem.message
