"""Where a prompt ends and an answer begins, and the condition that may stand between them."""

from __future__ import annotations

import copy

import pytest

from tests.training.engine.conftest import CHAT_TEMPLATE, user
from training.engine.errors import EngineError
from training.engine.rendering import ChatRenderer, conditioned_template
from training.engine.rows import Row
from training.engine.trees import read_trees

BEGIN, END = 1, 3
# Without a line break behind it, the generation prompt merges with the answer's first letters: " " + "t…" is " the".
MERGING = (
    "{% for m in messages %}<|start|>{{ m['role'] }} {{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant {% endif %}"
)
ROW = Row("rows", 0, {})


@pytest.fixture
def renderer(tiny_tokenizer):
    def make(template=CHAT_TEMPLATE, max_length=200, **changes):
        tokenizer = copy.deepcopy(tiny_tokenizer)
        tokenizer.chat_template = template
        for name, value in changes.items():
            setattr(tokenizer, name, value)
        return ChatRenderer(tokenizer, max_length)

    return make


def decoded(renderer, ids):
    return renderer.tokenizer.decode(list(ids))


def test_an_answer_that_would_merge_with_the_prompt_is_tokenised_behind_it(renderer):
    one = renderer(MERGING)
    rendered = one.render(ROW, user("Is it?"), ["the cat", "No."])
    assert rendered.merged
    assert rendered.prompt == one.prompt_ids(user("Is it?"))
    assert [decoded(one, tail) for tail in rendered.completions] == ["the cat<|end|>", "No.<|end|>"]
    joint = one.tokenizer("<|start|>assistant the cat<|end|>", add_special_tokens=False)["input_ids"]
    assert tuple(joint[-len(rendered.completions[0]) :]) != rendered.completions[0]


def test_nothing_merges_behind_a_line_break(renderer):
    rendered = renderer().render(ROW, user("Is it?"), ["the cat", " leading blank"])
    assert not rendered.merged


def test_rows_that_merge_are_counted_in_the_report(write_rows, tiny_tokenizer):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = MERGING
    rows = [{"prompt": user("Is it?"), "completion": text} for text in ("the cat", "<|start|>", "the dog")]
    trees, report = read_trees(write_rows(rows), kind="demonstration", tokenizer=tokenizer, max_length=99)
    assert (len(trees), report.boundary_merged, report.ended) == (3, 2, 3)


def test_turns_that_end_with_another_token_than_the_tokenizers_own_are_counted(write_rows, tiny_tokenizer):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_special_tokens({"eos_token": "<|endoftext|>", "additional_special_tokens": ["<|im_end|>"]})
    rows = write_rows([{"prompt": "Is it?", "completion": "Yes."}])
    for end, otherwise in (("<|im_end|>", 1), ("<|endoftext|>", 0)):
        tokenizer.chat_template = CHAT_TEMPLATE.replace("<|end|>", end)
        _, report = read_trees(rows, kind="demonstration", tokenizer=tokenizer, max_length=99)
        assert (report.ended, report.ended_otherwise) == (1, otherwise)


def test_a_blank_that_a_tokenizer_puts_before_every_text_is_no_part_of_the_answer(renderer):
    from tokenizers import pre_tokenizers

    one = renderer()
    one.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    (tail,) = one.render(ROW, user("Is it?"), ["Yes."]).completions
    assert decoded(one, tail) == "Yes.<|end|>"


def test_nor_is_it_where_the_answer_would_merge_with_the_prompt(renderer):
    from tokenizers import pre_tokenizers

    letters = "{% for m in messages %}<|start|>t{{ m['content'] }}<|end|>{% endfor %}"
    one = renderer(letters + "{% if add_generation_prompt %}<|start|>t{% endif %}")
    one.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    rendered = one.render(ROW, user("Is it?"), ["he cat", "\nhe cat"])
    assert rendered.merged
    assert [decoded(one, tail) for tail in rendered.completions] == ["he cat<|end|>", "\nhe cat<|end|>"]


def test_what_a_sampler_writes_is_rendered_to_the_same_tokens_again(renderer):
    turns = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|end|>{% endfor %}"
    one = renderer(turns + "{% if add_generation_prompt %}assistant:{% endif %}")
    assert one.lead == " "
    (tail,) = one.render(ROW, user("Is it?"), ["the cat"]).completions
    sampled = one.tokenizer.decode(list(tail), skip_special_tokens=True)
    assert sampled == " the cat"
    assert one.render(ROW, user("Is it?"), [sampled.removeprefix(one.lead)]).completions == (tail,)


