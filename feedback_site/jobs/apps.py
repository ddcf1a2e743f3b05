from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "feedback_site.jobs"
    label = "jobs"
