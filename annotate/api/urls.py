from django.urls import path

from annotate.api import imports, items, judgements, projects, slots

urlpatterns = [
    path("projects/", projects.Projects.as_view(), name="api_projects"),
    path("projects/<slug:slug>/", projects.ProjectDetail.as_view(), name="api_project"),
    path("projects/<slug:slug>/items/", items.Items.as_view(), name="api_items"),
    path("projects/<slug:slug>/imports/", imports.Imports.as_view(), name="api_imports"),
    path("imports/<int:pk>/", imports.ImportDetail.as_view(), name="api_import"),
    path("projects/<slug:slug>/slots/claim/", slots.Claim.as_view(), name="api_claim"),
    path("projects/<slug:slug>/judgements/", judgements.Judgements.as_view(), name="api_judgements"),
    path("slots/<int:pk>/judgement/", slots.Submit.as_view(), name="api_submit"),
    path("slots/<int:pk>/skip/", slots.SkipSlot.as_view(), name="api_skip"),
    path("slots/<int:pk>/release/", slots.Release.as_view(), name="api_release"),
    path("slots/<int:pk>/heartbeat/", slots.Heartbeat.as_view(), name="api_heartbeat"),
    path("judgements/<int:pk>/withdraw/", judgements.Withdraw.as_view(), name="api_withdraw"),
    path("judgements/<int:pk>/revision/", judgements.Revise.as_view(), name="api_revise"),
    path("skips/<int:pk>/withdraw/", slots.WithdrawSkip.as_view(), name="api_withdraw_skip"),
]
