"""What a run was made from, as hashes: a checkpoint holds for these alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from training.engine.files import sha256_of
from training.engine.modelfiles import model_folder, weights_sha256
from training.engine.spec import Spec


def origins(spec: Spec) -> dict[str, str]:
    """sha256 by key of the spec: `config` (all settings), `data.train` and the other splits, `model`, `reference`."""
    settings = json.dumps({"method": spec.method, **spec.config}, sort_keys=True)
    files = {f"data.{split}": sha256_of(Path(path)) for split, path in sorted(spec.data.items())}
    models = {"model": spec.model, "reference": spec.reference}
    folders = {key: _model_sha256(model_folder(name)) for key, name in models.items() if name}
    return {"config": hashlib.sha256(settings.encode()).hexdigest(), **files, **folders}


def _model_sha256(folder: Path) -> str:
    """Of the weights, the configuration, and the tokenizer with its chat template."""
    digest = hashlib.sha256(weights_sha256(folder).encode())
    for file in sorted(path for path in folder.iterdir() if path.suffix in (".json", ".jinja", ".txt", ".model")):
        digest.update(f"{file.name}:{sha256_of(file)}\n".encode())
    return digest.hexdigest()
