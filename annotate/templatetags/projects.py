"""What pages of a project have in common."""

from dataclasses import dataclass
from typing import Any

from django import template
from django.urls import NoReverseMatch, reverse

from annotate.access import ALLOWED, role_in
from annotate.models import Project

register = template.Library()

# The address's name, what it is called, and the right it takes to go there (annotate.access.ALLOWED).
TABS = (
    ("project", "Overview", "view"),
    ("judge", "Judge", "annotate"),
    ("import", "Import", "manage"),
    ("datasets", "Datasets", "review"),
    ("runs", "Runs", "review"),
    ("models", "Models", "review"),
    ("members", "Members", "manage"),
    ("project_edit", "Settings", "manage"),
)

# Pages below a tab, by the tab that they belong to.
PART_OF = {
    "item_import": "import",
    "dataset": "datasets",
    "dataset_version": "datasets",
    "run": "runs",
    "train": "runs",
    "choose_method": "runs",
    "compare_runs": "runs",
    "sample": "runs",
    "model": "models",
}


@dataclass(frozen=True, slots=True)
class Tab:
    name: str
    url: str
    current: bool


@register.simple_tag(takes_context=True)
def project_tabs(context: dict[str, Any], project: Project) -> list[Tab]:
    """Where somebody may go in this project, by their role; the tab of the page itself is the current one."""
    request = context["request"]
    role = role_in(request.user, project)
    here = getattr(request.resolver_match, "url_name", "")
    here = PART_OF.get(here, here)
    return [
        Tab(name, url, here == view)
        for view, name, right in TABS
        if role in ALLOWED[right] and (url := _url(view, project))
    ]


@register.simple_tag(takes_context=True)
def may(context: dict[str, Any], right: str, project: Project) -> bool:
    """Whether the reader may do this here: `{% may "manage" project as can_manage %}`."""
    return role_in(context["request"].user, project) in ALLOWED[right]


def _url(view: str, project: Project) -> str:
    try:
        return reverse(view, args=[project.slug])
    except NoReverseMatch:
        return ""
