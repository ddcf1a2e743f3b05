"""Reading a dataset refuses what would train silently wrong and counts what it leaves out."""

from __future__ import annotations

import copy
import json

import pytest

from tests.training.engine.conftest import CHAT_TEMPLATE, user
from training.engine.errors import EngineError
from training.engine.reward.prepare import settled_ties
from training.engine.trees import read_trees

BEGIN, START, END = 1, 2, 3


@pytest.fixture
def read(write_rows, tiny_tokenizer):
    def reader(rows, kind="pairwise", *, tokenizer=None, max_length=200, name="rows.jsonl", **options):
        path = write_rows(rows, name)
        return read_trees(path, kind=kind, tokenizer=tokenizer or tiny_tokenizer, max_length=max_length, **options)

    return reader


def pair(chosen="Yes.", rejected="No.", **more):
    return {"prompt": user("Is it?"), "chosen": chosen, "rejected": rejected, "p": 1.0, "weight": 1.0} | more


def demonstration(completion):
    return {"prompt": user("Is it?"), "completion": completion, "weight": 1.0}


def templated(tiny_tokenizer, template):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = template
    return tokenizer


def test_prompt_and_completions_are_what_a_sampler_would_see(read, tiny_tokenizer):
    trees, _ = read([pair(p=0.75, margin=1.5, weight=2.0)])
    tree = trees[0]
    rendered = tiny_tokenizer.apply_chat_template(user("Is it?"), tokenize=True, add_generation_prompt=True)
    assert list(tree.prompt) == list(rendered["input_ids"])
    assert tree.prompt[0] == BEGIN
    assert tiny_tokenizer.decode(tree.completions[0]) == "Yes.<|end|>"
    assert tiny_tokenizer.decode(tree.completions[1]) == "No.<|end|>"
    assert tree.targets == {
        "p": 0.75, "margin": 1.5, "weight": 2.0, "offset": None, "gap": None, "tie": 0.0, "group": None, "slice": None,
    }  # fmt: skip
    assert tree.row == 0


def test_every_completion_ends_with_exactly_one_end_token(read, pairwise_rows):
    trees, _ = read(pairwise_rows)
    for tree in trees:
        for completion in tree.completions:
            assert completion[-1] == END
            assert completion.count(END) == 1


def test_several_turns_are_one_prompt(read, tiny_tokenizer):
    prompt = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Bye"},
    ]
    trees, _ = read([pair() | {"prompt": prompt}])
    assert trees[0].prompt.count(START) == 5
    assert trees[0].completions[0].count(START) == 0


def test_thumbs_and_demonstrations_are_trees_of_one_completion(read, binary_rows, demonstration_rows):
    trees, report = read(binary_rows, "binary")
    assert [tree.targets["label"] for tree in trees[:2]] == [True, False]
    assert report.label_share == 0.5
    trees, report = read(demonstration_rows, "demonstration")
    assert {len(tree.completions) for tree in trees} == {1}
    assert report.label_share is None


@pytest.mark.parametrize(("field", "empty"), [("chosen", ""), ("rejected", "   "), ("rejected", "\n\t")])
def test_an_empty_completion_is_refused_with_its_row(read, field, empty):
    with pytest.raises(EngineError, match=r"row 1.*empty") as refusal:
        read([pair(), pair(**{field: empty})])
    assert (refusal.value.row, refusal.value.field) == (1, field)


def test_rows_that_are_too_long_are_dropped_whole_and_counted(read):
    long = "word " * 200
    trees, report = read([pair(), pair(chosen=long), pair(rejected=long), pair("Well.")], max_length=60)
    assert [tree.row for tree in trees] == [0, 3]
    assert (report.rows, report.used, report.dropped_too_long, report.truncated) == (4, 2, 2, 0)
    assert report.rows_too_long == [1, 2]
    assert report.longest <= 60


def test_a_row_of_exactly_the_limit_is_kept(read):
    trees, _ = read([pair()])
    limit = trees[0].depth
    assert len(read([pair(), pair("Y", "N")], max_length=limit)[0]) == 2
    with pytest.raises(EngineError, match="no row that can be used"):
        read([pair()], max_length=limit - 1)


def test_a_pair_of_identical_completions_is_dropped_and_counted(read):
    trees, report = read([pair("Same.", "Same."), pair()])
    assert len(trees) == 1
    assert (report.dropped_identical, report.rows_identical) == (1, [0])


