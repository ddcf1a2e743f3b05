"""The command line is made from the table of methods, and so is docs/methods.md; one file adds a method to it."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.engine.train.conftest import result_of, write_spec
from training.engine import catalogue
from training.engine.cli import REFUSED, main
from training.engine.columns import EXAMPLES
from training.engine.losses import LOSSES
from training.engine.ranks import program
from training.engine.spec import parameters

ANSWER = {"role": "assistant"}
ROOT = Path(__file__).parents[4]
DOCS = ROOT / "docs/methods.md"


def help_of(capsys, *arguments: str) -> str:
    """What --help prints, unwrapped."""
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--help"])
    assert end.value.code == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", LOSSES)
def test_the_help_of_a_method_says_what_it_is_for_and_every_setting(name, capsys):
    method = LOSSES[name]
    said = help_of(capsys, "train", "--method", name)
    for part in (method.title, method.summary, method.use, method.pitfall, method.paper, *method.formula.splitlines()):
        assert " ".join(part.split()) in said
    for parameter in parameters("train", method):
        assert f"--{parameter.name.replace('_', '-')} " in said
        assert parameter.help.split()[0] in said
        if parameter.minimum is not None:
            assert f"At least {parameter.minimum}" in said
    assert all(" ".join(row.split()) in said for row in EXAMPLES[method.dataset_kind])


def test_without_a_method_the_help_lists_all_of_them(capsys):
    said = help_of(capsys, "train")
    assert all(f"{method.name} {method.title}" in said for method in LOSSES.values())


def test_the_table_is_printed_by_group(capsys):
    assert main(["methods"]) == 0
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line and line[0] != " "] == [
        title for title, _ in catalogue.GROUPS.values()
    ]
    assert all(f"  {name} " in said for name in LOSSES)


def test_the_markdown_tables_have_one_row_per_method_and_no_torn_cells(capsys):
    assert main(["methods", "--markdown"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| [")]
    assert len(rows) == len(LOSSES)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}


def test_docs_methods_is_what_the_table_says_now():
    text = DOCS.read_text(encoding="utf-8")
    held = text.partition(catalogue.BEGIN)[2].partition(catalogue.END)[0].strip()
    cure = "write the output of `python -m training.engine methods --markdown` between the markers of docs/methods.md"
    assert held == catalogue.as_markdown().strip(), cure


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--betta", "dpo has no setting --betta; did you mean --beta?"),
        ("--learning=1e-4", "dpo has no setting --learning; did you mean --learning-rate?"),
        ("--desirable-weight", "dpo has no setting --desirable-weight; --help shows"),
    ],
)
def test_a_setting_that_there_is_not_is_never_taken_for_another(argument, said, capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "--method", "dpo", "--model", "m", "--data", "d.jsonl", argument])
    assert end.value.code == REFUSED
    assert said in capsys.readouterr().err


def test_a_split_that_is_named_twice_is_refused_instead_of_one_file_being_left_out(capsys):
    assert main(["train", "--method", "dpo", "--model", "m", "--data", "a.jsonl", "--data", "train=b.jsonl"]) == REFUSED
    assert "names train twice" in capsys.readouterr().err


def test_a_run_says_what_it_found_how_far_it_is_and_where_the_result_lies(tmp_path, tiny_policy_dir, capsys):
    spec = write_spec(tmp_path / "lr=1", "dpo", tiny_policy_dir)
    data = spec.parent / "train.jsonl"
    rows = [json.loads(row) for row in data.read_text().splitlines()]
    texts = [
        row | {"prompt": row["prompt"][0]["content"], "chosen": [ANSWER | {"content": row["chosen"]}]} for row in rows
    ]
    data.write_text(json.dumps(texts))
    options = ["train", "--method", "dpo", "--model", str(tiny_policy_dir), "--out", str(tmp_path / "out")]
    assert main([*options, "--data", str(data), "--data", f"test={data}"]) == 0
    said = capsys.readouterr().err
    assert "Warning: 24 of 24 prompts of test are also trained on" in said
    assert "Training: step 1 of 3  loss 0.6931" in said
    assert "On test: loss 0." in said
    assert f"Done: {tmp_path / 'out'} holds result.json and model/" in said


@pytest.fixture
def own_loss(tmp_path):
    """The file of docs/methods.md; its method is forgotten again."""
    known = set(LOSSES)
    path = tmp_path / "my_loss.py"
    path.write_text(re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[0])
    yield path
    for name in set(LOSSES) - known:
        del LOSSES[name]


def run_file(path: Path, monkeypatch, *arguments: str) -> int:
    """The exit code of `python PATH ARGUMENTS`, in this process."""
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(path), run_name="__main__")
    return end.value.code


def test_one_file_adds_a_method_and_trains_with_it(own_loss, tmp_path, tiny_policy_dir, monkeypatch):
    write_spec(tmp_path / "in", "dpo", tiny_policy_dir)
    code = run_file(
        own_loss, monkeypatch, "train", "--method", "dpop", "--model", str(tiny_policy_dir), "--penalty", "5",
        "--data", str(tmp_path / "in/train.jsonl"), "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert code == 0
    result = result_of(tmp_path / "out")
    assert result["method"] == "dpop"
    assert result["loss_first"] == pytest.approx(0.693147, abs=1e-4)
    assert len(own_loss.read_text().splitlines()) <= 30


def test_the_methods_help_comes_with_the_file_and_further_processes_run_it_too(own_loss, monkeypatch, capsys):
    assert program() == ["-m", "training.engine"]
    assert run_file(own_loss, monkeypatch, "train", "--method", "dpop", "--help") == 0
    assert program() == [str(own_loss)]
    said = capsys.readouterr().out
    assert "DPO-positive" in said
    assert "--penalty" in said


@pytest.mark.parametrize(("own", "expected"), [({}, "30000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_threads_are_told_not_to_hold_a_core_while_they_wait_before_torch_is_loaded(own, expected, tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"task": "starter"}))
    code = (
        "import os, sys\n"
        "def told(event, args):\n"
        "    if event == 'import' and args[0] == 'torch': print(os.environ.get('GOMP_SPINCOUNT'))\n"
        "sys.addaudithook(told)\n"
        "from training.engine.cli import main\n"
        "main(['check', sys.argv[1]])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"} | own
    done = subprocess.run(
        [sys.executable, "-c", code, str(spec)], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[0] == expected
