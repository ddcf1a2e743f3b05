from django.urls import path

from training.api import methods, models, runs

urlpatterns = [
    path("methods/", methods.Methods.as_view(), name="api_methods"),
    path("runs/", runs.Runs.as_view(), name="api_runs"),
    path("runs/<int:pk>/", runs.OneRun.as_view(), name="api_run"),
    path("runs/<int:pk>/metrics/", runs.RunMetrics.as_view(), name="api_run_metrics"),
    path("runs/<int:pk>/cancel/", runs.CancelRun.as_view(), name="api_run_cancel"),
    path("models/", models.Models.as_view(), name="api_models"),
    path("models/<int:pk>/", models.OneModel.as_view(), name="api_model"),
    path("models/<int:pk>/lineage/", models.Lineage.as_view(), name="api_model_lineage"),
    path("models/<int:pk>/promote/", models.Promote.as_view(), name="api_model_promote"),
]
