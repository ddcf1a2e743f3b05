"""Where runs and models lie below the data folder."""

import re
from pathlib import Path

from django.conf import settings

from training.models import Model, Run

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def data_dir() -> Path:
    return Path(settings.DATA_DIR)


def models_root() -> Path:
    """Where an operator puts folders of models that people may register."""
    return data_dir() / "models"


def run_inputs(run: Run) -> Path:
    """What the run is given: its spec, its prompts, and the engine's log."""
    return data_dir() / run.folder / "input"


def run_output(run: Run) -> Path:
    """The engine's own run folder."""
    return data_dir() / run.folder / "out"


def model_location(model: Model) -> str:
    """The folder, or the hub id, under which the engine finds the model.

    Weights with a known sum lie in a folder: if that is gone, nothing of the same name is fetched in its place.
    """
    path = Path(model.folder)
    if path.is_absolute():
        return str(path)
    below = data_dir() / path
    on_hub = HUB_ID.fullmatch(model.folder) and not model.weights_sha256 and not below.is_dir()
    return model.folder if on_hub else str(below)
