"""What datasets look like in the API."""

import inspect
from typing import Any

from rest_framework import serializers

from exports.models import Dataset, DatasetVersion
from exports.recipe import Recipe
from exports.writers.formats import FORMATS
from feedback_site.lib.serializers import Choice


class DatasetInput(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)
    kind = Choice(choices=Dataset.Kind.choices)
    recipe = serializers.DictField(required=False, default=dict, help_text=inspect.getdoc(Recipe))


class DatasetOutput(serializers.ModelSerializer[Dataset]):
    project = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    versions = serializers.SerializerMethodField()

    class Meta:
        model = Dataset
        fields = ["id", "project", "name", "kind", "recipe", "versions", "created_at"]

    def get_versions(self, dataset: Dataset) -> list[int]:
        return sorted(version.number for version in dataset.versions.all())


class VersionOutput(serializers.ModelSerializer[DatasetVersion]):
    status = serializers.CharField(source="state")
    version = serializers.IntegerField(source="number")
    files = serializers.SerializerMethodField()

    class Meta:
        model = DatasetVersion
        fields = [
            "id", "dataset", "version", "status", "recipe", "counts", "sha256", "job", "files", "created_at",
            "frozen_at",
        ]  # fmt: skip

    def get_files(self, version: DatasetVersion) -> dict[str, str]:
        """The address of each format, once the version is ready."""
        if version.status != DatasetVersion.Status.READY:
            return {}
        base = f"/api/v1/datasets/{version.dataset_id}/versions/{version.number}/files"
        return {name: f"{base}/{name}/" for name in FORMATS}
