"""Prompts and completions: what was asked and what was answered."""

import secrets

from django.db import models
from django.db.models import Q

from annotate.models.projects import Annotator, Project


def new_uid() -> str:
    """A random public name, so that neither order nor origin of a completion can be read off it."""
    return "c" + secrets.token_hex(8)


class Prompt(models.Model):
    """A list of chat messages `[{role, content}]`, identified by the sha256 of its canonical JSON."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prompts")
    sha256 = models.CharField(max_length=64)
    messages = models.JSONField()
    metadata = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(name="prompt_once", fields=["project", "sha256"])]

    def __str__(self) -> str:
        return self.sha256[:12]


class Completion(models.Model):
    """One answer to a prompt, with where it came from."""

    class Source(models.TextChoices):
        IMPORT = "import", "Imported"
        MODEL = "model", "Sampled"
        HUMAN = "human", "Written by a person"

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="completions")
    uid = models.CharField(max_length=20, unique=True, default=new_uid)
    text = models.TextField()
    sha256 = models.CharField(max_length=64, help_text="Of the text in UTF-8.")
    source = models.CharField(max_length=10, choices=Source.choices)
    model_name = models.CharField(max_length=150, blank=True, help_text="Never shown to annotators.")
    model_id = models.PositiveBigIntegerField(null=True, blank=True, help_text="The registered Model, if it has one.")
    run_id = models.PositiveBigIntegerField(null=True, blank=True, help_text="The Run that sampled it, if one did.")
    author = models.ForeignKey(Annotator, null=True, blank=True, on_delete=models.PROTECT)
    sampling = models.JSONField(default=dict, blank=True, help_text="Temperature, top-p, seed and the like.")
    token_ids = models.JSONField(null=True, blank=True)
    logprob = models.FloatField(
        null=True, blank=True, help_text="Of the whole completion under the model that wrote it."
    )
    metadata = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="completion_once", fields=["prompt", "sha256", "model_name"]),
            models.CheckConstraint(name="completion_not_empty", condition=~Q(text="")),
        ]
        indexes = [models.Index(fields=["model_id"], name="completion_model")]

    def __str__(self) -> str:
        return self.uid
