"""`/api/v1/`: the addresses of design section 7, by room."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from feedback_site.docs import SwaggerPage

urlpatterns = [
    path("", include("feedback_site.accounts.api_urls")),
    path("", include("feedback_site.jobs.api_urls")),
    path("", include("annotate.api.urls")),
    path("", include("exports.api.urls")),
    path("", include("training.api.urls")),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", SwaggerPage.as_view(url_name="schema"), name="docs"),
]
