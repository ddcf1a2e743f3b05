"""A recipe over judgements, and the frozen results of it."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from annotate.models import Judgement, Project


class Dataset(models.Model):
    """A named recipe: which judgements, how aggregated, how split."""

    class Kind(models.TextChoices):
        PAIRWISE = "pairwise", "Pairwise preferences"
        LISTWISE = "listwise", "Listwise rankings"
        BINARY = "binary", "Thumbs up and down"
        DEMONSTRATION = "demonstration", "Demonstrations"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="datasets")
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=15, choices=Kind.choices)
    recipe = models.JSONField(default=dict)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(name="dataset_once", fields=["project", "name"])]

    def __str__(self) -> str:
        return self.name


class DatasetVersion(models.Model):
    """One frozen, hashed, immutable result of a dataset's recipe."""

    class Status(models.TextChoices):
        BUILDING = "building", "Building"
        READY = "ready", "Ready"

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    recipe = models.JSONField(help_text="The recipe as it was when the version was frozen.")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.BUILDING)
    job = models.OneToOneField(
        "jobs.Job", null=True, blank=True, on_delete=models.SET_NULL, related_name="dataset_version"
    )
    sha256 = models.CharField(
        max_length=64, blank=True, help_text="Of the manifest, which lists the sha256 of every file."
    )
    folder = models.CharField(max_length=300, blank=True, help_text="Below the data folder.")
    counts = models.JSONField(default=dict, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)
    frozen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(name="dataset_version_once", fields=["dataset", "number"]),
            models.CheckConstraint(name="dataset_version_ready_has_hash", condition=~Q(status="ready") | ~Q(sha256="")),
        ]

    def __str__(self) -> str:
        return f"{self.dataset} v{self.number}"

    @property
    def state(self) -> str:
        """ready, building, or how the job ended that should have built it."""
        if self.status == self.Status.BUILDING and self.job and self.job.is_over:
            return self.job.status
        return self.status


class VersionJudgement(models.Model):
    """Which judgements a version was frozen over."""

    version = models.ForeignKey(DatasetVersion, on_delete=models.CASCADE, related_name="members")
    judgement = models.ForeignKey(Judgement, on_delete=models.PROTECT, related_name="versions")

    class Meta:
        constraints = [models.UniqueConstraint(name="version_judgement_once", fields=["version", "judgement"])]

    def __str__(self) -> str:
        return f"{self.judgement_id} in {self.version_id}"
