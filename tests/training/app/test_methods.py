"""Every method of the table can be found, understood and started without code of its own."""

import re
from html import unescape

import pytest
from django.urls import reverse

from exports.models import DatasetVersion
from training.chooser import method_groups
from training.engine.catalogue import GROUPS, group_of
from training.engine.losses import LOSSES
from training.forms import TrainForm
from training.models import Model, Run

pytestmark = pytest.mark.django_db


def make_version(project, kind="pairwise", status="ready") -> DatasetVersion:
    """A version that says it is ready; nothing reads its files here."""
    splits = {"train": 1200, "validation": 3, "test": 0}
    counts = {"rows": splits, "prompts": splits, "judgements": 1203}
    return DatasetVersion.objects.create(
        dataset=project.datasets.create(name=f"{kind}s", kind=kind), number=1, recipe={}, status=status,
        sha256="f" * 64, folder="datasets/1/v1", counts=counts,
    )  # fmt: skip


@pytest.fixture
def policy(project) -> Model:
    return Model.objects.create(project=project, name="base", kind="policy", folder="models/base")


@pytest.mark.parametrize("name", LOSSES)
def test_the_form_of_a_method_shows_its_settings_and_starts_a_run_with_its_defaults(
    name, project, policy, alice, client_for
):
    method = LOSSES[name]
    version = make_version(project, method.dataset_kind)
    client = client_for(alice)
    address = reverse("train", args=[project.slug, name])
    answer = client.get(address)
    page = unescape(answer.content.decode())
    shown, folded = page.split('<details class="more"')
    assert all(f'name="{parameter.name}"' in shown for parameter in method.parameters)
    assert all(parameter.help in page for parameter in method.parameters)
    assert f'name="learning_rate" value="{method.learning_rate}"' in shown
    assert 'name="weight_decay"' in folded
    for said in (method.formula, method.pitfall[1:], method.use[1:], method.paper):
        assert said in page
    fields = answer.context["form"]
    data = {field.html_name: field.value() for field in fields if field.value() is not False}
    answer = client.post(address, data | {"model": policy.pk, "dataset_version": version.pk})
    started = Run.objects.get()
    assert answer.url == f"/runs/{started.pk}/"
    assert method.defaults().items() <= started.config.items()


def test_every_method_is_in_one_group_and_every_group_has_methods(project):
    groups = method_groups(project)
    assert sorted(method.name for group in groups for method in group.methods) == sorted(LOSSES)
    assert [group.name for group in groups] == list(GROUPS)
    assert all(group.methods for group in groups)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("dpo", "pairs"), ("simpo", "pairs_alone"), ("kto", "thumbs"), ("plackett_luce", "lists"),
        ("sft", "demonstrations"), ("bradley_terry", "reward"), ("regression", "reward"), ("all_pairs", "reward"),
    ],
)  # fmt: skip
def test_methods_stand_with_those_that_learn_from_the_same_data(name, group):
    assert group_of(LOSSES[name]) == group


def test_the_chooser_shows_all_methods_and_which_have_data(project, alice, client_for):
    version = make_version(project)
    make_version(project, "binary", status="building")
    page = client_for(alice).get("/projects/answers/runs/new/").content.decode()
    plain = unescape(page)
    for method in LOSSES.values():
        assert reverse("train", args=["answers", method.name]) in page
        assert method.formula in plain
    parts = dict(re.findall(r'<section id="(\w+)"(.*?)</section>', page, re.DOTALL))
    ready = {name for name, part in parts.items() if "data ready" in part}
    assert ready == {"pairs", "pairs_alone", "reward"}
    assert str(version) in parts["pairs"]
    assert "binary dataset" in parts["thumbs"]


def test_the_model_to_start_from_goes_along(project, policy, alice, client_for):
    client = client_for(alice)
    make_version(project)
    page = client.get(f"/projects/answers/runs/new/?model={policy.pk}").content.decode()
    assert f"/projects/answers/runs/new/dpo/?model={policy.pk}" in page
    for strange in ("999", "x", "²"):
        assert client.get("/projects/answers/runs/new/", {"model": strange}).status_code == 200


