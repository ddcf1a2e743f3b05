"""Freezing which judgements a version holds, and writing its files. Runs inside a job."""

import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from annotate.models import ItemCompletion, Judgement
from annotate.selectors import current_judgements
from exports.aggregate import GROUPED, ROWS, Candidate, Judged, by_group
from exports.listwise import listwise_rows
from exports.models import Dataset, DatasetVersion, VersionJudgement
from exports.recipe import Recipe, read_recipe
from exports.slices import SliceFinder
from exports.splits import SPLITS, split_of
from exports.writers.version_files import VersionWriter
from feedback_site.jobs.context import JobContext, JobFailed

ITEMS_AT_ONCE = 500


class Watcher(Protocol):
    def __call__(self, fraction: float, message: str) -> None: ...


def build_version(*, version: DatasetVersion, context: JobContext) -> dict[str, Any]:
    """Freeze, write, publish. Repeating it after a crash gives the same bytes.

    The members are frozen in one fenced transaction; the files appear under their final name only when all are written,
    in the same fenced transaction that marks the version ready.
    """
    if version.frozen_at is None:
        with context.fenced():
            freeze(version=version)
    recipe = read_recipe(version.recipe)
    final = version_folder(version)
    part = final.with_name(f".{final.name}.attempt{context.attempt}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        counts, sha256 = write_files(version=version, recipe=recipe, folder=part, watch=context.progress)
        with context.fenced():
            # Left over when an earlier attempt died between the rename and its commit.
            shutil.rmtree(final, ignore_errors=True)
            part.rename(final)
            DatasetVersion.objects.filter(pk=version.pk).update(
                status=DatasetVersion.Status.READY,
                sha256=sha256,
                folder=str(final.relative_to(settings.DATA_DIR)),
                counts=counts,
            )
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return {"dataset": version.dataset_id, "version": version.number, "sha256": sha256, "counts": counts}


def version_folder(version: DatasetVersion) -> Path:
    return Path(settings.DATA_DIR) / "datasets" / str(version.dataset_id) / f"v{version.number}"


def freeze(*, version: DatasetVersion) -> None:
    """Write down which judgements are in the version. Call inside a transaction; one SELECT decides."""
    recipe = read_recipe(version.recipe)
    judgements = counted_judgements(version.dataset, recipe)
    VersionJudgement.objects.bulk_create(
        (VersionJudgement(version=version, judgement_id=pk) for pk in judgements.values_list("pk", flat=True)),
        batch_size=1000,
    )
    version.frozen_at = timezone.now()
    version.save(update_fields=["frozen_at"])


def counted_judgements(dataset: Dataset, recipe: Recipe) -> QuerySet[Judgement]:
    """The current judgements of the project that the recipe counts."""
    judgements = current_judgements(dataset.project)
    if not recipe.over_quota:
        judgements = judgements.filter(over_quota=False)
    if recipe.judges == "people":
        judgements = judgements.exclude(annotator__user__is_machine=True)
    return judgements


def write_files(*, version: DatasetVersion, recipe: Recipe, folder: Path, watch: Watcher) -> tuple[dict[str, Any], str]:
    """All files of the version and their manifest. Returns the counts and the manifest's sha256."""
    total = version.members.count()
    rows: Counter[str] = Counter()
    prompts: dict[str, set[str]] = {split: set() for split in SPLITS}
    seen = 0
    finder = SliceFinder(recipe.slice)
    with VersionWriter(folder, kind=version.dataset.kind) as writer:
        for sha256, group in groupby(judged_items(version, finder), key=lambda judged: judged.prompt_sha256):
            items = list(group)
            seen += sum(len(judged.verdicts) for judged in items)
            enough = [judged for judged in items if len(judged.verdicts) >= recipe.min_judgements]
            split = split_of(sha256, validation=recipe.validation, test=recipe.test, seed=recipe.seed)
            for row in _rows(version.dataset.kind, enough, recipe):
                writer.write(row | {"split": split})
                rows[split] += 1
                prompts[split].add(sha256)
            watch(0.95 * seen / max(total, 1), f"{seen} of {total} judgements")
    if not rows:
        raise JobFailed(_why_empty(version, total))
    finder.check_found()
    counts = {
        "judgements": total,
        "rows": {split: rows[split] for split in SPLITS},
        "prompts": {split: len(prompts[split]) for split in SPLITS},
    }
    return counts, writer.write_manifest({"kind": version.dataset.kind, "recipe": version.recipe, "counts": counts})


def _rows(kind: str, items: list[Judged], recipe: Recipe) -> Iterator[dict[str, Any]]:
    """The rows of one prompt: of each item by itself, or of all of them together for lists."""
    if kind == Dataset.Kind.LISTWISE:
        return listwise_rows(items, recipe)
    if kind in GROUPED:
        items = [part for judged in items for part in by_group(judged, recipe)]
    return chain.from_iterable(ROWS[kind](judged, recipe) for judged in items)


def judged_items(version: DatasetVersion, finder: SliceFinder) -> Iterator[Judged]:
    """The frozen judgements, item by item, in an order that depends on their content only."""
    rows = (
        Judgement.objects.filter(versions__version=version)
        .order_by("item__prompt__sha256", "item__key", "id")
        .values_list(
            "item_id",
            "id",
            "verdict",
            "annotator__name",
            "item__key",
            "item__kind",
            "item__prompt__sha256",
            "item__prompt__messages",
            *finder.columns,
        )
        .iterator(chunk_size=2000)
    )
    groups = ((item, list(members)) for item, members in groupby(rows, key=lambda row: row[0]))
    while chunk := list(_take(groups, ITEMS_AT_ONCE)):
        candidates = _candidates([item for item, _ in chunk])
        for item, members in chunk:
            _, _, _, _, key, kind, sha256, messages, *described = members[0]
            yield Judged(
                key=key,
                prompt_sha256=sha256,
                prompt=[{"role": part["role"], "content": part["content"]} for part in messages],
                kind=kind,
                candidates=tuple(candidates[item]),
                verdicts=tuple(row[2] for row in members),
                judgements=tuple(row[1] for row in members),
                annotators=tuple(row[3] for row in members),
                slice=finder.slice_of(described),
            )


def _take(groups: Iterator[tuple[int, list[Any]]], most: int) -> Iterator[tuple[int, list[Any]]]:
    for _ in range(most):
        group = next(groups, None)
        if group is None:
            return
        yield group


def _candidates(items: list[int]) -> dict[int, list[Candidate]]:
    found: dict[int, list[Candidate]] = {item: [] for item in items}
    parts = ItemCompletion.objects.filter(item_id__in=items).order_by("item_id", "index")
    for item, uid, text, model in parts.values_list(
        "item_id", "completion__uid", "completion__text", "completion__model_name"
    ):
        found[item].append(Candidate(uid=uid, text=text, model=model))
    return found


def _why_empty(version: DatasetVersion, total: int) -> str:
    if total == 0:
        return "There are no judgements to build from yet. Judge some items, or import judged rows, and build again."
    kind = Dataset.Kind(version.dataset.kind)
    cures = {
        Dataset.Kind.LISTWISE: "or judge more, for a list needs two completions of which one is better.",
        Dataset.Kind.DEMONSTRATION: "or add a source of demonstrations to the recipe.",
    }
    return (
        f"None of the {total} judgements gives a row of a {kind} dataset under this recipe. "
        f"Lower min_judgements, {cures.get(kind, 'or use aggregation “soft” to keep ties.')}"
    )
