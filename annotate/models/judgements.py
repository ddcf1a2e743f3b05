"""What annotators said. Rows are only ever added."""

from django.db import models
from django.db.models import Q

from annotate.models.items import Item, Slot
from annotate.models.projects import Annotator, Project


class Judgement(models.Model):
    """What one annotator said about one item. Append-only: a change of mind is a new row that `replaces` the old one.

    The current judgement of an annotator on an item is the end of that chain, unless it is a withdrawal.
    """

    class Action(models.TextChoices):
        JUDGED = "judged", "Judged"
        WITHDRAWN = "withdrawn", "Withdrawn"

    class Source(models.TextChoices):
        BROWSER = "browser", "Browser"
        API = "api", "API"
        IMPORT = "import", "Import"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="judgements")
    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="judgements")
    slot = models.ForeignKey(Slot, null=True, blank=True, on_delete=models.PROTECT, related_name="judgements")
    annotator = models.ForeignKey(Annotator, on_delete=models.PROTECT, related_name="judgements")
    submission_id = models.UUIDField(unique=True)
    payload_sha256 = models.CharField(max_length=64, help_text="Of the canonical JSON that came with the submission.")
    action = models.CharField(max_length=10, choices=Action.choices, default=Action.JUDGED)
    verdict = models.JSONField(default=dict)
    seconds = models.FloatField(null=True, blank=True, help_text="From both completions shown to submission.")
    display_order = models.JSONField(null=True, blank=True, help_text="Completion uids, left to right, as shown.")
    source = models.CharField(max_length=10, choices=Source.choices)
    over_quota = models.BooleanField(
        default=False, help_text="The lease had passed to somebody else; kept, not counted."
    )
    replaces = models.OneToOneField("self", null=True, blank=True, on_delete=models.PROTECT, related_name="replaced_by")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                name="judgement_first_once", fields=["item", "annotator"], condition=Q(replaces__isnull=True)
            ),
            models.CheckConstraint(
                name="judgement_withdrawal_replaces", condition=~Q(action="withdrawn") | Q(replaces__isnull=False)
            ),
        ]
        indexes = [models.Index(fields=["project", "id"], name="judgement_project")]

    def __str__(self) -> str:
        return f"judgement {self.pk} of item {self.item_id}"
