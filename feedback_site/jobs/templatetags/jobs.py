"""What the templates of jobs say in words."""

from django import template
from django.template.context import RequestContext
from django.utils import timezone

from feedback_site.jobs import registry
from feedback_site.jobs.access import may_manage
from feedback_site.jobs.models import Job

register = template.Library()

BADGES = {"running": "badge-info", "done": "badge-good", "failed": "badge-bad", "cancelled": "badge-warn"}
LONELY_SECONDS = 20


@register.filter
def badge(job: Job) -> str:
    """The class of the badge that names the job's state."""
    return BADGES.get(job.status, "")


@register.filter
def percent(job: Job) -> int:
    return int(job.fraction * 100)


@register.simple_tag(takes_context=True)
def may_manage_job(context: RequestContext, job: Job) -> bool:
    return may_manage(context["request"].user, job)


@register.filter
def standing(job: Job) -> str:
    """What is going on, in a sentence, where the job itself says nothing."""
    if job.status == Job.Status.RUNNING:
        if job.lease_until and job.lease_until < timezone.now():
            return "Its worker stopped answering. Another one takes over soon."
        return "Stopping at its next step." if job.cancel_requested_at else job.message
    return _why_it_waits(job) if job.status == Job.Status.QUEUED else job.message


def _why_it_waits(job: Job) -> str:
    now = timezone.now()
    if job.not_before and job.not_before > now:
        return job.message
    at_work = set(Job.objects.filter(status=Job.Status.RUNNING, lease_until__gt=now).values_list("kind", flat=True))
    alone = registry.of_whole_machine()
    earlier = Job.objects.filter(status=Job.Status.QUEUED, pk__lt=job.pk).exclude(not_before__gt=now)
    if job.kind not in alone and at_work.intersection(alone):
        earlier = earlier.exclude(kind__in=alone)  # they wait for a run, which this one need not
    if before := earlier.count():
        return f"{before} {'job is' if before == 1 else 'jobs are'} before it."
    if job.kind in alone and at_work.intersection(alone):
        return "It starts when the run before it is over. Two at once would take longer than one after the other."
    if not at_work and (now - job.created_at).total_seconds() > LONELY_SECONDS:
        return "No worker has come for it yet. Is one running? Start one with: manage.py runworker"
    return "It starts as soon as a worker is free."
