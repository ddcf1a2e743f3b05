"""Who belongs to a project: invited by link, given a role, removed."""

import hashlib
import secrets
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from annotate.models import Invitation, Membership, Project, Slot
from annotate.services.slots import OPEN
from feedback_site.accounts.models import User

Role = Membership.Role


class MemberRefused(ValueError):
    """Something that cannot be done with a member or an invitation: a sentence for people."""


class InvitationGone(MemberRefused):
    """The link opens nothing: `reason` is one of unknown, used, revoked, expired."""

    SENTENCES = {
        "unknown": "This link does not belong to any invitation. Perhaps a part of it is missing: copy all of it.",
        "used": "This invitation has been used already; each opens the door once. Ask for another.",
        "revoked": "This invitation was taken back. Ask whoever sent it for another.",
        "expired": "This invitation has expired. Ask whoever sent it for another.",
    }

    def __init__(self, reason: str) -> None:
        super().__init__(self.SENTENCES[reason])
        self.reason = reason


def create_invitation(*, project: Project, role: str, created_by: User, email: str = "") -> tuple[Invitation, str]:
    """The row and the secret of its link, which exists nowhere else. One INSERT.

    `email` is a note for the members page: the site sends no mail.
    """
    secret = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        project=project,
        role=role,
        email=email,
        created_by=created_by,
        digest=_digest(secret),
        expires_at=timezone.now() + timedelta(days=settings.INVITATION_DAYS),
    )
    return invitation, secret


def find_invitation(*, secret: str) -> Invitation:
    """The invitation that this link opens; InvitationGone says why it opens none."""
    invitation = Invitation.objects.select_related("project", "created_by").filter(digest=_digest(secret)).first()
    if invitation is None:
        raise InvitationGone("unknown")
    if invitation.accepted_at is not None:
        raise InvitationGone("used")
    if invitation.revoked_at is not None:
        raise InvitationGone("revoked")
    if invitation.expires_at <= timezone.now():
        raise InvitationGone("expired")
    return invitation


def accept_invitation(*, invitation: Invitation, user: User) -> Membership:
    """Membership for the user, once. One transaction.

    The guarded UPDATE decides between two who open the link at the same time. Who belongs to the project already
    is refused, and the invitation stays good for somebody else.
    """
    now = timezone.now()
    with transaction.atomic():
        alive = Invitation.objects.filter(pk=invitation.pk, accepted_at=None, revoked_at=None, expires_at__gt=now)
        if not alive.update(accepted_at=now, accepted_by=user):
            raise InvitationGone("used")
        member, made = Membership.objects.get_or_create(
            project_id=invitation.project_id, user=user, defaults={"role": invitation.role}
        )
        if not made:
            raise MemberRefused(f"You belong to “{invitation.project.name}” already, as {member.role}.")
    return member


def revoke_invitation(*, invitation: Invitation) -> None:
    """The link opens nothing from now on. MemberRefused when somebody has come in by it already."""
    row = Invitation.objects.filter(pk=invitation.pk, accepted_at=None)
    if not row.update(revoked_at=timezone.now()):
        raise MemberRefused("This invitation has been used meanwhile. Remove the member instead.")


def change_role(*, member: Membership, role: str) -> None:
    """One transaction, which holds the project's row: two owners cannot step down at the same time and leave none."""
    with transaction.atomic():
        _keep_an_owner(member, role)
        Membership.objects.filter(pk=member.pk).update(role=role)
        if role == Role.VIEWER:
            _give_back_leases(member)


def remove_member(*, member: Membership) -> None:
    """Judgements stay, under the same name; a lease goes back to the others. One transaction, as for `change_role`."""
    with transaction.atomic():
        _keep_an_owner(member, "")
        Membership.objects.filter(pk=member.pk).delete()
        _give_back_leases(member)


def _keep_an_owner(member: Membership, role: str) -> None:
    Project.objects.select_for_update().get(pk=member.project_id)
    owners = set(Membership.objects.filter(project=member.project_id, role=Role.OWNER).values_list("pk", flat=True))
    if owners == {member.pk} and role != Role.OWNER:
        raise MemberRefused("A project needs an owner. Make somebody else an owner first.")


def _give_back_leases(member: Membership) -> None:
    held = Slot.objects.filter(project=member.project_id, annotator__user=member.user_id, state=Slot.State.LEASED)
    held.update(**OPEN)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
