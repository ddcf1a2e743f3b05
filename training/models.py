"""Runs of the engine, and the models that they made."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from annotate.models import Project
from exports.models import DatasetVersion


class Model(models.Model):
    """A registered policy or reward model: a folder, and where it came from.

    An encoder is what a reward model may start from: it neither writes completions nor scores them yet.
    """

    class Kind(models.TextChoices):
        POLICY = "policy", "Policy"
        REWARD = "reward", "Reward model"
        ENCODER = "encoder", "Encoder"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="models")
    name = models.CharField(max_length=150)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    folder = models.CharField(max_length=500, help_text="Below the data folder, or a hub id.")
    weights_sha256 = models.CharField(max_length=64, blank=True)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    run = models.OneToOneField("Run", null=True, blank=True, on_delete=models.PROTECT, related_name="output_model")
    dataset_version = models.ForeignKey(
        DatasetVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="models"
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(name="model_name_once", fields=["project", "name"])]

    def __str__(self) -> str:
        return self.name


class ModelAlias(models.Model):
    """A name that moves, such as `champion`. Moving it is one UPDATE, so that readers see the old or the new model."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="model_aliases")
    name = models.SlugField(max_length=50)
    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="aliases")
    previous = models.ForeignKey(Model, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    moved_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    moved_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(name="model_alias_once", fields=["project", "name"])]

    def __str__(self) -> str:
        return f"{self.name} → {self.model}"


class Run(models.Model):
    """One execution of the engine. Its folder holds spec, progress and results; its job says how it goes."""

    class Task(models.TextChoices):
        TRAIN = "train", "Train"
        SAMPLE = "sample", "Sample"
        STARTER = "starter", "Make the starter policy"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="runs")
    task = models.CharField(max_length=10, choices=Task.choices)
    method = models.CharField(max_length=40, blank=True)
    model = models.ForeignKey(Model, null=True, blank=True, on_delete=models.PROTECT, related_name="runs")
    dataset_version = models.ForeignKey(
        DatasetVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="runs"
    )
    config = models.JSONField(default=dict, blank=True, help_text="Of the engine, every default spelled out.")
    selection = models.JSONField(
        default=dict, blank=True, help_text="For sampling: how many prompts, and whether the answers become items."
    )
    folder = models.CharField(max_length=300, help_text="Below the data folder.")
    job = models.OneToOneField("jobs.Job", null=True, blank=True, on_delete=models.SET_NULL, related_name="run")
    result = models.JSONField(null=True, blank=True, help_text="result.json, once its sums were verified.")
    collected_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(name="run_train_has_method", condition=~Q(task="train") | ~Q(method="")),
            models.CheckConstraint(
                name="run_collected_has_result", condition=Q(collected_at__isnull=True) | Q(result__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"run {self.pk} ({self.method or self.task})"
