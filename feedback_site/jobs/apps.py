from django.apps import AppConfig
from django.conf import settings
from django.utils.module_loading import autodiscover_modules


class JobsConfig(AppConfig):
    name = "feedback_site.jobs"
    label = "jobs"

    def ready(self) -> None:
        """Every room's `jobs.py` registers its handlers."""
        autodiscover_modules("jobs")
        if settings.BROKER_URL:
            import feedback_site.celery  # noqa: F401  loaded now, so that the first ring does not pay for it
