from django.urls import path

from exports.api import views

urlpatterns = [
    path("projects/<slug:slug>/datasets/", views.Datasets.as_view(), name="api_datasets"),
    path("datasets/<int:pk>/", views.OneDataset.as_view(), name="api_dataset"),
    path("datasets/<int:pk>/versions/", views.Versions.as_view(), name="api_versions"),
    path("datasets/<int:pk>/versions/<int:number>/", views.OneVersion.as_view(), name="api_version"),
    path(
        "datasets/<int:pk>/versions/<int:number>/files/<slug:format_name>/",
        views.VersionFile.as_view(),
        name="api_version_file",
    ),
]
