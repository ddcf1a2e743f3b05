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

handler400 = "feedback_site.errors.bad_request"
handler403 = "feedback_site.errors.permission_denied"
handler404 = "feedback_site.errors.page_not_found"
handler500 = "feedback_site.errors.server_error"
