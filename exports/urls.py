from django.urls import path

from exports import views

urlpatterns = [
    path("projects/<slug:slug>/datasets/", views.datasets, name="datasets"),
    path("datasets/<int:pk>/", views.dataset, name="dataset"),
    path("datasets/<int:pk>/build/", views.dataset_build, name="dataset_build"),
    path("datasets/<int:pk>/versions/<int:number>/", views.dataset_version, name="dataset_version"),
    path("datasets/<int:pk>/versions/<int:number>/files/<slug:format_name>/", views.dataset_file, name="dataset_file"),
]
