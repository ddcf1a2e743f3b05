"""Who belongs to a project, and the links that let others in."""

from typing import Any, cast

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from annotate.access import Role, check_may_grant, get_invitation, get_member, get_project, grantable_roles
from annotate.models import Invitation, Project
from annotate.services.members import (
    MemberRefused,
    change_role,
    create_invitation,
    remove_member,
    revoke_invitation,
)
from feedback_site.accounts.models import User

# What the roles mean, in the words of the page.
MEANINGS = {
    Role.OWNER: "Owner: everything, members and archiving included",
    Role.MANAGER: "Manager: imports, datasets, runs, settings, inviting",
    Role.ANNOTATOR: "Annotator: judges items and sees their own judgements",
    Role.VIEWER: "Viewer: sees everything, judges and changes nothing",
}


class InvitationForm(forms.Form):
    role = forms.ChoiceField(label="As")
    email = forms.EmailField(
        required=False,
        label="For",
        help_text="A note for this page, so that you know whose link it is. No mail is sent.",
    )

    def __init__(self, *args: Any, roles: list[Role], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = cast(forms.ChoiceField, self.fields["role"])
        field.choices = [(role.value, MEANINGS[role]) for role in roles]
        field.initial = Role.ANNOTATOR.value


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def members(request: HttpRequest, slug: str) -> HttpResponse:
    """The list; a POST makes an invitation, whose link is in this answer and never shown again."""
    user = cast(User, request.user)
    project = get_project(user, slug, "manage")
    roles = grantable_roles(user, project)
    form = InvitationForm(request.POST or None, roles=roles)
    link = ""
    if request.method == "POST" and form.is_valid():
        # The form's choices hold it to the roles that the user may give.
        _, secret = create_invitation(project=project, created_by=user, **form.cleaned_data)
        link = request.build_absolute_uri(f"/invitations/{secret}/")
        form = InvitationForm(roles=roles)
    context = {"project": project, "form": form, "link": link, "user_roles": roles}
    return render(request, "annotate/members.html", context | _people(project, roles))


def _people(project: Project, roles: list[Role]) -> dict[str, Any]:
    people = project.memberships.select_related("user").order_by("user__username")
    open_invitations = Invitation.objects.filter(
        project=project, accepted_at=None, revoked_at=None, expires_at__gt=timezone.now()
    ).select_related("created_by")
    return {
        "people": [{"member": member, "changeable": member.role in roles} for member in people],
        "invitations": [{"invitation": row, "revocable": row.role in roles} for row in open_invitations],
    }


@require_POST
def member_role(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    user = cast(User, request.user)
    member = get_member(user, slug, pk)
    form = RoleForm(request.POST)
    if not form.is_valid():
        messages.error(request, f"There is no such role. Choose from: {', '.join(Role.values)}.")
        return redirect("members", slug)
    role = form.cleaned_data["role"]
    check_may_grant(user, member.project, role)
    try:
        change_role(member=member, role=role)
        messages.success(request, f"{member.user.get_username()} is {role} now.")
    except MemberRefused as refusal:
        messages.error(request, str(refusal))
    return _back(request, member.project)


@require_POST
def member_remove(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    member = get_member(cast(User, request.user), slug, pk)
    try:
        remove_member(member=member)
        messages.success(request, f"{member.user.get_username()} does not belong to the project any more.")
    except MemberRefused as refusal:
        messages.error(request, str(refusal))
    return _back(request, member.project)


@require_POST
def invitation_revoke(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    invitation = get_invitation(cast(User, request.user), slug, pk)
    try:
        revoke_invitation(invitation=invitation)
        messages.success(request, "The invitation's link opens nothing any more.")
    except MemberRefused as refusal:
        messages.error(request, str(refusal))
    return redirect("members", slug)


def _back(request: HttpRequest, project: Project) -> HttpResponse:
    """To the members, unless they were just closed to whoever made the change."""
    may_manage = bool(grantable_roles(cast(User, request.user), project))
    return redirect("members", project.slug) if may_manage else redirect("home")
