from django.apps import AppConfig


class ProbesConfig(AppConfig):
    name = "tests.feedback_site.jobs.probes"
    label = "probes"
