"""What a model folder may hold. Standard library only; called before any loader opens a file.

Model folders come from strangers. Pickles run code when they are loaded, ``auto_map`` asks the loader to import code
that lies beside the weights, and links or paths can point anywhere on the machine. All three are refused by looking
at bytes and names, never by trying.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NoReturn

from training.engine.errors import EngineError

REFUSED_SUFFIXES = {
    ".bin", ".pt", ".pth", ".ckpt", ".h5", ".hdf5", ".pkl", ".pickle", ".joblib", ".msgpack", ".npy", ".npz", ".tar",
    ".zip", ".keras", ".pb",
}  # fmt: skip
CODE_SUFFIXES = {".py", ".pyc", ".so", ".dll", ".sh"}
CODE_KEYS = {"auto_map", "auto_mapping", "custom_pipelines"}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.txt", "vocab.json")
LARGEST_JSON = 256 << 20
LARGEST_HEADER = 100 << 20  # the limit of the safetensors format itself


def check_model_folder(path: str | Path, *, root: str | Path | None = None) -> None:
    """Refuses a model folder that could run code, reaches outside itself, or is incomplete.

    Links may lead anywhere inside ``root`` (the folder itself unless given; the hub's cache links from its snapshots
    to its blobs). Raises EngineError that names the file and the cure.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise EngineError(f"The model folder {folder.name} does not exist or is not a folder.", field="model")
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise EngineError(
            f"{folder.name} holds adapters without their model. Merge them into it (merge_and_unload of peft), save "
            "that with its tokenizer, and give its folder.",
            field="model",
        )
    inside = Path(root if root is not None else folder).resolve()
    files = sorted(_files(folder, inside))
    for file in files:
        _check_name(folder, file)
        _check_bytes(folder, file)
        if file.suffix == ".json":
            _check_json(folder, file)
        elif file.suffix == ".safetensors":
            _check_safetensors(folder, file)
    _check_complete(folder)


def _refuse(folder: Path, file: Path, what: str) -> NoReturn:
    raise EngineError(f"{folder.name}: {file.relative_to(folder).as_posix()} {what}", field="model")


def _files(folder: Path, inside: Path) -> Iterator[Path]:
    """Every file below ``folder``; links are checked before they are followed, linked folders are not walked."""
    for entry in folder.rglob("*"):
        if entry.is_symlink():
            target = entry.resolve()
            if not target.is_relative_to(inside):
                _refuse(folder, entry, "is a link that leaves the folder; put the file itself in its place.")
            if not target.exists():
                _refuse(folder, entry, "is a link to nothing; put the file itself in its place.")
        if entry.is_file():
            yield entry
        elif not entry.is_dir():
            _refuse(folder, entry, "is neither a file nor a folder; remove it.")


def _check_name(folder: Path, file: Path) -> None:
    suffix = file.suffix.lower()
    if suffix in REFUSED_SUFFIXES:
        _refuse(
            folder,
            file,
            "may hold a pickle, which runs code when it is loaded; convert the weights to safetensors and remove it.",
        )
    if suffix in CODE_SUFFIXES:
        _refuse(folder, file, "is program code; models with code of their own are not loaded, remove it.")


def _check_bytes(folder: Path, file: Path) -> None:
    """A pickle or an archive under a harmless name is one all the same."""
    with file.open("rb") as stream:
        start = stream.read(4)
    pickled = (
        start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and file.suffix != ".safetensors"
    )
    if pickled or start == b"PK\x03\x04":
        _refuse(folder, file, "is a pickle or an archive under another name; remove it and use safetensors.")


def _check_json(folder: Path, file: Path) -> None:
    if file.stat().st_size > LARGEST_JSON:
        _refuse(folder, file, "is larger than any configuration should be; remove it.")
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        _refuse(folder, file, "is not valid JSON; take a fresh copy of the model.")
    # A vocabulary is a flat table of words, any of which may read like one of the keys below.
    if file.name in ("vocab.json", "added_tokens.json"):
        return
    if file.name == "tokenizer.json" and isinstance(content, dict):
        content = {key: value for key, value in content.items() if key != "model"}
    for key, value in _pairs(content):
        if key in CODE_KEYS and value:
            _refuse(folder, file, f"asks for program code ({key}); models with code of their own are not loaded.")
        if key == "trust_remote_code" and value is True:
            _refuse(folder, file, "asks for program code (trust_remote_code); remove that key.")
        if key == "weight_map" and isinstance(value, dict):
            for shard in value.values():
                _check_shard(folder, file, shard)
        elif key.endswith("_file") and key != "special_tokens_map_file" and _leaves(value):
            _refuse(folder, file, f"names a file outside the folder ({key}: {value}); remove that key.")


def _check_shard(folder: Path, file: Path, shard: object) -> None:
    if not isinstance(shard, str) or _leaves(shard) or not shard.endswith(".safetensors"):
        _refuse(folder, file, f"names weights outside the folder or not in safetensors ({shard}); take a fresh copy.")
    if not (folder / shard).is_file():
        _refuse(folder, file, f"names {shard}, which is not in the folder; copy it there.")


def _leaves(value: object) -> bool:
    """Whether a text is a path that could lead out of the folder it stands in."""
    if not isinstance(value, str):
        return False
    posix, windows = PurePosixPath(value), PureWindowsPath(value)
    return posix.is_absolute() or bool(windows.drive or windows.root) or ".." in posix.parts or ".." in windows.parts


def _pairs(content: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth; iterative, since a hostile file may nest deeply."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value.items()
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _check_safetensors(folder: Path, file: Path) -> None:
    """The header is JSON of a length that the file can hold, and every tensor lies inside the file."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if length > min(size - 8, LARGEST_HEADER):
            _refuse(folder, file, "is not a safetensors file, or is cut short; take a fresh copy.")
        try:
            header = json.loads(stream.read(length))
        except (ValueError, RecursionError):
            _refuse(folder, file, "is not a safetensors file; convert the weights to safetensors.")
    tensors = [value for key, value in header.items() if key != "__metadata__"] if isinstance(header, dict) else [None]
    for tensor in tensors:
        offsets = tensor.get("data_offsets") if isinstance(tensor, dict) else None
        if not isinstance(offsets, list) or not all(
            isinstance(end, int) and 0 <= end <= size - 8 - length for end in offsets
        ):
            _refuse(folder, file, "has a damaged header or is cut short; take a fresh copy.")


def _check_complete(folder: Path) -> None:
    needs = {
        "config.json": (folder / "config.json").is_file(),
        "model.safetensors": any(
            (folder / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json")
        ),
        "tokenizer.json": any((folder / name).is_file() for name in TOKENIZER_FILES),
    }
    for name, there in needs.items():
        if not there:
            raise EngineError(
                f"{folder.name}: {name} is missing; copy the whole folder as save_pretrained writes it.", field="model"
            )
