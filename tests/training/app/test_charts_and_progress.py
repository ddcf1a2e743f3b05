import json
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime, timedelta

import pytest

from tests.makers import make_project
from training.charts import Line, line_chart
from training.models import Run
from training.progress import ProgressReader, draw_charts, read_course, read_metrics, time_left


def test_a_chart_is_well_formed_and_says_its_last_values():
    svg = line_chart("Loss <of> run", [Line("loss", [(0, 0.7), (10, 0.5)]), Line("empty", [])])
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == "Loss <of> run: loss last 0.5"
    assert len(root.findall("polyline")) == 1


def test_a_line_looks_the_same_beside_one_that_has_no_points_here():
    both = line_chart("Loss", [Line("run 1", [(0, 1), (1, 2)]), Line("run 2", [(0, 2), (1, 3)])])
    alone = line_chart("Loss", [Line("run 1", []), Line("run 2", [(0, 2), (1, 3)])])

    def look(svg, place):
        line = ElementTree.fromstring(svg).findall("polyline")[place]
        return line.get("class"), line.get("stroke-dasharray")

    assert look(both, 1) == look(alone, 0) != look(both, 0)


@pytest.mark.parametrize("points", [[], [(0, 1.0)]])
def test_a_chart_without_points_or_with_one_is_still_a_chart(points):
    chart = ElementTree.fromstring(line_chart("Loss", [Line("loss", points)]))
    assert chart.tag.endswith("svg")
    assert "Loss" in "".join(chart.itertext()) + str(chart.attrib)


def test_a_chart_of_many_points_stays_small_and_keeps_the_last():
    points = [(n, float(n)) for n in range(10_000)]
    svg = line_chart("Loss", [Line("loss", points)])
    assert len(svg) < 20_000
    assert "last 9,999" in svg


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.4994, 0.5008, ["0.4990", "0.4995", "0.5000", "0.5005", "0.5010"]),
        (-0.01, 0.02, ["-0.01", "0.00", "0.01", "0.02"]),
        (5_500.0, 7_200.0, ["5,500", "6,000", "6,500", "7,000", "7,500"]),
        (1e-9, 3e-9, ["1e-09", "1.5e-09", "2e-09", "2.5e-09", "3e-09"]),
    ],
)
def test_labels_of_the_axis_tell_its_lines_apart(low, high, labels):
    chart = ElementTree.fromstring(line_chart("Loss", [Line("loss", [(0, low), (10, high)])]))
    shown = [text.text for text in chart.findall("text") if text.get("text-anchor") == "end"]
    assert shown[: len(labels)] == labels


def test_the_reader_waits_for_a_line_that_is_still_being_written(tmp_path):
    path = tmp_path / "progress.jsonl"
    reader = ProgressReader(path)
    assert list(reader.new_lines()) == []
    path.write_text('{"step": 1}\n{"st')
    assert [line["step"] for line in reader.new_lines()] == [1]
    with path.open("a") as file:
        file.write('ep": 2}\n')
    assert [line["step"] for line in reader.new_lines()] == [2]


def test_a_step_that_a_resumed_run_repeated_counts_once(db, data_dir):
    run = Run.objects.create(project=make_project(), task="train", method="dpo", folder="runs/1")
    out = data_dir / "runs/1/out"
    out.mkdir(parents=True)
    lines = [
        {"step": 1, "metrics": {"loss": 0.7}},
        {"step": 2, "metrics": {"loss": 0.6}},
        {"step": 2, "metrics": {"loss": 0.5}},
    ]
    (out / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3, "met')
    assert read_metrics(run) == [{"step": 1, "metrics": {"loss": 0.7}}, {"step": 2, "metrics": {"loss": 0.5}}]
    assert read_metrics(run, after=1) == [{"step": 2, "metrics": {"loss": 0.5}}]
    assert [chart.title for chart in read_course(run).charts] == ["Loss"]


def left_after(*lines):
    """What is left after lines of (seconds since the start, share done)."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return time_left(
        [{"time": (start + timedelta(seconds=seconds)).isoformat(), "fraction": done} for seconds, done in lines]
    )


def test_how_long_a_run_still_takes_is_said_once_a_few_lines_tell():
    assert left_after((0, 0.0), (10, 0.1)) == ""
    assert left_after(*((60 * n, n / 100) for n in range(11))) == "about 2 hours left"
    assert left_after(*((60 * n, n / 100) for n in range(21))) == "about 80 minutes left"
    assert left_after(*((60 * n, n / 100) for n in range(100))) == "about 1 minute left"
    assert left_after(*((10 * n, n / 100) for n in range(100))) == "less than a minute left"
    assert left_after(*((10 * n, n / 10) for n in range(11))) == ""


def test_neither_a_pause_between_attempts_nor_repeated_steps_spoil_what_is_left():
    before = [(60 * n, n / 100) for n in range(11)]
    after = [(90_000 + 60 * n, n / 100) for n in range(8, 21)]
    assert left_after(*before, *after) == "about 80 minutes left"


def steps(count=3, **metrics):
    return [{"step": n, "metrics": {name: value(n) for name, value in metrics.items()}} for n in range(1, count + 1)]


def test_everything_that_a_run_measures_is_in_six_charts():
    names = (
        "loss", "accuracy", "chosen_reward", "rejected_reward", "margin", "chosen_shift", "rejected_shift", "kl",
        "chosen_nll", "rejected_nll", "chosen_logp", "grad_norm", "tokens_per_second", "padding",
    )  # fmt: skip
    charts = draw_charts(steps(**dict.fromkeys(names, float)))
    assert [chart.title for chart in charts] == [
        "Loss", "Accuracy", "Rewards", "Moved from the reference", "Gradient norm", "Tokens per second",
    ]  # fmt: skip
    rewards = ElementTree.fromstring(charts[2].svg)
    assert rewards.get("aria-label") == "Rewards: chosen last 3; rejected last 3; margin last 3"
    assert len(rewards.findall("polyline")) == 3


def test_without_a_reference_the_log_probability_itself_is_drawn():
    charts = draw_charts(steps(chosen_nll=lambda n: 2.0 - n / 4))
    assert [chart.title for chart in charts] == ["Log-probability"]
    assert "chosen last -1.25" in charts[0].svg


def test_a_run_that_makes_both_sides_unlikely_says_so_while_it_goes(db, data_dir):
    run = Run.objects.create(project=make_project(), task="train", method="dpo", folder="runs/1")
    out = data_dir / "runs/1/out"
    out.mkdir(parents=True)
    lines = steps(40, chosen_shift=lambda n: -n / 20, accuracy=lambda n: n / 40, padding=lambda n: 0.25)
    (out / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    course = read_course(run)
    assert "nats per token while the accuracy rose" in course.hint
    assert course.padding == 0.25
