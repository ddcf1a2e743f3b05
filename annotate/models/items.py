"""What gets judged, and the places for the people who judge it."""

from django.db import models
from django.db.models import F, Q

from annotate.models.content import Completion, Prompt
from annotate.models.projects import Annotator, Project


class Item(models.Model):
    """A prompt and 1..K of its completions. `overlap` slots stand for the annotators who are to judge it."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="items")
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="items")
    kind = models.CharField(max_length=10, choices=Project.Kind.choices)
    key = models.CharField(
        max_length=64, help_text="sha256 of the prompt and of its completions in any order: the same item is one item."
    )
    completions: models.ManyToManyField = models.ManyToManyField(Completion, through="ItemCompletion")
    overlap = models.PositiveSmallIntegerField()
    external_id = models.CharField(max_length=200, blank=True)
    priority = models.FloatField(default=0)
    metadata = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="item_once", fields=["project", "key"]),
            models.CheckConstraint(name="item_overlap_positive", condition=Q(overlap__gte=1)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} item {self.pk}"


class ItemCompletion(models.Model):
    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="parts")
    completion = models.ForeignKey(Completion, on_delete=models.PROTECT, related_name="parts")
    index = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ["index"]
        constraints = [
            models.UniqueConstraint(name="item_completion_once", fields=["item", "completion"]),
            models.UniqueConstraint(name="item_completion_index", fields=["item", "index"]),
        ]

    def __str__(self) -> str:
        return f"{self.item_id}[{self.index}]"


class Slot(models.Model):
    """One place for one annotator on one item. Open → leased → done, or void."""

    class State(models.TextChoices):
        OPEN = "open", "Open"
        LEASED = "leased", "Leased"
        DONE = "done", "Done"
        VOID = "void", "Void"

    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="slots")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="slots")
    number = models.PositiveSmallIntegerField(help_text="From 0.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    annotator = models.ForeignKey(Annotator, null=True, blank=True, on_delete=models.PROTECT, related_name="slots")
    lease_token = models.UUIDField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    leased_at = models.DateTimeField(null=True, blank=True)
    display_order = models.JSONField(
        null=True, blank=True, help_text="Completion uids from left to right, as the annotator saw them."
    )
    priority = models.FloatField(default=0, help_text="Copied from the item, for the claim's index.")
    shuffle_key = models.FloatField(default=0, help_text="Random in [0, 1), so that items come in no particular order.")

    class Meta:
        constraints = [
            models.UniqueConstraint(name="slot_number_once", fields=["item", "number"]),
            models.UniqueConstraint(name="slot_annotator_once", fields=["item", "annotator"]),
            models.UniqueConstraint(
                name="slot_one_lease", fields=["project", "annotator"], condition=Q(state="leased")
            ),
            models.CheckConstraint(
                name="slot_open_has_nobody",
                condition=~Q(state="open") | Q(annotator__isnull=True, lease_token__isnull=True),
            ),
            models.CheckConstraint(
                name="slot_leased_has_lease",
                condition=~Q(state="leased")
                | Q(annotator__isnull=False, lease_token__isnull=False, lease_expires_at__isnull=False),
            ),
            models.CheckConstraint(
                name="slot_done_has_annotator", condition=~Q(state="done") | Q(annotator__isnull=False)
            ),
        ]
        indexes = [
            models.Index(
                F("project"),
                F("priority").desc(),
                F("shuffle_key"),
                name="slot_claim",
                condition=Q(state__in=["open", "leased"]),
            ),
        ]

    def __str__(self) -> str:
        return f"slot {self.number} of item {self.item_id} ({self.state})"


class Skip(models.Model):
    """Somebody passed on an item: it is not offered to them again."""

    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="skips")
    annotator = models.ForeignKey(Annotator, on_delete=models.PROTECT, related_name="skips")
    reason = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(name="skip_once", fields=["item", "annotator"])]

    def __str__(self) -> str:
        return f"{self.annotator} skipped item {self.item_id}"
