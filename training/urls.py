from django.urls import path

from training import views

urlpatterns = [
    path("projects/<slug:slug>/runs/", views.runs, name="runs"),
    path("projects/<slug:slug>/runs/compare/", views.compare, name="compare_runs"),
    path("projects/<slug:slug>/runs/new/", views.choose, name="choose_method"),
    path("projects/<slug:slug>/runs/new/<slug:method>/", views.train, name="train"),
    path("projects/<slug:slug>/sample/", views.sample, name="sample"),
    path("runs/<int:pk>/", views.run, name="run"),
    path("runs/<int:pk>/retry/", views.run_retry, name="run_retry"),
    path("runs/<int:pk>/curves/", views.run_curves, name="run_curves"),
    path("projects/<slug:slug>/models/", views.models, name="models"),
    path("projects/<slug:slug>/models/starter/", views.starter, name="starter"),
    path("models/<int:pk>/", views.model, name="model"),
    path("models/<int:pk>/promote/", views.model_promote, name="model_promote"),
]