def test_a_method_that_makes_either_takes_a_reward_model_only_to_make_another(project, alice, client_for):
    judge = Model.objects.create(project=project, name="judge", kind="reward", folder="models/judge")
    version = make_version(project, "listwise")
    client = client_for(alice)
    form = TrainForm(project=project, method="plackett_luce")
    data = {field.html_name: field.value() for field in form if field.value() is not False}
    data |= {"model": judge.pk, "dataset_version": version.pk}
    address = "/projects/answers/runs/new/plackett_luce/"
    assert "needs a policy" in client.post(address, data | {"trains": "policy"}).content.decode()
    assert client.post(address, data | {"trains": "reward"}).status_code == 302


def test_a_sum_of_terms_that_do_not_go_together_is_refused_at_its_field(project, policy, alice, client_for):
    version = make_version(project)
    form = TrainForm(project=project, method="dpo")
    data = {field.html_name: field.value() for field in form if field.value() is not False}
    data |= {"model": policy.pk, "dataset_version": version.pk, "plus": "0.5*kto"}
    answer = client_for(alice).post("/projects/answers/runs/new/dpo/", data)
    assert "cannot be added" in str(answer.context["form"].errors["plus"])


def test_the_api_lists_the_table_for_everyone_who_is_signed_in(project, victor, api_for, client):
    rows = api_for(victor).get("/api/v1/methods/").json()
    assert rows["next"] is None
    found = {row["name"]: row for row in rows["results"]}
    assert set(found) == set(LOSSES)
    kto = found["kto"]
    assert (kto["shape"], kto["dataset_kind"], kto["paper"]) == ("unpaired", "binary", LOSSES["kto"].paper)
    assert [one["name"] for one in kto["parameters"]] == ["beta", "desirable_weight", "undesirable_weight"]
    assert kto["parameters"][0] | {"help": ""} == {
        "name": "beta", "default": 0.1, "help": "", "minimum": 1e-6, "maximum": None, "choices": None,
    }  # fmt: skip
    assert client.get("/api/v1/methods/").status_code == 401


def test_the_schema_knows_the_methods(victor, api_for):
    schema = api_for(victor).get("/api/v1/schema/?format=json").json()
    row = schema["components"]["schemas"]["MethodRow"]
    assert {"name", "title", "formula", "pitfall", "parameters"} <= set(row["properties"])
    assert "/api/v1/methods/" in schema["paths"]


def test_from_a_dataset_version_only_what_learns_from_it_is_offered_and_begins_with_it(
    project, policy, alice, victor, client_for, data_dir
):
    make_version(project, "pairwise")
    version = make_version(project, "binary")
    page = f"/datasets/{version.dataset_id}/versions/1/"
    folder = data_dir / version.folder
    folder.mkdir(parents=True)
    (folder / "data.jsonl").touch()
    client = client_for(alice)
    answer = client.get(page)
    address = f"/projects/{project.slug}/runs/new/?dataset_version={version.pk}"
    assert f'href="{address}"' in answer.content.decode()
    assert "Train on it" not in client_for(victor).get(page).content.decode()
    answer = client.get(address)
    offered = {method.name for group in answer.context["groups"] for method in group.methods}
    assert offered == {name for name, method in LOSSES.items() if method.dataset_kind == "binary"}
    assert f"/runs/new/kto/?dataset_version={version.pk}" in answer.content.decode()
    form = client.get(f"/projects/{project.slug}/runs/new/kto/?dataset_version={version.pk}").context["form"]
    assert str(form["dataset_version"].value()) == str(version.pk)
    for nonsense in ("x", "0", "9" * 30):
        answer = client.get(f"/projects/{project.slug}/runs/new/?dataset_version={nonsense}")
        assert answer.context["count"] == len(LOSSES)
