from django.urls import path

from annotate.pages.home import home
from annotate.pages.judge import judge
from annotate.pages.project import project

urlpatterns = [
    path("", home, name="home"),
    path("projects/<slug:slug>/", project, name="project"),
    path("projects/<slug:slug>/judge/", judge, name="judge"),
]
