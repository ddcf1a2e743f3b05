from django.apps import AppConfig


class FeedbackSiteConfig(AppConfig):
    name = "feedback_site"
    label = "feedback_site"
