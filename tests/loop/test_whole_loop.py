"""The loop, closed: through HTTP and a real worker, from imported prompts to judgements of the new policy's answers."""

import importlib.util
import math
from typing import Any

import pytest

from tests.loop.rounds import whole_turn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SAMPLER = "vllm" if importlib.util.find_spec("vllm") else "transformers"


def check_turn(turn: dict[str, Any]) -> None:
    assert turn["added"] == {"created": 40, "duplicates": 0, "errors": []}
    assert turn["judged"] == 40
    assert sum(turn["pairs"]["counts"]["rows"].values()) >= 30
    for run in (turn["reward"], turn["dpo"], turn["kto"]):
        assert run["status"] == "done", run
        figures = run["result"]["eval"]["validation"]
        assert figures["n"] >= 1
        assert 0 <= figures["accuracy_low"] <= figures["accuracy"] <= figures["accuracy_high"] <= 1
    assert abs(turn["dpo"]["result"]["loss_first"] - math.log(2)) < 1e-4
    assert turn["sampled"]["completions"] >= 8
    assert turn["judged_again"] == turn["sampled"]["items"] >= 1
    policy, starter = turn["lineage"]
    assert policy["dataset_version"]["judgements"] == 40
    assert starter["run"]["task"] == "starter"


def test_the_loop_closes_on_one_machine_without_services(embedded_site):
    check_turn(whole_turn(embedded_site.client("lead"), SAMPLER))
    assert embedded_site.manage("verify") == ""


@pytest.mark.services
def test_the_loop_closes_over_postgresql_redis_and_celery(server_site):
    check_turn(whole_turn(server_site.client("lead"), SAMPLER))
    assert server_site.manage("verify") == ""
