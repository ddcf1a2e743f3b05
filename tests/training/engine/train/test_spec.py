"""What a spec may say, and how the rest is refused: the key is always named."""

import json
import subprocess
import sys

import pytest

from training.engine.errors import EngineError
from training.engine.losses import LOSSES
from training.engine.spec import TRAIN_CONFIG, check_files, parameters, read_spec, validate

DPO = {"task": "train", "method": "dpo", "model": "policy", "data": {"train": "pairs.parquet"}}


def test_every_default_is_filled_in_and_the_learning_rate_is_the_methods_own():
    spec = validate(DPO)
    assert spec.config["learning_rate"] == LOSSES["dpo"].learning_rate
    assert set(spec.config) == {one.name for one in parameters("train", LOSSES["dpo"])}


def test_a_spec_written_out_validates_to_the_same_spec():
    for document in (DPO, {"task": "starter"}, {"task": "sample", "model": "m", "prompts": "p.jsonl"}):
        spec = validate(document)
        assert validate(json.loads(json.dumps(spec.to_dict()))) == spec


def test_a_whole_number_is_taken_where_a_fraction_is_asked_for():
    value = validate({**DPO, "config": {"beta": 1}}).config["beta"]
    assert value == 1.0
    assert isinstance(value, float)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"task": "tarin"}, "task"),
        ({"task": ["train"]}, "task"),
        ({"method": "dop"}, "method"),
        ({"method": None}, "method"),
        ({"learning_rate": 1e-5}, "learning_rate"),
        ({"model": 7}, "model"),
        ({"model": "  "}, "model"),
        ({"model": "a\0b"}, "model"),
        ({"data": "pairs.parquet"}, "data.train"),
        ({"data": {"validation": "v.parquet"}}, "data.train"),
        ({"data": {"train": None}}, "data.train"),
        ({"data": {"train": "a", "holdout": "b"}}, "data.holdout"),
        ({"config": []}, "config"),
        ({"config": {"betta": 0.1}}, "config.betta"),
        ({"config": {"desirable_weight": 1.0}}, "config.desirable_weight"),
        ({"config": {"beta": "0.1"}}, "config.beta"),
        ({"config": {"beta": True}}, "config.beta"),
        ({"config": {"beta": float("nan")}}, "config.beta"),
        ({"config": {"epochs": 1.5}}, "config.epochs"),
        ({"config": {"epochs": True}}, "config.epochs"),
        ({"config": {"epochs": 0}}, "config.epochs"),
        ({"config": {"warmup": 1.1}}, "config.warmup"),
        ({"config": {"layout": "flat"}}, "config.layout"),
        ({"config": {"dtype": "float16"}}, "config.dtype"),
    ],
)
def test_a_bad_key_or_value_is_refused_by_name(change, key):
    with pytest.raises(EngineError) as refusal:
        validate({**DPO, **change})
    assert refusal.value.field == key
    assert key in str(refusal.value)


@pytest.mark.parametrize("document", [None, [], "dpo", 3])
def test_a_spec_that_is_no_object_is_refused(document):
    with pytest.raises(EngineError):
        validate(document)


def test_the_keys_of_another_task_are_refused():
    with pytest.raises(EngineError, match="'data'"):
        validate({"task": "sample", "model": "m", "prompts": "p", "data": {"train": "t"}})


def test_a_spec_file_that_is_not_there_or_not_json_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(EngineError, match="no spec file"):
        read_spec(tmp_path / "spec.json")
    (tmp_path / "spec.json").write_text('{"task": "train",')
    with pytest.raises(EngineError, match="line 1"):
        read_spec(tmp_path / "spec.json")


def test_a_data_file_that_is_not_there_is_refused_with_its_key():
    with pytest.raises(EngineError) as refusal:
        check_files(validate(DPO))
    assert refusal.value.field == "data.train"


def test_no_method_redefines_a_setting_that_every_training_has():
    common = {one.name for one in TRAIN_CONFIG}
    assert not any(one.name in common for method in LOSSES.values() for one in method.parameters)


def test_the_web_process_can_import_spec_and_run_folder_without_anything_heavy():
    code = (
        "import sys; import training.engine.spec, training.engine.runfolder, training.engine.cli;"
        "print(sorted({'torch', 'numpy', 'transformers', 'safetensors', 'pyarrow', 'django'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
