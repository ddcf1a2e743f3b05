"""The rows of this room, to look at."""

from django.contrib import admin

from annotate.models import Annotator, Invitation, Item, Judgement, Membership, Project
from feedback_site.lib.admin import ReadOnly


@admin.register(Project)
class ProjectAdmin(ReadOnly):
    list_display = ["name", "slug", "kind", "overlap", "created_by", "created_at", "archived_at"]
    list_filter = ["kind"]
    list_select_related = ["created_by"]
    search_fields = ["name", "slug"]


@admin.register(Membership)
class MembershipAdmin(ReadOnly):
    list_display = ["user", "project", "role", "created_at"]
    list_filter = ["role"]
    list_select_related = ["user", "project"]


@admin.register(Invitation)
class InvitationAdmin(ReadOnly):
    list_display = ["project", "role", "email", "created_by", "expires_at", "accepted_by", "revoked_at"]
    list_select_related = ["project", "created_by", "accepted_by"]
    exclude = ["digest"]


@admin.register(Annotator)
class AnnotatorAdmin(ReadOnly):
    list_display = ["name", "project", "user", "created_at"]
    list_select_related = ["project", "user"]


@admin.register(Item)
class ItemAdmin(ReadOnly):
    list_display = ["id", "project", "kind", "overlap", "external_id", "created_at"]
    list_filter = ["kind"]
    list_select_related = ["project"]


@admin.register(Judgement)
class JudgementAdmin(ReadOnly):
    list_display = ["id", "project", "item", "annotator", "action", "source", "over_quota", "created_at"]
    list_filter = ["action", "source"]
    list_select_related = ["project", "item", "annotator"]
    exclude = ["payload_sha256"]