def test_the_report_adds_up_and_is_json(read, pairwise_rows):
    trees, report = read([*pairwise_rows, pair("x", "x"), pair("word " * 300)])
    assert report.rows == report.used + report.dropped_too_long + report.dropped_identical
    assert report.prompt_tokens + report.completion_tokens == sum(tree.size for tree in trees)
    assert report.length_bias > 0
    assert json.loads(json.dumps(report.as_dict()))["used"] == 12


def test_a_limit_stops_reading(read, pairwise_rows):
    trees, report = read(pairwise_rows, limit=3)
    assert len(trees) == report.rows == 3


def test_two_begin_tokens_are_refused(read, tiny_tokenizer):
    tokenizer = templated(tiny_tokenizer, "{{ bos_token }}" + CHAT_TEMPLATE)
    with pytest.raises(EngineError, match="two begin tokens") as refusal:
        read([pair()], tokenizer=tokenizer)
    assert refusal.value.row == 0


def test_a_template_that_never_ends_the_answer_is_refused(read, tiny_tokenizer):
    tokenizer = templated(tiny_tokenizer, CHAT_TEMPLATE.replace("<|end|>", ""))
    with pytest.raises(EngineError, match="end token"):
        read([pair()], tokenizer=tokenizer)


def test_a_template_that_rewrites_the_prompt_is_refused(read, tiny_tokenizer):
    template = "{{ messages | length }}" + CHAT_TEMPLATE
    with pytest.raises(EngineError, match="renders the prompt differently"):
        read([pair()], tokenizer=templated(tiny_tokenizer, template))


def test_a_missing_template_is_refused(read, tiny_tokenizer):
    with pytest.raises(EngineError, match="chat template"):
        read([pair()], tokenizer=templated(tiny_tokenizer, None))


def test_what_a_template_raises_itself_reaches_the_person_with_the_row(read, tiny_tokenizer):
    template = "{{ raise_exception('no system messages') }}"
    with pytest.raises(EngineError, match="no system messages") as refusal:
        read([pair()], tokenizer=templated(tiny_tokenizer, template))
    assert refusal.value.row == 0


