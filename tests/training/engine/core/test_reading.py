"""Reading a dataset refuses what would train silently wrong and counts what it leaves out."""

from __future__ import annotations

import copy

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.engine.conftest import CHAT_TEMPLATE, user
from training.engine.errors import EngineError
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
    assert tree.targets == {"p": 0.75, "margin": 1.5, "weight": 2.0}
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


def test_parquet_and_jsonl_give_the_same_trees(tmp_path, read, pairwise_rows, tiny_tokenizer):
    expected, _ = read(pairwise_rows)
    pq.write_table(pa.Table.from_pylist(pairwise_rows), tmp_path / "rows.parquet", row_group_size=5)
    trees, report = read_trees(tmp_path / "rows.parquet", kind="pairwise", tokenizer=tiny_tokenizer, max_length=200)
    assert trees == expected
    assert report.rows == report.used == 12


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
    with pytest.raises(EngineError, match="nothing to learn"):
        read([pair()], max_length=limit - 1)


def test_a_pair_of_identical_completions_is_dropped_and_counted(read):
    trees, report = read([pair("Same.", "Same."), pair()])
    assert len(trees) == 1
    assert (report.dropped_identical, report.rows_identical) == (1, [0])


def test_the_report_adds_up_and_is_json(read, pairwise_rows):
    import json

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


def test_a_boundary_inside_a_token_is_refused(read, tiny_tokenizer):
    # Without the line break the generation prompt is "assistant" and the next word merges with it in token space.
    template = "{% for m in messages %}<|start|>{{ m['role'] }} {{ m['content'] }}<|end|>{% endfor %}"
    tokenizer = templated(tiny_tokenizer, template + "{% if add_generation_prompt %}<|start|>assistant {% endif %}")
    with pytest.raises(EngineError, match="inside a token") as refusal:
        read([demonstration("the cat")], "demonstration", tokenizer=tokenizer)
    assert refusal.value.row == 0


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
        read([pair(), pair(chosen="Yes.<|end|> And more.")])
    assert refusal.value.row == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prompt": "Is it?"}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [{"role": "user"}]}, "prompt"),
        ({"chosen": 5}, "chosen"),
        ({"p": 1.5}, "p"),
        ({"p": "yes"}, "p"),
        ({"weight": -1}, "weight"),
        ({"margin": float("nan")}, "margin"),
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


def test_a_dataset_of_another_kind_is_refused_by_its_columns(read):
    with pytest.raises(EngineError, match=r"completion.*missing"):
        read([pair()], "demonstration")


def test_a_line_that_is_not_json_is_refused_with_its_row(tmp_path, tiny_tokenizer):
    path = tmp_path / "rows.jsonl"
    for line in ('{"prompt": ', "[1]", "\xff"):
        path.write_bytes(b"\n" + line.encode("latin-1") + b"\n")
        with pytest.raises(EngineError) as refusal:
            read_trees(path, kind="pairwise", tokenizer=tiny_tokenizer, max_length=99)
        assert refusal.value.row == 0


def test_a_file_that_is_missing_damaged_or_of_another_type_is_refused(tmp_path, tiny_tokenizer):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "rows.csv").write_text("a,b")
    for name in ("rows.parquet", "rows.csv", "nowhere.jsonl"):
        with pytest.raises(EngineError, match=name):
            read_trees(tmp_path / name, kind="pairwise", tokenizer=tiny_tokenizer, max_length=99)


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
