"""The only way to load a job from a request. Whose jobs somebody sees is said by the rooms above (JOB_VISIBILITY)."""

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404
from django.utils.module_loading import import_string

from feedback_site.accounts.models import User
from feedback_site.jobs.joblog import FOR_STAFF
from feedback_site.jobs.models import Job, JobLog


def visible_jobs(user: User | AnonymousUser, may: str = "review") -> QuerySet[Job]:
    """The jobs that the user may see, or with `may="manage"` those they may cancel and retry."""
    jobs: QuerySet[Job] = import_string(settings.JOB_VISIBILITY)(user, may)
    return jobs.select_related("created_by")


def get_job(user: User | AnonymousUser, pk: int, may: str = "review") -> Job:
    """Outsiders get the same 404 as for a job that does not exist; those who may only look get 403."""
    job = visible_jobs(user).filter(pk=pk).first()
    if job is None:
        raise Http404
    if may != "review" and not may_manage(user, job):
        raise PermissionDenied("You may look at this job; ask a manager of its project to cancel or retry it.")
    return job


def may_manage(user: User | AnonymousUser, job: Job) -> bool:
    return visible_jobs(user, "manage").filter(pk=job.pk).exists()


def scope_titles(user: User | AnonymousUser) -> dict[str, str]:
    """The names by which the user can filter jobs, under their scope."""
    titles: dict[str, str] = import_string(settings.JOB_SCOPE_TITLES)(user)
    return titles


def visible_log(user: User | AnonymousUser, job: Job) -> QuerySet[JobLog]:
    """What the job said. Tracebacks are for staff."""
    return job.log.all() if user.is_staff else job.log.exclude(level=FOR_STAFF)
