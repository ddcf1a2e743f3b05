"""What must always hold of runs and models. `manage.py verify` runs it."""

from collections.abc import Iterator
from pathlib import Path

from training.engine.modelfiles import weights_sha256
from training.models import Model
from training.paths import model_location


def check_weights() -> Iterator[str]:
    """The weights of every registered folder are those that were registered."""
    for model in Model.objects.exclude(weights_sha256=""):
        folder = Path(model_location(model))
        if not folder.is_dir():
            yield f"{model}: its folder {model.folder} is gone."
        elif weights_sha256(folder) != model.weights_sha256:
            yield f"{model}: its weights have changed since it was registered."


CHECKS = [
    (
        "run_done_collected",
        "A run whose job is done was collected.",
        """
        SELECT r.id FROM training_run r JOIN jobs_job j ON j.id = r.job_id
        WHERE j.status = 'done' AND r.collected_at IS NULL
        """,
    ),
    (
        "run_model_project",
        "A run, its model and its dataset version belong to one project.",
        """
        SELECT r.id FROM training_run r
        LEFT JOIN training_model m ON m.id = r.model_id
        LEFT JOIN exports_datasetversion v ON v.id = r.dataset_version_id
        LEFT JOIN exports_dataset d ON d.id = v.dataset_id
        WHERE m.project_id <> r.project_id OR d.project_id <> r.project_id
        """,
    ),
    (
        "run_one_model",
        "A collected training run made exactly one model.",
        """
        SELECT r.id FROM training_run r
        WHERE r.task <> 'sample' AND r.collected_at IS NOT NULL
          AND (SELECT COUNT(*) FROM training_model m WHERE m.run_id = r.id) <> 1
        """,
    ),
    (
        "completion_run",
        "A sampled completion names a run and a model of its own project.",
        """
        SELECT c.id FROM annotate_completion c JOIN annotate_prompt p ON p.id = c.prompt_id
        LEFT JOIN training_run r ON r.id = c.run_id
        LEFT JOIN training_model m ON m.id = c.model_id
        WHERE c.source = 'model' AND c.run_id IS NOT NULL
          AND (r.id IS NULL OR m.id IS NULL OR r.project_id <> p.project_id OR m.project_id <> p.project_id)
        """,
    ),
    ("model_weights", "The weights of a model never change.", check_weights),
]
