"""Making datasets and starting builds."""

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max

from annotate.access import job_scope
from annotate.models import Annotator, Project
from exports.aggregate import GROUPED
from exports.models import Dataset, DatasetVersion
from exports.recipe import Recipe, RecipeError, read_recipe
from feedback_site.accounts.models import User
from feedback_site.jobs.services import enqueue

# Which kinds of dataset the judgements of a kind of project can become. Nobody can be asked for ratings yet, so there
# is no task type whose ratings a dataset could hold.
POSSIBLE = {
    Project.Kind.PAIRWISE: {
        Dataset.Kind.PAIRWISE,
        Dataset.Kind.LISTWISE,
        Dataset.Kind.BINARY,
        Dataset.Kind.DEMONSTRATION,
    },
    Project.Kind.LISTWISE: {Dataset.Kind.LISTWISE},
    Project.Kind.BINARY: {Dataset.Kind.BINARY, Dataset.Kind.DEMONSTRATION},
}
# How many annotators an error names.
NAMES_SHOWN = 10


class DatasetError(ValueError):
    """A dataset that cannot be made: which field, and the cure."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def create_dataset(
    *, project: Project, name: str, kind: str, recipe: dict[str, Any], created_by: User | None
) -> Dataset:
    """One INSERT. Raises DatasetError. The stored recipe spells out every key, also the defaults."""
    if kind not in POSSIBLE.get(Project.Kind(project.kind), set()):
        known = ", ".join(sorted(POSSIBLE.get(Project.Kind(project.kind), set()))) or "none yet"
        raise DatasetError("kind", f"A {project.kind} project cannot become a {kind} dataset. Possible: {known}.")
    if project.kind == Project.Kind.PAIRWISE and kind == Dataset.Kind.BINARY:
        if recipe.get("pairs_as_labels") is False:
            raise DatasetError("recipe.pairs_as_labels", "Pairs become labels only with pairs_as_labels: true.")
        recipe = recipe | {"pairs_as_labels": True}
    try:
        checked = read_recipe(recipe)
        _check_groups(project, kind, checked)
    except RecipeError as error:
        raise DatasetError(f"recipe.{error.field}", error.message) from None
    try:
        with transaction.atomic():
            return Dataset.objects.create(
                project=project, name=name, kind=kind, recipe=checked.as_json(), created_by=created_by
            )
    except IntegrityError:
        raise DatasetError("name", f"This project has a dataset “{name}” already; choose another name.") from None


def _check_groups(project: Project, kind: str, recipe: Recipe) -> None:
    """RecipeError for groups that cannot become rows: in kinds without them, or of people who never judged here."""
    if recipe.groups and kind not in GROUPED:
        raise RecipeError(
            "groups", f"{kind.capitalize()} rows have no group; only those of {' and '.join(GROUPED)} datasets do."
        )
    named = {name for annotators in recipe.groups.values() for name in annotators}
    known = set(Annotator.objects.filter(project=project).values_list("name", flat=True)) if named else set()
    if strangers := sorted(named - known):
        there = ", ".join(f"“{name}”" for name in sorted(known)[:NAMES_SHOWN]) or "nobody yet"
        more = f" and {len(known) - NAMES_SHOWN:,} more" if len(known) > NAMES_SHOWN else ""
        raise RecipeError("groups", f"Nobody called “{strangers[0]}” has judged here. Who has: {there}{more}.")


def start_build(*, dataset: Dataset, created_by: User | None) -> DatasetVersion:
    """A new version and the job that freezes and builds it, in one transaction."""
    with transaction.atomic():
        # The lock orders two builds started at once; SQLite's IMMEDIATE transactions do the same.
        Dataset.objects.select_for_update().get(pk=dataset.pk)
        number = (dataset.versions.aggregate(last=Max("number"))["last"] or 0) + 1
        version = DatasetVersion.objects.create(
            dataset=dataset, number=number, recipe=dataset.recipe, created_by=created_by
        )
        version.job = enqueue(
            kind="build_dataset",
            title=f"Build {dataset.name} v{number}",
            params={"version": version.pk},
            created_by=created_by,
            scope=job_scope(dataset.project),
        )
        version.save(update_fields=["job"])
    return version
