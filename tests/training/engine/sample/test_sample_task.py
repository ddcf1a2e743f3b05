"""The task `sample`, run as anybody runs it: finished chunks are kept, bad prompts named, completions appear whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.training.engine.sample.conftest import StopAfter
from training.engine.cli import main
from training.engine.errors import Cancelled, EngineError
from training.engine.runfolder import RunFolder, is_done
from training.engine.samplers.generate import TransformersSampler
from training.engine.samplers.types import Request, Sample, Sampling
from training.engine.spec import Spec, validate
from training.engine.stop import Stop
from training.engine.tasks import sample

QUESTIONS = [f"What is the capital of country {number}?" for number in range(6)]


def spec_of(model: Path, prompts: Path, **config: Any) -> Spec:
    settings = {"sampler": "transformers", "n": 2, "max_tokens": 8, **config}
    return validate({"task": "sample", "model": str(model), "prompts": str(prompts), "config": settings})


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def sample_into(out: Path, spec: Spec, stop: Stop | None = None) -> dict[str, Any]:
    folder = RunFolder(out, echo=False).open(spec)
    try:
        return sample.run(spec, folder, stop=stop or Stop())
    finally:
        folder.close()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "CHUNK", 4)


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the prompts that the sampler was asked for, as they come."""
    asked: list[str] = []
    draw = TransformersSampler.sample

    def noting(
        self: TransformersSampler, requests: Sequence[Request], sampling: Sampling, *, stop: Stop
    ) -> list[Sample]:
        drawn = draw(self, requests, sampling, stop=Stop())
        asked.extend(request.prompt_id for request in requests)
        return drawn

    monkeypatch.setattr(TransformersSampler, "sample", noting)
    return asked


