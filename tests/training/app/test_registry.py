"""Taking models in, promoting them, and where they came from."""

import json

import pytest

from training.models import Model, ModelAlias
from training.services.models import ModelError, lineage, promote_model, register_model

EMPTY_WEIGHTS = "\x02" + "\0" * 7 + "{}"  # a length of two, and a header without tensors

pytestmark = pytest.mark.django_db


def refused(project, folder) -> str:
    with pytest.raises(ModelError) as error:
        register_model(project=project, name="m", kind="policy", folder=folder, created_by=None)
    assert not Model.objects.exists()
    return error.value.message


def write_folder(root, **files):
    root.mkdir(parents=True)
    for name, content in (
        {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors": EMPTY_WEIGHTS} | files
    ).items():
        (root / name).write_text(content)
    return root


def test_a_folder_outside_the_models_folder_is_refused(project, data_dir):
    write_folder(data_dir / "elsewhere")
    assert "outside the models folder" in refused(project, "../elsewhere")
    assert "outside the models folder" in refused(project, str(data_dir / "elsewhere"))


def test_a_folder_that_is_not_there_and_no_hub_id_is_refused(project):
    assert "no folder “nothing”" in refused(project, "nothing")


def test_pickled_weights_and_code_of_its_own_are_refused(project, data_dir):
    write_folder(data_dir / "models/pickled", **{"pytorch_model.bin": "cos\nsystem\n"})
    assert "pytorch_model.bin" in refused(project, "pickled")
    write_folder(data_dir / "models/code", **{"config.json": json.dumps({"auto_map": {"AutoModel": "evil.Model"}})})
    assert "auto_map" in refused(project, "code")


def test_a_link_that_leaves_the_models_folder_is_refused(project, data_dir):
    target = write_folder(data_dir / "elsewhere")
    (data_dir / "models").mkdir()
    (data_dir / "models/link").symlink_to(target)
    assert "outside the models folder" in refused(project, "link")


def test_promotion_moves_the_alias_and_remembers_the_one_before(project, alice):
    first, second = (
        Model.objects.create(project=project, name=name, kind="policy", folder=f"models/{name}") for name in "ab"
    )
    promote_model(model=first, alias="champion", moved_by=alice)
    promote_model(model=second, alias="champion", moved_by=alice)
    held = ModelAlias.objects.get(project=project, name="champion")
    assert (held.model, held.previous) == (second, first)
    promote_model(model=second, alias="champion", moved_by=alice)
    held.refresh_from_db()
    assert held.previous == first


def test_lineage_goes_back_to_the_first_ancestor(project):
    base = Model.objects.create(project=project, name="base", kind="policy", folder="models/base")
    child = Model.objects.create(project=project, name="child", kind="policy", folder="runs/1", parent=base)
    assert [step["model"]["name"] for step in lineage(child)] == ["child", "base"]


def test_the_api_promotes_for_managers_only(project, alice, bob, charlie, api_for):
    model = Model.objects.create(project=project, name="base", kind="policy", folder="models/base")
    path = f"/api/v1/models/{model.pk}/promote/"
    assert api_for(bob).post(path).status_code == 403
    assert api_for(charlie).post(path).status_code == 404
    assert api_for(alice, ["read"]).post(path).status_code == 403
    assert api_for(alice).post(path, {}, format="json").json() == {
        "alias": "champion",
        "model": model.pk,
        "previous": None,
    }


@pytest.mark.parametrize(
    ("files", "is_a"),
    [
        ({"config.json": '{"architectures": ["BertModel"]}'}, "encoder"),
        ({"config.json": '{"architectures": ["LlamaForCausalLM"]}'}, "policy"),
        ({"config.json": '{"architectures": ["LlamaModel"]}', "reward.json": "{}"}, "reward"),
    ],
)
def test_a_model_is_registered_as_what_it_is(project, data_dir, files, is_a):
    write_folder(data_dir / "models/m", **files)
    for kind in {"policy", "reward", "encoder"} - {is_a}:
        with pytest.raises(ModelError) as error:
            register_model(project=project, name="m", kind=kind, folder="m", created_by=None)
        assert error.value.field == "kind"
    assert register_model(project=project, name="m", kind=is_a, folder="m", created_by=None).kind == is_a


def test_the_api_lists_models_and_runs_of_one_project(project, alice, charlie, api_for):
    Model.objects.create(project=project, name="base", kind="policy", folder="models/base")
    api = api_for(alice)
    assert [model["name"] for model in api.get("/api/v1/models/?project=answers").json()["results"]] == ["base"]
    assert api.get("/api/v1/runs/?project=answers").json() == {"results": [], "next": None}
    assert api.get("/api/v1/models/?project=elsewhere").status_code == 404
    assert api_for(charlie).get("/api/v1/models/?project=answers").status_code == 404


def test_the_api_names_the_field_that_is_wrong(project, alice, api_for):
    body = {"project": "answers", "name": "m", "kind": "oracle", "folder": "../../etc"}
    api = api_for(alice)
    assert set(api.post("/api/v1/models/", body, format="json").json()["error"]["fields"]) == {"kind"}
    answer = api.post("/api/v1/models/", body | {"kind": "policy"}, format="json")
    assert "outside the models folder" in answer.json()["error"]["fields"]["folder"]