@pytest.mark.parametrize(
    "template",
    [
        CHAT_TEMPLATE,
        CHAT_TEMPLATE.replace("<|end|>", "|<|end|>"),
        "{{ messages | length }}" + CHAT_TEMPLATE,
        "{{ raise_exception('no') }}",
    ],
)
def test_a_template_that_writes_no_blank_there_leaves_what_is_sampled_as_it_is(renderer, template):
    assert renderer(template).lead == ""


def test_what_the_template_writes_behind_the_end_token_is_not_trained(renderer):
    one = renderer(CHAT_TEMPLATE.replace("<|end|>\n", "<|end|>\n\n "))
    (tail,) = one.render(ROW, user("Is it?"), ["Yes."]).completions
    assert tail[-1] == END
    assert decoded(one, tail) == "Yes.<|end|>"


def test_an_answer_of_nothing_but_the_end_token_is_refused(renderer):
    trimming = CHAT_TEMPLATE.replace("message['content']", "message['content'] | trim")
    with pytest.raises(EngineError, match="no tokens before its end"):
        renderer(trimming).render(ROW, user("Is it?"), ["  "])


def test_a_begin_token_is_missed_only_where_the_tokenizer_would_put_one(renderer):
    from tokenizers import processors

    plain = renderer(CHAT_TEMPLATE.replace("{{ bos_token }}", ""))
    prompt = plain.prompt_ids(user("Is it?"))
    assert not plain.lacks_begin(prompt)
    plain.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", BEGIN)]
    )
    assert plain.lacks_begin(prompt)
    assert not plain.lacks_begin((BEGIN, *prompt))


def test_a_condition_stands_between_the_prompt_and_every_answer(renderer):
    one = renderer()
    rendered = one.render(ROW, user("Is it?"), ["Yes.", "No."], condition="<|good|>")
    plain = one.render(ROW, user("Is it?"), ["Yes.", "No."])
    assert decoded(one, rendered.prompt) == decoded(one, plain.prompt) + "<|good|>"
    assert [decoded(one, tail) for tail in rendered.completions] == ["Yes.<|end|>", "No.<|end|>"]


@pytest.mark.parametrize("condition", ["<|good|>", "it's \\ good", " "])
def test_a_template_with_a_condition_asks_samplers_behind_it_and_still_trains(renderer, condition):
    one = renderer(conditioned_template(CHAT_TEMPLATE, condition))
    assert one.condition == condition
    rendered = one.render(ROW, user("Is it?"), ["Yes."])
    assert rendered.prompt == one.prompt_ids(user("Is it?"))
    asked = one.tokenizer.apply_chat_template(user("Is it?"), tokenize=False, add_generation_prompt=True)
    assert decoded(one, rendered.prompt) == asked
    assert asked.endswith(f"assistant\n{condition}")
    assert decoded(one, rendered.completions[0]) == "Yes.<|end|>"


def test_the_condition_of_a_template_is_written_as_agreed():
    suffix = "{% if add_generation_prompt %}{{ '<|good|>' }}{% endif %}"
    assert conditioned_template(CHAT_TEMPLATE + "\n", "<|good|>") == CHAT_TEMPLATE + suffix


def test_a_new_condition_takes_the_place_of_the_old_one(renderer):
    template = conditioned_template(conditioned_template(CHAT_TEMPLATE, "<|bad|>"), "<|good|>")
    assert template == conditioned_template(CHAT_TEMPLATE, "<|good|>")
    other = renderer(template).render(ROW, user("Is it?"), ["Yes."], condition="<|bad|>")
    assert other.prompt == renderer().render(ROW, user("Is it?"), ["Yes."], condition="<|bad|>").prompt


def test_a_generation_prompt_of_the_same_form_is_no_condition(renderer):
    template = "{% for m in messages %}<|start|>{{ m['content'] }}<|end|>{% endfor %}"
    one = renderer(template + "{% if add_generation_prompt %}{{ '<|start|>' }}{% endif %}")
    assert one.condition == ""
    assert decoded(one, one.prompt_ids(user("Hi"))) == "<|start|>Hi<|end|><|start|>"
