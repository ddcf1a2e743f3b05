"""People and machines that can sign in, and the tokens they use from programs."""

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone


class User(AbstractUser):
    """Somebody who signs in. Scripted annotators are users too, marked as machines wherever their work is shown."""

    is_machine = models.BooleanField(default=False)
    can_create_projects = models.BooleanField(
        default=True,
        help_text="Projects bring files in and start training. Who was invited to judge or to view does without.",
    )


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def usable(self) -> "ApiTokenQuerySet":
        now = timezone.now()
        alive = models.Q(expires_at=None) | models.Q(expires_at__gt=now)
        return self.filter(alive, revoked_at=None, user__is_active=True)


class ApiToken(models.Model):
    """A bearer token. Only its digest is stored: the token itself is shown once, when it is made."""

    class Scope(models.TextChoices):
        READ = "read", "Read"
        ANNOTATE = "annotate", "Judge items"
        MANAGE = "manage", "Manage projects, data and runs"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12, help_text="The first characters, to recognise it by.")
    digest = models.CharField(max_length=64, unique=True, help_text="sha256 of the token.")
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.prefix}… ({self.name})"


class Attempts(models.Model):
    """How often something was tried within a window of time, such as signing in from one address (see guard.py)."""

    key = models.CharField(
        max_length=64, unique=True, help_text="sha256, since people type passwords into name fields."
    )
    count = models.PositiveIntegerField()
    ends_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "attempts"

    def __str__(self) -> str:
        return f"{self.count} until {self.ends_at:%H:%M:%S}"
