"""Is the site alive, and can it do its work? For load balancers, process supervisors and people in a hurry."""

import os
import secrets
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Max, Min, Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from feedback_site.jobs.models import Job

Part = dict[str, Any]

# A job that nobody fetched for this long means that no worker runs, or that all of them hang.
STUCK_SECONDS = 600


@require_safe
@never_cache
@login_not_required
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers. Touches nothing else, so that a slow database does not get healthy processes killed."""
    return HttpResponse("alive\n", content_type="text/plain")


@require_safe
@never_cache
@login_not_required
def readyz(request: HttpRequest) -> JsonResponse:
    """Each part with `ok`; 503 unless the database, the data folder and the migrations are.

    Jobs are reported but decide nothing: people can judge while no worker runs, and taking the site away from them
    would help nobody.
    """
    parts: dict[str, Part] = {
        "database": answer(database),
        "data_folder": answer(data_folder),
        "migrations": answer(migrations),
        "jobs": answer(jobs),
    }
    ready = all(part["ok"] for name, part in parts.items() if name != "jobs")
    return JsonResponse({"ready": ready, "parts": parts}, status=200 if ready else 503)


def answer(look: Callable[[], Part]) -> Part:
    """What went wrong is named by its kind only: this page is public, and errors of drivers quote addresses."""
    try:
        return look()
    except (DatabaseError, OSError) as error:
        return {"ok": False, "problem": type(error).__name__}


def database() -> Part:
    """A row is written and taken back: a full disk or a read-only replica would refuse it."""
    with transaction.atomic():
        Job.objects.create(kind="readyz")
        transaction.set_rollback(True)
    return {"ok": True, "vendor": connection.vendor}


def data_folder() -> Part:
    path = settings.DATA_DIR / f".readyz-{secrets.token_hex(8)}"
    try:
        with path.open("xb") as file:
            file.write(b"ready")
    finally:
        path.unlink(missing_ok=True)
    free = os.statvfs(settings.DATA_DIR)
    return {"ok": True, "free_bytes": free.f_bavail * free.f_frsize}


def migrations() -> Part:
    executor = MigrationExecutor(connection)
    missing = [str(migration) for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]
    if missing:
        return {"ok": False, "problem": "Run: python manage.py migrate", "missing": missing}
    return {"ok": True}


def jobs() -> Part:
    """How long the oldest due job has waited, and when any worker last gave a sign of life."""
    now = timezone.now()
    due = Q(status=Job.Status.QUEUED) & (Q(not_before=None) | Q(not_before__lte=now))
    found = Job.objects.aggregate(oldest=Min("created_at", filter=due), heartbeat=Max("heartbeat"))
    waiting = (now - found["oldest"]).total_seconds() if found["oldest"] else 0.0
    silent = (now - found["heartbeat"]).total_seconds() if found["heartbeat"] else None
    stuck = waiting > STUCK_SECONDS and (silent is None or silent > STUCK_SECONDS)
    part: Part = {
        "ok": not stuck,
        "oldest_waiting_seconds": round(waiting, 1),
        "last_heartbeat": found["heartbeat"].isoformat() if found["heartbeat"] else None,
    }
    if stuck:
        part["problem"] = "Jobs wait and no worker takes them. Start one: python manage.py runworker"
    return part
