"""Model folders from strangers: nothing that could run code or reach outside is ever opened by a loader."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from training.engine.errors import EngineError
from training.engine.modelfiles import (
    check_model_folder,
    disable_dropout,
    load_policy,
    load_reward,
    save_policy,
    weights_sha256,
)


class Sentinel:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.fixture
def folder(tiny_policy_dir, tmp_path):
    return Path(shutil.copytree(tiny_policy_dir, tmp_path / "model"))


def edit(path: Path, **changes) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | changes))


def assert_refused(folder: Path, *parts: str) -> None:
    """Every door refuses: the check itself and both loaders, with a sentence that names the file."""
    for door in (check_model_folder, load_policy, load_reward):
        with pytest.raises(EngineError) as refusal:
            door(folder)
        for part in parts:
            assert part in refusal.value.message
        assert refusal.value.field == "model"


def test_a_folder_as_save_pretrained_writes_it_is_accepted(folder):
    check_model_folder(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.PTH", "x.ckpt", "tf_model.h5", "a/b.pkl"])
def test_a_pickle_is_refused_and_never_loaded(folder, tmp_path, name):
    sentinel = tmp_path / "sentinel"
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(pickle.dumps(Sentinel(sentinel)))
    assert_refused(folder, name, "safetensors")
    assert not sentinel.exists()
    pickle.loads((folder / name).read_bytes())  # the sentinel does work
    assert sentinel.exists()


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_under_a_harmless_name_is_refused(folder, tmp_path, protocol):
    sentinel = tmp_path / "sentinel"
    (folder / "vocab.txt").write_bytes(pickle.dumps(Sentinel(sentinel), protocol=protocol))
    assert_refused(folder, "vocab.txt", "pickle")
    assert not sentinel.exists()


def test_weights_that_are_a_pickle_named_safetensors_are_refused(folder, tmp_path):
    sentinel = tmp_path / "sentinel"
    (folder / "model.safetensors").write_bytes(pickle.dumps(Sentinel(sentinel)))
    assert_refused(folder, "model.safetensors")
    torch.save({"w": torch.zeros(2)}, folder / "model.safetensors")
    assert_refused(folder, "model.safetensors")
    assert not sentinel.exists()


def test_an_archive_under_another_name_is_refused(folder):
    with zipfile.ZipFile(folder / "notes.md", "w") as archive:
        archive.writestr("data.pkl", "x")
    assert_refused(folder, "notes.md")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_auto_map_is_refused_wherever_it_hides(folder, file):
    edit(folder / file, text_config={"deep": [{"auto_map": {"AutoModel": "evil.Model"}}]})
    assert_refused(folder, file, "auto_map")


def test_program_files_are_refused(folder):
    (folder / "modeling_evil.py").write_text("print('hello')")
    assert_refused(folder, "modeling_evil.py")


def test_a_link_that_leaves_the_folder_is_refused(folder, tmp_path):
    (tmp_path / "secret.json").write_text("{}")
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "generation_config.json").symlink_to("../secret.json")
    assert_refused(folder, "generation_config.json", "link")


def test_a_linked_folder_that_leads_outside_is_refused(folder, tmp_path):
    (tmp_path / "outside").mkdir()
    (folder / "extra").symlink_to(tmp_path / "outside", target_is_directory=True)
    assert_refused(folder, "extra", "link")


def test_links_inside_the_folder_and_in_the_layout_of_the_hubs_cache_are_followed(folder, tmp_path):
    (folder / "copy.json").symlink_to("config.json")
    check_model_folder(folder)
    cache = tmp_path / "models--x"
    (cache / "snapshots").mkdir(parents=True)
    shutil.move(folder, cache / "blobs")
    snapshot = cache / "snapshots" / "r1"
    snapshot.mkdir()
    for file in (cache / "blobs").iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    check_model_folder(snapshot, root=cache)
    with pytest.raises(EngineError, match="link"):
        check_model_folder(snapshot)


def test_a_snapshot_of_the_hubs_cache_can_be_given_as_a_folder(folder, tmp_path):
    snapshot = tmp_path / "models--x" / "snapshots" / "r1"
    snapshot.mkdir(parents=True)
    shutil.move(folder, tmp_path / "models--x" / "blobs")
    for file in (tmp_path / "models--x" / "blobs").iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    load_policy(snapshot)
    (tmp_path / "secret.json").write_text("{}")
    (snapshot / "more.json").symlink_to("../../../secret.json")
    with pytest.raises(EngineError, match="link that leaves"):
        load_policy(snapshot)


def test_adapters_without_their_model_are_refused_with_the_way_to_merge_them(folder):
    (folder / "config.json").rename(folder / "adapter_config.json")
    edit(folder / "adapter_config.json", auto_mapping={"base_model_class": "LlamaForCausalLM"})
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    assert_refused(folder, "adapters without their model", "merge_and_unload")


@pytest.mark.parametrize(
    "shard", ["../other/model.safetensors", "/etc/model.safetensors", "C:\\x.safetensors", "w.bin"]
)
def test_an_index_that_points_outside_is_refused(folder, shard):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": shard}}))
    assert_refused(folder, "model.safetensors.index.json", shard)


def test_an_index_that_names_a_missing_shard_is_refused(folder):
    index = {"weight_map": {"w": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_refused(folder, "model-00002-of-00002.safetensors", "not in the folder")


def test_a_tokenizer_configuration_that_reads_another_file_is_refused(folder):
    edit(folder / "tokenizer_config.json", vocab_file="/etc/passwd")
    assert_refused(folder, "tokenizer_config.json", "/etc/passwd")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_folder_names_what_is_missing(folder, name):
    (folder / name).unlink()
    assert_refused(folder, name, "missing")


@pytest.mark.parametrize("keep", [4, 100, -1])
def test_weights_that_were_cut_short_are_refused(folder, keep):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:keep])
    assert_refused(folder, "model.safetensors")


def test_a_header_that_claims_to_be_endless_is_refused(folder):
    (folder / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    assert_refused(folder, "model.safetensors")


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "\x00\xff"])
def test_broken_json_is_refused(folder, content):
    (folder / "config.json").write_text(content, encoding="latin-1")
    assert_refused(folder, "config.json")


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(EngineError):
            check_model_folder(path)
        with pytest.raises(EngineError):
            load_policy(path)


def test_a_name_that_is_neither_a_folder_nor_on_the_hub_is_refused():
    with pytest.raises(EngineError, match="neither a local folder nor a model"):
        load_policy("nobody/no-such-model")


def test_a_policy_with_missing_weights_is_refused_by_name(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=r"lm_head\.weight"):
        load_policy(folder)


def test_a_policy_with_weights_of_another_shape_is_refused(folder):
    edit(folder / "config.json", intermediate_size=64)
    with pytest.raises(EngineError, match="another shape"):
        load_policy(folder)


def test_an_unknown_architecture_and_an_unknown_dtype_are_refused(folder):
    with pytest.raises(EngineError, match="float8"):
        load_policy(folder, dtype="float8")
    edit(folder / "config.json", model_type="nonesuch")
    with pytest.raises(EngineError, match=r"config\.json"):
        load_policy(folder)


def test_an_encoder_is_refused_as_a_policy(tiny_encoder_dir):
    with pytest.raises(EngineError, match="cannot write text"):
        load_policy(tiny_encoder_dir)


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(folder, tiny_tokenizer):
    import copy

    larger = copy.deepcopy(tiny_tokenizer)
    larger.add_tokens(["<one more>"])  # the 401st
    larger.save_pretrained(folder)
    with pytest.raises(EngineError, match="do not belong together"):
        load_policy(folder)


def test_a_policy_survives_saving_and_loading_bit_for_bit(folder, tmp_path):
    model, tokenizer = load_policy(folder)
    save_policy(model, tokenizer, tmp_path / "copy")
    check_model_folder(tmp_path / "copy")
    again, same = load_policy(tmp_path / "copy")
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert same.chat_template == tokenizer.chat_template
    assert weights_sha256(folder) == weights_sha256(tmp_path / "copy")


@pytest.mark.parametrize(
    ("given", "kept"), [({"temperature": 0.6, "top_p": 0.9}, 0.6), ({"do_sample": False, "temperature": 0.5}, 0.5)]
)
def test_settings_for_generation_that_could_not_be_written_are_mended_when_opened(folder, tmp_path, given, kept):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 3, **given}))
    model, tokenizer = load_policy(folder)
    save_policy(model, tokenizer, tmp_path / "copy")
    written = json.loads((tmp_path / "copy/generation_config.json").read_text())
    assert written["do_sample"] is True
    assert written["temperature"] == kept


def test_settings_for_generation_that_cannot_be_mended_are_refused_at_once(folder):
    (folder / "generation_config.json").write_text(json.dumps({"num_beams": 1, "length_penalty": 2.0}))
    with pytest.raises(EngineError, match=r"generation_config\.json is wrong"):
        load_policy(folder)


def test_the_hash_of_weights_changes_with_a_single_bit(folder):
    before = weights_sha256(folder)
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert weights_sha256(folder) != before
    (folder / "config.json").write_text("{}")
    path.write_bytes(bytes(content[:-1]) + bytes([content[-1] ^ 1]))
    assert weights_sha256(folder) == before  # only weights count


def test_dropout_is_off_in_training_mode_too(tiny_encoder_dir):
    from transformers import BertModel

    model = BertModel.from_pretrained(tiny_encoder_dir).train()
    ids = torch.tensor([[5, 6, 7]])
    assert not torch.equal(model(ids).last_hidden_state, model(ids).last_hidden_state)
    disable_dropout(model)
    assert torch.equal(model(ids).last_hidden_state, model(ids).last_hidden_state)
