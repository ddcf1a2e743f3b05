"""Run background work inside a test, through the code that workers use."""

from feedback_site.jobs.models import Job
from feedback_site.jobs.runner import claim, execute


def run_all_jobs(limit: int = 100) -> list[Job]:
    """Do what waits, what that enqueues, and what is to be tried again; returns the jobs that ran, oldest first."""
    ran: set[int] = set()
    for _ in range(limit):
        Job.objects.filter(status=Job.Status.QUEUED).update(not_before=None)
        job = claim()
        if job is None:
            return list(Job.objects.filter(pk__in=ran).order_by("pk"))
        execute(job)
        ran.add(job.pk)
    raise AssertionError(f"there is still work after {limit} turns: {list(Job.objects.filter(status='queued'))}")
