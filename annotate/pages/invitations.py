"""The other end of an invitation's link."""

from typing import cast

from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from annotate.access import Role, role_in
from annotate.models import Invitation
from annotate.services.members import InvitationGone, MemberRefused, accept_invitation, find_invitation
from feedback_site.accounts.forms import SignUpForm
from feedback_site.accounts.models import User


@never_cache
@login_not_required
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, secret: str) -> HttpResponse:
    """Accept as who is signed in, sign in first, or make an account, which this link alone allows."""
    try:
        found = find_invitation(secret=secret)
        if request.user.is_authenticated:
            return _member(request, found)
        return _stranger(request, found)
    except InvitationGone as gone:
        status = 404 if gone.reason == "unknown" else 410
        return render(request, "annotate/invitation_gone.html", {"message": str(gone)}, status=status)


def _member(request: HttpRequest, found: Invitation) -> HttpResponse:
    user = cast(User, request.user)
    context: dict[str, object] = {"invitation": found, "role": role_in(user, found.project)}
    if request.method == "POST":
        try:
            accept_invitation(invitation=found, user=user)
        except MemberRefused as refusal:
            if isinstance(refusal, InvitationGone):
                raise
            return render(request, "annotate/invitation.html", context, status=409)
        return redirect("project", found.project.slug)
    return render(request, "annotate/invitation.html", context)


def _stranger(request: HttpRequest, found: Invitation) -> HttpResponse:
    form = SignUpForm(request.POST or None, initial={"email": found.email})
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():  # an invitation that was used meanwhile must not leave an account behind
            user = form.save(commit=False)
            # Projects start training and fill disks: people who were asked to judge or to look do without.
            user.can_create_projects = found.role in {Role.OWNER, Role.MANAGER}
            user.save()
            accept_invitation(invitation=found, user=user)
        login(request, user)
        return redirect("project", found.project.slug)
    return render(request, "annotate/invitation.html", {"invitation": found, "form": form})
