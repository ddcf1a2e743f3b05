from django.urls import path

from feedback_site.jobs import api

urlpatterns = [
    path("jobs/", api.Jobs.as_view(), name="api_jobs"),
    path("jobs/<int:pk>/", api.JobDetail.as_view(), name="api_job"),
    path("jobs/<int:pk>/log/", api.JobLogLines.as_view(), name="api_job_log"),
    path("jobs/<int:pk>/cancel/", api.JobCancel.as_view(), name="api_job_cancel"),
    path("jobs/<int:pk>/retry/", api.JobRetry.as_view(), name="api_job_retry"),
]
