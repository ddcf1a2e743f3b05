"""The only way to load an object of this room from a request.

Outsiders get the same 404 as for something that does not exist; members whose role is too small get 403.
"""

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404

from annotate.models import Annotator, Invitation, ItemImport, Judgement, Membership, Project, Skip, Slot
from feedback_site.accounts.models import User
from feedback_site.jobs.models import Job

Role = Membership.Role

# What each role may do. Viewers read everything but do not judge.
ALLOWED = {
    "view": {Role.OWNER, Role.MANAGER, Role.ANNOTATOR, Role.VIEWER},
    "review": {Role.OWNER, Role.MANAGER, Role.VIEWER},
    "annotate": {Role.OWNER, Role.MANAGER, Role.ANNOTATOR},
    "manage": {Role.OWNER, Role.MANAGER},
    "own": {Role.OWNER},
}


def visible_projects(user: User, may: str = "view") -> QuerySet[Project]:
    """The projects in which the user may do this; all of them for a superuser."""
    if user.is_superuser:
        return Project.objects.all()
    # One filter(): two would ask for two memberships, the second of which could be somebody else's.
    return Project.objects.filter(memberships__user=user, memberships__role__in=ALLOWED[may])


def role_in(user: User, project: Project) -> str:
    """The user's role in the project, or an empty string."""
    if user.is_superuser:
        return Role.OWNER
    return Membership.objects.filter(project=project, user=user).values_list("role", flat=True).first() or ""


def check_role(user: User, project: Project, may: str) -> None:
    """`may` is one of view, review, annotate, manage, own."""
    role = role_in(user, project)
    if not role:
        raise Http404
    if role not in ALLOWED[may]:
        raise PermissionDenied(f"You are {role} in “{project.name}”; ask its owner for the right to {may}.")


def get_project(user: User, slug: str, may: str = "view") -> Project:
    project = Project.objects.filter(slug=slug).first()
    if project is None:
        raise Http404
    check_role(user, project, may)
    return project


def may_create_projects(user: User) -> bool:
    return user.is_superuser or user.can_create_projects


def grantable_roles(user: User, project: Project) -> list[Role]:
    """The roles that the user may give, change and take away: owners all of them, managers those below their own."""
    role = role_in(user, project)
    if role == Role.OWNER:
        return list(Role)
    return [Role.ANNOTATOR, Role.VIEWER] if role == Role.MANAGER else []


def check_may_grant(user: User, project: Project, *roles: str) -> None:
    """For a member whose role changes: the old role and the new one."""
    if not set(roles) <= set(grantable_roles(user, project)):
        raise PermissionDenied("Only an owner may appoint or remove owners and managers.")


def get_member(user: User, slug: str, pk: int) -> Membership:
    """A member whose role the user may change."""
    project = get_project(user, slug, "manage")
    member = Membership.objects.select_related("project", "user").filter(project=project, pk=pk).first()
    if member is None:
        raise Http404
    check_may_grant(user, project, member.role)
    return member


def get_invitation(user: User, slug: str, pk: int) -> Invitation:
    """An invitation that the user may revoke."""
    project = get_project(user, slug, "manage")
    invitation = Invitation.objects.filter(project=project, pk=pk).first()
    if invitation is None:
        raise Http404
    check_may_grant(user, project, invitation.role)
    return invitation


def get_slot(user: User, pk: int) -> Slot:
    """A slot of a project in which the user judges. Whether they hold its lease is for the service to say."""
    slot = Slot.objects.select_related("item__project", "item__prompt", "project").filter(pk=pk).first()
    if slot is None:
        raise Http404
    check_role(user, slot.project, "annotate")
    return slot


def get_judgement(user: User, pk: int) -> Judgement:
    """Annotators see their own judgements; managers, owners and viewers see all of the project's."""
    judgement = Judgement.objects.select_related("project", "annotator", "item").filter(pk=pk).first()
    if judgement is None:
        raise Http404
    own = judgement.annotator.user_id == user.pk
    check_role(user, judgement.project, "view" if own else "review")
    return judgement


def get_skip(user: User, pk: int) -> Skip:
    """One of the user's own skips; those of others are nobody's business."""
    own = Skip.objects.filter(annotator__user=user)
    skip = own.select_related("item__project", "annotator__project").filter(pk=pk).first()
    if skip is None:
        raise Http404
    check_role(user, skip.item.project, "annotate")
    return skip


def get_import(user: User, pk: int, may: str = "manage") -> ItemImport:
    item_import = ItemImport.objects.select_related("project", "job").filter(pk=pk).first()
    if item_import is None:
        raise Http404
    check_role(user, item_import.project, may)
    return item_import


def annotator_for(user: User, project: Project) -> Annotator:
    """The identity under which the user's judgements in this project are kept, made at the first need."""
    annotator, _ = Annotator.objects.get_or_create(
        project=project, user=user, defaults={"name": user.get_full_name() or user.get_username()}
    )
    return annotator


def job_scope(project: Project) -> str:
    """What `Job.scope` holds for the work of a project."""
    return f"project:{project.pk}"


def visible_jobs(user: User, may: str = "review") -> QuerySet[Job]:
    """The jobs that the user started, and those of the projects in which they may do this."""
    if user.is_superuser:
        return Job.objects.all()
    projects = Membership.objects.filter(user=user, role__in=ALLOWED[may]).values_list("project_id", flat=True)
    return Job.objects.filter(scope__in=[f"project:{pk}" for pk in projects]) | Job.objects.filter(created_by=user)


def job_scope_titles(user: User) -> dict[str, str]:
    """The names of the projects by which the user can filter jobs, under their scope."""
    return {job_scope(project): project.name for project in visible_projects(user).order_by("name")}