def test_an_answer_that_contains_the_end_token_is_refused(read):
    with pytest.raises(EngineError, match="stopping early") as refusal:
        read([pair(), pair(rejected="Yes.<|end|> And more.")])
    assert (refusal.value.row, refusal.value.field) == (1, "rejected")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [{"role": "user"}]}, "prompt"),
        ({"prompt": [{"role": "human", "content": "Is it?"}]}, "prompt"),
        ({"prompt": [{"role": "user", "content": "Is it?", "tool_calls": [1]}]}, "prompt"),
        ({"chosen": 5}, "chosen"),
        ({"margin": 10**400}, "margin"),
        ({"strength": 4}, "strength"),
        ({"p": 1.5}, "p"),
        ({"p": "yes"}, "p"),
        ({"weight": -1}, "weight"),
        ({"margin": float("nan")}, "margin"),
        ({"offset": "two"}, "offset"),
        ({"gap": True}, "gap"),
        ({"tie": -0.1}, "tie"),
        ({"votes_tie": -1}, "votes_tie"),
        ({"group": 3}, "group"),
        ({"slice": ["maths"]}, "slice"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_row_and_column(read, change, field):
    with pytest.raises(EngineError) as refusal:
        read([pair(), pair() | change])
    assert (refusal.value.row, refusal.value.field) == (1, field)
    assert "row 1" in refusal.value.message


@pytest.mark.parametrize("label", [1, "true", None])
def test_a_label_must_be_true_or_false(read, label):
    with pytest.raises(EngineError, match="true or false"):
        read([demonstration("Yes.") | {"label": label}], "binary")


def test_what_a_pair_says_beside_the_choice_becomes_targets(read):
    said = {"offset": 1.0, "gap": -0.5, "group": "experts", "slice": "maths"}
    trees, _ = read([pair(**said), pair(offset=None, group=None)])
    assert {name: trees[0].targets[name] for name in said} == said
    assert {trees[1].targets[name] for name in said} == {None}


def test_strength_is_a_margin_as_our_own_datasets_count_it(read):
    trees, _ = read([pair(strength=3), pair(strength=1), pair(strength=3, margin=0.5)])
    assert [tree.targets["margin"] for tree in trees] == pytest.approx([1.0, 1 / 3, 0.5])


def test_the_share_of_ties_is_a_column_or_follows_from_the_votes(read):
    votes = {"votes_tie": 1, "votes_chosen": 2, "votes_rejected": 1}
    trees, _ = read([pair(), pair(**votes), pair(**votes, tie=0.5), pair(votes_tie=0, votes_chosen=0)])
    assert [tree.targets["tie"] for tree in trees] == [0.0, 0.25, 0.5, 0.0]


def test_a_tie_counts_as_half_a_win_where_the_row_has_no_p(read):
    said = [{}, {"tie": 1.0}, {"tie": 0.4}, {"votes_tie": 1, "votes_chosen": 3}]
    trees, _ = read([pair(p=None, **each) for each in said] + [pair(p=1.0, tie=0.4)])
    assert [tree.targets["p"] for tree in trees] == [None, 0.5, 0.8, 0.875, 1.0]
    assert [settled_ties(tree.targets) for tree in trees] == pytest.approx([0.0, 1.0, 0.4, 0.25, 0.0])


def test_a_rating_needs_no_label(read):
    rated = demonstration("Yes.") | {"ratings": {"helpful": 4, "honest": None}, "slice": "maths"}
    trees, report = read([rated, rated | {"label": True, "ratings": None}, rated | {"label": False}], "binary")
    assert [tree.targets["ratings"] for tree in trees] == [{"helpful": 4.0}, None, {"helpful": 4.0}]
    assert [tree.targets["label"] for tree in trees] == [None, True, False]
    assert report.label_share == 0.5


@pytest.mark.parametrize("ratings", [4, {"helpful": "much"}, {"helpful": True}])
def test_a_rating_must_be_numbers_by_aspect(read, ratings):
    with pytest.raises(EngineError) as refusal:
        read([demonstration("Yes.") | {"ratings": ratings}], "binary")
    assert (refusal.value.row, refusal.value.field) == (0, "ratings")


def listed(*completions, **more):
    return {"prompt": user("Is it?"), "completions": list(completions)} | more


def test_a_list_is_a_tree_of_its_completions_in_the_order_of_the_row(read, tiny_tokenizer):
    trees, report = read([listed("B.", "A.", "C.", ranks=[1, 0, 1], weight=2.0)], "listwise")
    assert [tiny_tokenizer.decode(completion)[:2] for completion in trees[0].completions] == ["B.", "A.", "C."]
    assert trees[0].targets == {"rank": (1, 0, 1), "rewards": None, "slice": None, "weight": 2.0}
    assert (report.completions_min, report.completions_max, report.tied_share) == (3, 3, 1 / 3)


def test_ranks_follow_from_rewards_and_shares_of_votes_are_rewards(read):
    rows = [
        listed("A.", "B.", "C.", rewards=[0.5, 2, 0.5]),
        listed("A.", "B.", ranks=[0, 1], scores=[0.75, 0.25]),
        listed("A.", "B.", ranks=[0, 1], rewards=[3, 1], scores=[0.75, 0.25]),
    ]
    trees, report = read(rows, "listwise")
    assert [tree.targets["rank"] for tree in trees] == [(1, 0, 1), (0, 1), (0, 1)]
    assert [tree.targets["rewards"] for tree in trees] == [(0.5, 2.0, 0.5), (0.75, 0.25), (3.0, 1.0)]
    assert (report.completions_min, report.completions_max) == (2, 3)


def test_ranks_begin_at_zero_and_leave_no_gaps(read):
    trees, _ = read([listed("A.", "B.", "C.", ranks=[1, 7, 3])], "listwise")
    assert trees[0].targets["rank"] == (0, 2, 1)


def test_a_ranking_is_lists_of_places_best_first(read):
    rows = [listed("A.", "B.", "C.", ranking=[[2], [0, 1]]), listed("A.", {"text": "B.", "model": "m"}, ranks=[1, 0])]
    trees, _ = read(rows, "listwise")
    assert [tree.targets["rank"] for tree in trees] == [(1, 1, 0), (1, 0)]


def test_completions_without_a_rank_are_kept_as_such(read):
    trees, _ = read([listed("A.", "B.", "C.", ranks=[0, None, -7])], "listwise")
    assert trees[0].targets["rank"] == (0, -1, -1)


def test_of_equal_completions_in_a_list_the_best_ranked_stays(read, tiny_tokenizer):
    trees, report = read([listed("A.", "B.", "A.", "A.", ranks=[2, 1, 0, None], rewards=[1, 2, 3, 4])], "listwise")
    assert [tiny_tokenizer.decode(completion)[:2] for completion in trees[0].completions] == ["B.", "A."]
    assert (trees[0].targets["rank"], trees[0].targets["rewards"]) == ((1, 0), (2.0, 3.0))
    assert report.merged_completions == 2


def test_lists_without_a_choice_are_left_out_and_counted(read):
    rows = [
        listed("A.", "A.", ranks=[0, 1]),
        listed("A.", "B.", ranks=[1, 1]),
        listed("A.", "B.", "B.", ranks=[0, 0, 1]),
        listed("A.", "word " * 200, ranks=[0, 1]),
        listed("A.", "B.", ranks=[0, 1]),
    ]
    trees, report = read(rows, "listwise", max_length=60)
    assert [tree.row for tree in trees] == [4]
    assert (report.rows_identical, report.rows_tied, report.rows_too_long) == ([0], [1, 2], [3])
    assert report.rows == report.used + report.dropped_identical + report.dropped_tied + report.dropped_too_long
    assert report.merged_completions == 0
    with pytest.raises(EngineError, match="2 prefer none"):
        read(rows[:3], "listwise")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"completions": ["A."]}, "completions"),
        ({"completions": "A. B."}, "completions"),
        ({"completions": ["A.", " "]}, "completions"),
        ({"completions": ["A.", {"response": "B."}]}, "completions"),
        ({"ranks": [0]}, "ranks"),
        ({"ranking": [[0], [1]]}, "ranking"),
        ({"ranks": None, "ranking": [0, 1]}, "ranking"),
        ({"ranks": None, "ranking": [[0], [0]]}, "ranking"),
        ({"ranks": None, "ranking": [[0]]}, "ranking"),
        ({"ranks": [0, 0.5]}, "ranks"),
        ({"ranks": None}, "ranks"),
        ({"rewards": [1, "2"]}, "rewards"),
        ({"rewards": [1, float("inf")]}, "rewards"),
        ({"scores": [1]}, "scores"),
    ],
)
def test_a_list_with_a_wrong_column_is_refused_with_row_and_column(read, change, field):
    good = listed("A.", "B.", ranks=[0, 1])
    with pytest.raises(EngineError) as refusal:
        read([good, good | change], "listwise")
    assert (refusal.value.row, refusal.value.field) == (1, field)


