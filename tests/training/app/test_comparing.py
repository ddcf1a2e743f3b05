"""Runs side by side."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from tests.makers import make_project
from training.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def make_run(project, data_dir):
    """A training run with the figures of its steps: `make_run(beta=0.2, loss=[0.7, 0.5])`."""

    def make(*, method="dpo", task="train", place=project, accuracy=None, beta=0.1, **figures) -> Run:
        run = Run.objects.create(project=place, task=task, method=method, config={"beta": beta, "epochs": 1})
        run.folder = f"runs/{run.pk}"
        if accuracy:
            middle, low, high = accuracy
            split = {"n": 9, "loss": 0.6, "accuracy": middle, "accuracy_low": low, "accuracy_high": high}
            run.result = {"eval": {"validation": split}}
        run.save()
        out = data_dir / run.folder / "out"
        out.mkdir(parents=True)
        steps = [dict(zip(figures, values, strict=True)) for values in zip(*figures.values(), strict=True)]
        lines = [{"step": n, "metrics": metrics} for n, metrics in enumerate(steps, 1)]
        (out / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return run

    return make


def compared(client, *runs) -> dict:
    return client.get("/projects/answers/runs/compare/", {"run": [run.pk for run in runs]})


def test_each_figure_that_two_runs_have_is_one_chart_with_a_line_for_each(make_run, alice, client_for):
    one = make_run(loss=[0.7, 0.5], kl=[0.0, 0.1], grad_norm=[1, 2])
    two = make_run(method="simpo", loss=[0.9, 0.8], grad_norm=[3, 4])
    charts = compared(client_for(alice), two, one).context["charts"]
    assert [chart.title for chart in charts] == ["Loss", "Gradient norm"]
    said = ElementTree.fromstring(charts[0].svg).get("aria-label")
    assert said == f"Loss: run {one.pk} last 0.5; run {two.pk} last 0.8"


def test_held_out_accuracy_stands_with_its_interval_and_only_differing_settings_are_listed(
    make_run, victor, client_for
):
    one, two = make_run(accuracy=(0.75, 0.5, 0.9), loss=[0.7, 0.5]), make_run(beta=0.3, loss=[0.7, 0.6])
    answer = compared(client_for(victor), one, two)
    assert answer.context["settings"] == [("beta", [0.1, 0.3])]
    page = answer.content.decode()
    assert "0.750" in page
    assert "95 %: 0.500 – 0.900" in page


def test_runs_of_other_projects_samplings_and_nonsense_are_passed_over(make_run, alice, bob, client_for):
    one = make_run(loss=[0.7, 0.5])
    foreign = make_run(place=make_project("other"), loss=[1, 1])
    sampling = make_run(task="sample", method="", loss=[1, 1])
    answer = compared(client_for(alice), one, foreign, sampling)
    assert answer.context["runs"] == [one]
    assert "Choose at least two" in answer.content.decode()
    nonsense = client_for(alice).get("/projects/answers/runs/compare/?run=x&run=" + "9" * 40)
    assert nonsense.context["runs"] == []
    assert compared(client_for(bob), one).status_code == 403


def test_the_list_offers_to_compare_once_there_are_two(make_run, alice, client_for):
    make_run(loss=[1, 1])
    client = client_for(alice)
    assert "Compare the ticked runs" not in client.get("/projects/answers/runs/").content.decode()
    make_run(loss=[1, 1])
    page = client.get("/projects/answers/runs/").content.decode()
    assert "Compare the ticked runs" in page
    assert page.count('type="checkbox" name="run"') == 2
