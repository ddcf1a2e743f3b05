from django.apps import AppConfig


class FeedbackSiteConfig(AppConfig):
    name = "feedback_site"
    label = "feedback_site"

    def ready(self) -> None:
        from feedback_site import checks  # noqa: F401 - registers them