def test_an_encoder_reads_lists(read, encoder_tokenizer):
    trees, _ = read(
        [listed("Yes.", "No.", "Go.", ranks=[0, 1, 2])], "listwise", tokenizer=encoder_tokenizer, encoder=True
    )
    assert len(trees[0].completions) == 3
    assert trees[0].prompt == ()


def test_a_dataset_of_another_kind_is_refused_by_its_columns(read):
    with pytest.raises(EngineError, match=r"completion.*missing"):
        read([pair()], "demonstration")


def test_all_rows_that_are_wrong_are_named_at_once(read):
    with pytest.raises(EngineError, match=r"row 1.*empty.*Further rows that are wrong: 3, 4\.$") as refusal:
        read([pair(), pair(chosen=""), pair(), pair(p=2), pair(rejected=None)])
    assert (refusal.value.row, refusal.value.field) == (1, "chosen")
    with pytest.raises(EngineError, match=r"18, 19, …"):
        read([pair(chosen="")] * 99)


@pytest.fixture
def encoder_tokenizer(tiny_encoder_dir):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_encoder_dir)


def test_an_encoder_reads_the_conversation_as_plain_lines(read, encoder_tokenizer):
    trees, _ = read([pair()], tokenizer=encoder_tokenizer, encoder=True, max_length=64)
    assert trees[0].prompt == ()
    text = encoder_tokenizer.decode(trees[0].completions[0])
    assert text.startswith("[CLS] user : is it ?")
    assert text.endswith("[SEP]")
    assert "assistant : " in text


def test_an_encoder_leaves_out_earlier_messages_for_both_answers_and_counts_it(read, encoder_tokenizer):
    prompt = [{"role": "user", "content": "dog " * 80}, {"role": "user", "content": "What is the capital of France?"}]
    rows = [pair() | {"prompt": prompt}, pair(), pair("the cat sat " * 60)]
    trees, report = read(rows, tokenizer=encoder_tokenizer, encoder=True, max_length=512)
    assert report.max_length == 64  # the tokenizer knows that the encoder has no more positions
    assert (report.used, report.truncated, report.dropped_too_long) == (2, 1, 1)
    for completion in trees[0].completions:
        assert "capital" in encoder_tokenizer.decode(completion)
        assert "dog dog" not in encoder_tokenizer.decode(completion)
        assert len(completion) <= 64
