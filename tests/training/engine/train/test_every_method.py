"""Every method of the table, from a spec to a trained model, on the kind of data that it learns from."""

import math

import pytest

from tests.training.engine.train.conftest import result_of, run, write_spec
from training.engine.losses import LOSSES

# Enough for every knob to be at work; results are looked at elsewhere.
SETTINGS = {"epochs": 1, "learning_rate": 1e-3, "max_length": 128}


@pytest.mark.parametrize("method", LOSSES)
def test_a_method_trains_and_is_evaluated(method, tmp_path, tiny_policy_dir):
    spec = write_spec(tmp_path, method, tiny_policy_dir, **SETTINGS)
    assert run(spec, tmp_path / "out") == 0
    result = result_of(tmp_path / "out")
    assert result["method"] == method
    assert result["steps"] > 0
    assert result["examples"] > 0
    assert math.isfinite(result["loss_first"])
    assert math.isfinite(result["loss_last"])
    assert math.isfinite(result["eval"]["validation"]["loss"])
    assert any((tmp_path / "out/model").glob("*.safetensors"))
