"""Every address of the site. Each room brings its own pages and its own part of the API."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("feedback_site.health_urls")),
    path("", include("feedback_site.accounts.urls")),
    path("", include("feedback_site.jobs.urls")),
    path("", include("annotate.urls")),
    path("", include("exports.urls")),
    path("", include("training.urls")),
    path("api/v1/", include("feedback_site.api_urls")),
    path("admin/", admin.site.urls),
]
