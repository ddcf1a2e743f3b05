from django.urls import path

from feedback_site.jobs import pages

urlpatterns = [
    path("jobs/", pages.jobs, name="jobs"),
    path("jobs/<int:pk>/", pages.job, name="job"),
    path("jobs/<int:pk>/progress/", pages.job_progress, name="job_progress"),
    path("jobs/<int:pk>/log/", pages.job_log, name="job_log"),
    path("jobs/<int:pk>/cancel/", pages.job_cancel, name="job_cancel"),
    path("jobs/<int:pk>/retry/", pages.job_retry, name="job_retry"),
]
