"""What a run is given: its spec with real paths, and for sampling its prompts."""

import hashlib
import json
from pathlib import Path
from typing import Any

from django.db.models import Exists, OuterRef

from annotate.models import Item, Prompt
from exports.models import DatasetVersion
from exports.splits import SPLITS
from training.models import Run
from training.paths import data_dir, model_location, run_inputs


def write_inputs(run: Run) -> Path:
    """Write `spec.json` (and `prompts.jsonl`) once: a later attempt finds them as they were. Returns the spec."""
    folder = run_inputs(run)
    folder.mkdir(parents=True, exist_ok=True)
    spec = folder / "spec.json"
    if not spec.exists():
        document = spec_document(run)
        if run.task == Run.Task.SAMPLE:
            document["prompts"] = str(_write_prompts(run, folder / "prompts.jsonl"))
        part = spec.with_suffix(".part")
        part.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        part.rename(spec)
    return spec


def spec_document(run: Run) -> dict[str, Any]:
    """The run's spec with real paths, all but the prompts of a sampling run: those are drawn when it starts."""
    document: dict[str, Any] = {"task": run.task, "config": run.config}
    if run.model is not None:
        document["model"] = model_location(run.model)
    if run.task == Run.Task.TRAIN:
        document |= {"method": run.method, "data": _data_files(run)}
    return document


def _data_files(run: Run) -> dict[str, str]:
    """The Parquet file of every split that has rows."""
    version = run.dataset_version
    assert isinstance(version, DatasetVersion)
    folder = data_dir() / version.folder
    return {
        split: str(folder / f"{split}.parquet")
        for split in SPLITS
        if split == "train" or version.counts["rows"].get(split)
    }


def _write_prompts(run: Run, path: Path) -> Path:
    """Prompts that no item asks about yet, then the others; within each, a random order that the run's seed gives."""
    seed = run.config.get("seed", 0)
    wanted = run.selection["prompts"]
    asked = Exists(Item.objects.filter(prompt=OuterRef("pk")))
    rows = Prompt.objects.filter(project=run.project).annotate(asked=asked).values_list("pk", "sha256", "asked")
    drawn = sorted(rows, key=lambda row: (row[2], hashlib.sha256(f"{seed}:{row[1]}".encode()).digest()))[:wanted]
    with path.open("w", encoding="utf-8") as file:
        for prompt in Prompt.objects.filter(pk__in=[pk for pk, *_ in drawn]).order_by("pk"):
            file.write(json.dumps({"id": str(prompt.pk), "messages": prompt.messages}, ensure_ascii=False) + "\n")
    return path
