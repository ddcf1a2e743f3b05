"""What a token may do. What its owner may do in a project is decided by `access.py`, always as well."""

from typing import TYPE_CHECKING

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from feedback_site.accounts.models import ApiToken

if TYPE_CHECKING:  # the framework's settings import this module while rest_framework.views is being imported
    from rest_framework.views import APIView

SAFE = {"GET", "HEAD", "OPTIONS"}


class HasScope(IsAuthenticated):
    """Reads need `read`; writes need the view's `write_scope`, which is `manage` unless the view says otherwise."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if not super().has_permission(request, view):
            return False
        if not isinstance(request.auth, ApiToken):
            return True
        needed = ApiToken.Scope.READ if request.method in SAFE else getattr(view, "write_scope", ApiToken.Scope.MANAGE)
        if needed not in request.auth.scopes:
            raise PermissionDenied(f"This token lacks the scope “{needed}”. Make one that has it on the tokens page.")
        return True
