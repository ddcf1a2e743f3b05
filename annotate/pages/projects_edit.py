"""Make a project, change it, put it away."""

from typing import Any, cast

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from annotate.access import get_project, may_create_projects, role_in
from annotate.models import Project
from annotate.services.projects import (
    FIELDS,
    ProjectRefused,
    archive_project,
    create_project,
    restore_project,
    update_project,
)
from annotate.tasktypes import TASK_TYPES
from feedback_site.accounts.models import User


class AspectsField(forms.CharField):
    """One aspect per line, `name: low to high`, such as `helpfulness: 1 to 5`; stored as `[{name, low, high}]`."""

    widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, list):
            return "\n".join(f"{aspect['name']}: {aspect['low']} to {aspect['high']}" for aspect in value)
        return value

    def clean(self, value: str) -> list[dict[str, Any]]:
        return [self._read(number, line) for number, line in enumerate(value.splitlines(), 1) if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(super().has_changed(self.prepare_value(initial), data))

    @staticmethod
    def _read(number: int, line: str) -> dict[str, Any]:
        name, _, scale = line.rpartition(":")
        low, _, high = scale.partition(" to ")
        try:
            return {"name": name.strip(), "low": int(low), "high": int(high)}
        except ValueError:
            raise forms.ValidationError(
                f"Line {number} is “{line.strip()}”; write it as: helpfulness: 1 to 5"
            ) from None


class ProjectForm(forms.ModelForm):
    aspects = AspectsField(
        required=False, help_text="For ratings only. One aspect per line with its scale, such as: helpfulness: 1 to 5"
    )

    class Meta:
        model = Project
        fields = ["name", "slug", "kind", "guidelines", "overlap", "lease_minutes", "allow_ties", "aspects"]
        labels = {
            "kind": "Question",
            "overlap": "Annotators per item",
            "lease_minutes": "Minutes an item stays reserved",
            "allow_ties": "Allow ties",
        }
        help_texts = {
            "slug": "The project's name in addresses and in the API. Left empty, it is made from the name.",
            "overlap": "Items that exist get more places, or lose those that nobody has taken.",
        }
        widgets = {"guidelines": forms.Textarea(attrs={"rows": 10})}

    def __init__(self, *args: Any, has_items: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kinds = [choice for choice in Project.Kind.choices if choice[0] in TASK_TYPES]
        self.fields["kind"].choices = kinds  # type: ignore[attr-defined]
        self.fields["slug"].required = False
        if "rating" not in TASK_TYPES:
            del self.fields["aspects"]
        if self.instance.pk:
            del self.fields["slug"]
            if has_items:
                self.fields["kind"].disabled = True
                self.fields["kind"].help_text = "Fixed: there are items of this kind."

    def save_with(self, user: User) -> Project | None:
        """The project as the services made or changed it; None when they refused, with the reason at its field."""
        values = {name: self.cleaned_data[name] for name in FIELDS if name in self.cleaned_data}
        try:
            if self.instance.pk:
                return update_project(project=self.instance, changes=values)
            return create_project(created_by=user, **values)
        except ProjectRefused as refusal:
            field = refusal.field.partition(".")[0]
            self.add_error(field if field in self.fields else None, refusal.message)
            return None


@require_http_methods(["GET", "HEAD", "POST"])
def project_new(request: HttpRequest) -> HttpResponse:
    user = cast(User, request.user)
    if not may_create_projects(user):
        raise PermissionDenied("Your account may judge and view, but not make projects. Ask an administrator.")
    form = ProjectForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and (project := form.save_with(user)):
        messages.success(request, f"“{project.name}” is there. Import items to begin.")
        return redirect("project", project.slug)
    return render(request, "annotate/project_form.html", {"form": form})


@require_http_methods(["GET", "HEAD", "POST"])
def project_edit(request: HttpRequest, slug: str) -> HttpResponse:
    user = cast(User, request.user)
    project = get_project(user, slug, "manage")
    form = ProjectForm(request.POST or None, instance=project, has_items=project.items.exists())
    if request.method == "POST" and form.is_valid() and form.save_with(user):
        messages.success(request, "Saved.")
        return redirect("project_edit", slug)
    # Validating a model form writes into its instance; the page's head is to show what is stored.
    stored = get_project(user, slug, "manage")
    context = {"form": form, "project": stored, "is_owner": role_in(user, stored) == "owner"}
    return render(request, "annotate/project_form.html", context)


@require_POST
def project_archive(request: HttpRequest, slug: str) -> HttpResponse:
    project = get_project(cast(User, request.user), slug, "own")
    if "restore" in request.POST:
        restore_project(project=project)
        messages.success(request, f"“{project.name}” is open again.")
    else:
        archive_project(project=project)
        messages.success(request, f"“{project.name}” is archived: nobody is given items any more.")
    return redirect("project_edit", slug)
