"""Files that brought prompts, completions and judgements in."""

from django.conf import settings
from django.db import models

from annotate.models.projects import Project


class ItemImport(models.Model):
    """One file, read by one Job. Batches commit as they go: a re-run of the same file adds nothing twice."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="imports")
    file_name = models.CharField(max_length=255)
    path = models.CharField(max_length=300, help_text="Below the data folder.")
    sha256 = models.CharField(max_length=64)
    bytes = models.PositiveBigIntegerField()
    dry_run = models.BooleanField(default=False)
    job = models.OneToOneField("jobs.Job", null=True, blank=True, on_delete=models.SET_NULL, related_name="item_import")
    rows = models.PositiveBigIntegerField(default=0)
    created_items = models.PositiveBigIntegerField(default=0)
    created_judgements = models.PositiveBigIntegerField(default=0)
    duplicates = models.PositiveBigIntegerField(default=0)
    problem_count = models.PositiveBigIntegerField(default=0)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.file_name


class ImportProblem(models.Model):
    """One row that was refused: which, why, and how to cure it."""

    item_import = models.ForeignKey(ItemImport, on_delete=models.CASCADE, related_name="problems")
    row = models.PositiveBigIntegerField(help_text="Counted from 0, as the index of an API batch.")
    field = models.CharField(max_length=100, blank=True)
    message = models.TextField()

    class Meta:
        ordering = ["row", "id"]

    def __str__(self) -> str:
        return f"row {self.row}: {self.message}"