def test_a_blank_that_the_template_writes_is_no_part_of_what_was_sampled(
    tiny_policy_dir: Path, write_prompts: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    policy = Path(shutil.copytree(tiny_policy_dir, tmp_path / "policy"))
    tokenizer = AutoTokenizer.from_pretrained(policy)
    turns = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|end|>{% endfor %}"
    tokenizer.chat_template = turns + "{% if add_generation_prompt %}assistant:{% endif %}"
    tokenizer.save_pretrained(policy)
    sample_into(tmp_path / "run", spec_of(policy, write_prompts(QUESTIONS), n=64))
    drawn = [
        (tokenizer.decode(row["token_ids"], skip_special_tokens=True), row["text"])
        for row in read(tmp_path / "run" / "completions.jsonl")
    ]
    assert any(whole.startswith(" ") for whole, _ in drawn)
    assert all(text == whole.removeprefix(" ") for whole, text in drawn)


def test_a_run_leaves_completions_and_figures(
    tiny_policy_dir: Path, write_prompts: Callable[..., Path], tmp_path: Path, small_chunks: None
) -> None:
    spec = spec_of(tiny_policy_dir, write_prompts(QUESTIONS))
    path, out = tmp_path / "spec.json", tmp_path / "run"
    path.write_text(json.dumps(spec.to_dict()), encoding="utf-8")
    assert main(["run", str(path), "--out", str(out)]) == 0
    assert is_done(out)
    assert not (out / "checkpoint").exists()
    rows = read(out / "completions.jsonl")
    assert [(row["prompt_id"], row["index"]) for row in rows] == [(f"q{n}", i) for n in range(6) for i in range(2)]
    for row in rows:
        assert row["logprob"] == pytest.approx(sum(row["token_logprobs"]))
        assert row["logprob"] < 0
        assert len(row["token_ids"]) == len(row["token_logprobs"]) <= 8
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert (result["sampler"], result["prompts"], result["completions"]) == ("transformers", 6, 12)
    assert result["tokens"] == sum(len(row["token_ids"]) for row in rows)
    assert [line["step"] for line in read(out / "progress.jsonl")] == [0, 0, 2, 4, 6]


def test_a_stopped_run_goes_on_after_its_finished_chunks(
    tiny_policy_dir: Path,
    write_prompts: Callable[..., Path],
    tmp_path: Path,
    small_chunks: None,
    asked_for: list[str],
) -> None:
    spec = spec_of(tiny_policy_dir, write_prompts(QUESTIONS))
    sample_into(tmp_path / "whole", spec)
    asked_for.clear()
    with pytest.raises(Cancelled):
        sample_into(tmp_path / "cut", spec, StopAfter(2))
    assert asked_for == ["q0", "q1"]
    assert not (tmp_path / "cut" / "completions.jsonl").exists()
    result = sample_into(tmp_path / "cut", spec)
    assert asked_for == ["q0", "q1", "q2", "q3", "q4", "q5"]
    assert result["completions"] == 12
    whole, cut = (read(tmp_path / name / "completions.jsonl") for name in ("whole", "cut"))
    assert cut == whole


def test_chunks_of_other_weights_are_drawn_again(
    tiny_policy_dir: Path,
    other_policy_dir: Path,
    write_prompts: Callable[..., Path],
    tmp_path: Path,
    small_chunks: None,
    asked_for: list[str],
) -> None:
    model = tmp_path / "model"
    model.symlink_to(tiny_policy_dir)
    spec = spec_of(model, write_prompts(QUESTIONS))
    with pytest.raises(Cancelled):
        sample_into(tmp_path / "run", spec, StopAfter(2))
    model.unlink()
    model.symlink_to(other_policy_dir)
    sample_into(tmp_path / "run", spec)
    assert asked_for == ["q0", "q1", "q0", "q1", "q2", "q3", "q4", "q5"]


def test_a_prompt_without_room_for_an_answer_is_left_out_and_named(
    tiny_policy_dir: Path, write_prompts: Callable[..., Path], tmp_path: Path
) -> None:
    spec = spec_of(tiny_policy_dir, write_prompts(["Hello", "word " * 600, "Bye"]))
    result = sample_into(tmp_path / "run", spec)
    assert result["prompts_too_long"] == ["q1"]
    assert {row["prompt_id"] for row in read(tmp_path / "run" / "completions.jsonl")} == {"q0", "q2"}


def test_nothing_but_prompts_that_are_too_long_is_refused(
    tiny_policy_dir: Path, write_prompts: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="leaves room for 8 tokens within the model's 512"):
        sample_into(tmp_path / "run", spec_of(tiny_policy_dir, write_prompts(["word " * 600])))


@pytest.mark.parametrize(
    ("line", "row", "field", "sentence"),
    [
        ('{"id": "q0", "messages": [{"role": "user", "content": "Again"}]}', 1, "id", "already used in row 0"),
        ('{"messages": [{"role": "user", "content": "Hello"}]}', 1, "id", "missing"),
        ('{"id": "b", "messages": "Hello"}', 1, "messages", "list of messages"),
        ('{"id": "b", "messages": [{"role": "user"}]}', 1, "messages", "role and a content"),
        ("not json", 1, None, "not JSON"),
    ],
)
def test_a_bad_row_is_refused_with_its_number(
    line: str,
    row: int,
    field: str | None,
    sentence: str,
    tiny_policy_dir: Path,
    write_prompts: Callable[..., Path],
    tmp_path: Path,
) -> None:
    path = write_prompts(["Hello"])
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(EngineError, match=sentence) as refused:
        sample_into(tmp_path / "run", spec_of(tiny_policy_dir, path))
    assert (refused.value.row, refused.value.field) == (row, field)


def test_an_empty_file_of_prompts_is_refused(
    tiny_policy_dir: Path, write_prompts: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="holds no prompts"):
        sample_into(tmp_path / "run", spec_of(tiny_policy_dir, write_prompts([])))


def test_a_check_writes_nothing_and_counts(tiny_policy_dir: Path, write_prompts: Callable[..., Path]) -> None:
    found = sample.check(spec_of(tiny_policy_dir, write_prompts(QUESTIONS)), stop=Stop())
    assert (found["prompts"], found["completions"], found["prompts_too_long"]) == (6, 12, [])
