"""The row is the truth, the broker is a doorbell (design, section 4)."""

from django.conf import settings
from django.db import models
from django.db.models import Q


class Job(models.Model):
    """Background work. Who runs it holds a lease; `attempt` is the fencing token of that lease."""

    class Status(models.TextChoices):
        QUEUED = "queued", "Waiting"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    kind = models.CharField(max_length=50)
    title = models.CharField(max_length=200, blank=True)
    params = models.JSONField(default=dict)
    scope = models.CharField(max_length=50, blank=True, help_text="Whose work it is, such as project:12.")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED)
    attempt = models.PositiveIntegerField(default=0)
    max_attempts = models.PositiveIntegerField(default=3)
    not_before = models.DateTimeField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    heartbeat = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=100, blank=True)
    rung_at = models.DateTimeField(null=True, blank=True, help_text="When the doorbell was last rung.")
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    fraction = models.FloatField(default=0)
    message = models.CharField(max_length=300, blank=True)
    error = models.TextField(blank=True)
    result = models.JSONField(null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                name="job_running_has_lease",
                condition=~Q(status="running") | Q(lease_until__isnull=False),
            ),
            models.CheckConstraint(
                name="job_ended_has_time",
                condition=~Q(status__in=["done", "failed", "cancelled"]) | Q(finished_at__isnull=False),
            ),
            models.CheckConstraint(name="job_fraction_0_to_1", condition=Q(fraction__gte=0, fraction__lte=1)),
        ]
        indexes = [
            models.Index(fields=["status", "id"], name="job_queue"),
            models.Index(fields=["scope", "-id"], name="job_scope"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk} ({self.status})"

    @property
    def is_over(self) -> bool:
        return self.status in {self.Status.DONE, self.Status.FAILED, self.Status.CANCELLED}


class JobLog(models.Model):
    """One line that a job said about itself, kept with the job."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="log")
    attempt = models.PositiveIntegerField()
    at = models.DateTimeField(auto_now_add=True)
    level = models.CharField(max_length=10, default="info")
    message = models.TextField()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.message
