"""Projects: made, changed, put away."""

import re
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.text import slugify

from annotate.models import Item, Membership, Project
from annotate.services.overlap import change_overlap
from annotate.tasktypes import TASK_TYPES
from feedback_site.accounts.models import User

# What people and programs may set. Everything else about a project is set by what happens to it.
FIELDS = ("slug", "name", "kind", "guidelines", "overlap", "lease_minutes", "aspects", "allow_ties")
# Addresses below /projects/ that are pages of their own.
RESERVED_SLUGS = {"new"}
SLUG = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*\Z")
SLUG_LENGTH = 60
MAX_ASPECTS = 20
ASPECT_KEYS = {"name", "low", "high"}
SCALE_LIMIT = 1000


class ProjectRefused(ValueError):
    """A value that a project cannot have: the field, and a sentence that says why and what would do."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def create_project(*, created_by: User, name: str, kind: str, slug: str = "", **fields: Any) -> Project:
    """The project, with its maker as owner. One transaction. Without a slug one is made from the name."""
    _check(fields | {"kind": kind})
    if slug:
        _check_slug(slug)
    for _ in range(20):  # somebody may be faster with a slug that was free
        try:
            with transaction.atomic():
                project = Project.objects.create(
                    slug=slug or _free_slug(name), name=name, kind=kind, created_by=created_by, **fields
                )
                Membership.objects.create(project=project, user=created_by, role=Membership.Role.OWNER)
                return project
        except IntegrityError:
            if slug and Project.objects.filter(slug=slug).exists():
                raise ProjectRefused("slug", f"The slug “{slug}” is taken. Choose another.") from None
            if slug:
                raise
    raise ProjectRefused("slug", "No free slug could be made from this name. Give one yourself.")


def update_project(*, project: Project, changes: Mapping[str, Any]) -> Project:
    """Write the changed fields and no others. One transaction, which holds the project's row.

    The slug is part of addresses that others keep, so it stays. The kind stays once there are items of it.
    """
    with transaction.atomic():
        current = Project.objects.select_for_update().get(pk=project.pk)
        changed = {name: value for name, value in changes.items() if getattr(current, name) != value}
        if "slug" in changed:
            raise ProjectRefused("slug", f"The slug stays “{current.slug}”: links and scripts depend on it.")
        _check(changed)
        if "kind" in changed and Item.objects.filter(project=current).exists():
            raise ProjectRefused(
                "kind", f"The kind stays “{current.kind}”: there are items of it already. Make another project."
            )
        overlap = changed.pop("overlap", None)
        if changed:
            Project.objects.filter(pk=current.pk).update(**changed)
        if overlap is not None:
            change_overlap(project=current, overlap=overlap)
        current.refresh_from_db()
    return current


def archive_project(*, project: Project) -> None:
    """Nothing is claimed any more; everything stays readable. Archiving twice keeps the first time."""
    Project.objects.filter(pk=project.pk, archived_at=None).update(archived_at=timezone.now())


def restore_project(*, project: Project) -> None:
    Project.objects.filter(pk=project.pk).update(archived_at=None)


def check_aspects(aspects: Any) -> None:
    """A list of `{name, low, high}`: whole numbers, low below high, each name once. ProjectRefused otherwise."""
    if not isinstance(aspects, list):
        raise ProjectRefused("aspects", "Aspects are a list of {name, low, high}.")
    if len(aspects) > MAX_ASPECTS:
        raise ProjectRefused("aspects", f"There are {len(aspects)} aspects; nobody rates more than {MAX_ASPECTS}.")
    names: set[str] = set()
    for index, aspect in enumerate(aspects):
        field = f"aspects.{index}"
        if not isinstance(aspect, dict) or set(aspect) != ASPECT_KEYS:
            raise ProjectRefused(field, "An aspect has exactly the keys name, low and high.")
        name, low, high = aspect["name"], aspect["low"], aspect["high"]
        if not isinstance(name, str) or not name.strip() or len(name) > 60:
            raise ProjectRefused(f"{field}.name", "The name of an aspect is a text of 1 to 60 signs.")
        if name in names:
            raise ProjectRefused(f"{field}.name", f"“{name}” is there twice. Name each aspect once.")
        if not all(type(bound) is int and abs(bound) <= SCALE_LIMIT for bound in (low, high)) or low >= high:
            raise ProjectRefused(f"{field}.low", "The scale runs from low to high: whole numbers, low below high.")
        names.add(name)


def _check(values: Mapping[str, Any]) -> None:
    if "aspects" in values:
        check_aspects(values["aspects"])
    if (kind := values.get("kind")) is not None and kind not in TASK_TYPES:
        choices = " or ".join(TASK_TYPES)
        raise ProjectRefused("kind", f"Projects of the kind “{kind}” cannot be judged here yet. Choose {choices}.")


def _check_slug(slug: str) -> None:
    if slug in RESERVED_SLUGS:
        raise ProjectRefused("slug", f"The slug “{slug}” is an address of the site itself. Choose another.")
    if not SLUG.match(slug) or len(slug) > SLUG_LENGTH:
        raise ProjectRefused("slug", "A slug has lower-case letters, digits and single hyphens, 60 signs at most.")


def _free_slug(name: str) -> str:
    """The next free one of `name`, `name-2`, …"""
    stem = slugify(name).replace("_", "-")[: SLUG_LENGTH - 6].strip("-_") or "project"
    used = RESERVED_SLUGS.union(Project.objects.filter(slug__startswith=stem).values_list("slug", flat=True))
    number = 1
    while (slug := stem if number == 1 else f"{stem}-{number}") in used:
        number += 1
    return slug
