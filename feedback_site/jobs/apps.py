from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class JobsConfig(AppConfig):
    name = "feedback_site.jobs"
    label = "jobs"

    def ready(self) -> None:
        """Every room's `jobs.py` registers its handlers."""
        autodiscover_modules("jobs")
