from django.urls import path

from annotate.pages import imports, members, projects_edit
from annotate.pages.home import home
from annotate.pages.invitations import invitation
from annotate.pages.judge import judge, judge_next
from annotate.pages.project import project

urlpatterns = [
    path("", home, name="home"),
    path("projects/new/", projects_edit.project_new, name="project_new"),
    path("projects/<slug:slug>/edit/", projects_edit.project_edit, name="project_edit"),
    path("projects/<slug:slug>/archive/", projects_edit.project_archive, name="project_archive"),
    path("projects/<slug:slug>/members/", members.members, name="members"),
    path("projects/<slug:slug>/members/<int:pk>/role/", members.member_role, name="member_role"),
    path("projects/<slug:slug>/members/<int:pk>/remove/", members.member_remove, name="member_remove"),
    path("projects/<slug:slug>/invitations/<int:pk>/revoke/", members.invitation_revoke, name="invitation_revoke"),
    path("invitations/<str:secret>/", invitation, name="invitation"),
    path("projects/<slug:slug>/import/", imports.import_items, name="import"),
    path("imports/<int:pk>/", imports.item_import, name="item_import"),
    path("imports/<int:pk>/run/", imports.import_trial, name="import_trial"),
    path("imports/<int:pk>/problems.csv", imports.import_problems, name="import_problems"),
    path("projects/<slug:slug>/", project, name="project"),
    path("projects/<slug:slug>/judge/", judge, name="judge"),
    path("projects/<slug:slug>/judge/next/", judge_next, name="judge_next"),
]
