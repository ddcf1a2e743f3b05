"""Building a version as a worker does."""

from exports.models import Dataset, DatasetVersion
from exports.services.datasets import create_dataset, start_build
from tests.jobs import run_all_jobs


def build(project, kind="pairwise", name="pairs", **recipe) -> DatasetVersion:
    dataset = create_dataset(project=project, name=name, kind=kind, recipe=recipe, created_by=None)
    return build_again(dataset)


def build_again(dataset: Dataset) -> DatasetVersion:
    version = start_build(dataset=dataset, created_by=None)
    run_all_jobs()
    version.refresh_from_db()
    return version
