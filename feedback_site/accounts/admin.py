"""The stock administration: people can be switched off and given a new password; the rest is for looking."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest

from feedback_site.accounts.models import ApiToken, User
from feedback_site.lib.admin import ReadOnly

admin.site.unregister(Group)


@admin.register(User)
class PeopleAdmin(UserAdmin):
    """For superusers alone: whoever may edit people could make themselves one."""

    list_display = ["username", "email", "is_active", "is_machine", "can_create_projects", "last_login"]
    list_filter = ["is_active", "is_machine", "is_superuser"]
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        ("Person", {"fields": ["first_name", "last_name", "email", "is_machine"]}),
        ("Rights", {"fields": ["is_active", "is_staff", "is_superuser", "can_create_projects"]}),
        ("Dates", {"fields": ["last_login", "date_joined"]}),
    ]
    readonly_fields = ["last_login", "date_joined"]
    filter_horizontal = ()

    def has_module_permission(self, request: HttpRequest) -> bool:
        return _is_superuser(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return _is_superuser(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Their judgements stay, so they stay: switch them off instead."""
        return False


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnly):
    list_display = ["prefix", "name", "user", "scopes", "created_at", "last_used_at", "expires_at", "revoked_at"]
    list_select_related = ["user"]
    exclude = ["digest"]


def _is_superuser(request: HttpRequest) -> bool:
    return bool(request.user.is_active and request.user.is_superuser)
