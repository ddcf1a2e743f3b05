"""What must always hold of datasets. `manage.py verify` runs it."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from exports.models import DatasetVersion


def check_files() -> Iterator[str]:
    """Every file of every ready version is there and has the sum that its manifest states."""
    for version in DatasetVersion.objects.filter(status=DatasetVersion.Status.READY).select_related("dataset"):
        folder = Path(settings.DATA_DIR) / version.folder
        try:
            manifest = (folder / "manifest.json").read_bytes()
            if hashlib.sha256(manifest).hexdigest() != version.sha256:
                yield f"{version}: manifest.json has changed since it was built."
                continue
            for name, file in json.loads(manifest)["files"].items():
                with (folder / name).open("rb") as content:
                    if hashlib.file_digest(content, "sha256").hexdigest() != file["sha256"]:
                        yield f"{version}: {name} has changed since it was built."
        except OSError as error:
            yield f"{version}: {error.filename} cannot be read ({error.strerror})."


CHECKS = [
    (
        "version_judgement_project",
        "A version holds judgements of its own project only.",
        """
        SELECT m.id FROM exports_versionjudgement m
        JOIN exports_datasetversion v ON v.id = m.version_id
        JOIN exports_dataset d ON d.id = v.dataset_id
        JOIN annotate_judgement j ON j.id = m.judgement_id
        WHERE j.project_id <> d.project_id
        """,
    ),
    (
        "version_ready_frozen",
        "A ready version is frozen and has members.",
        """
        SELECT v.id FROM exports_datasetversion v
        WHERE v.status = 'ready' AND (v.frozen_at IS NULL
            OR NOT EXISTS (SELECT 1 FROM exports_versionjudgement m WHERE m.version_id = v.id))
        """,
    ),
    ("version_files", "Every file of a ready version has its stated sha256.", check_files),
]
