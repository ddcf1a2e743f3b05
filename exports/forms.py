"""The form that makes a dataset."""

from typing import Any

from django import forms

from annotate.models import Project
from exports.models import Dataset
from exports.services.datasets import POSSIBLE


class DatasetForm(forms.Form):
    name = forms.CharField(max_length=120)
    kind = forms.ChoiceField()
    aggregation = forms.ChoiceField(
        label="Several annotators",
        choices=[("majority", "The majority decides; even splits are left out"), ("soft", "Keep the share of votes")],
    )
    judges = forms.ChoiceField(
        choices=[("all", "Everybody's judgements"), ("people", "People's only, without machines")]
    )
    min_judgements = forms.IntegerField(label="Judgements per item, at least", min_value=1, initial=1)
    demonstrations = forms.MultipleChoiceField(
        label="Demonstrations come from",
        required=False,
        initial=["edits"],
        widget=forms.CheckboxSelectMultiple,
        choices=[
            ("edits", "Corrections that people wrote"),
            ("chosen", "Completions preferred over another"),
            ("thumbs_up", "Completions with a thumbs up"),
        ],
        help_text="Only for a dataset of demonstrations.",
    )
    slice = forms.CharField(
        label="Slices by",
        required=False,
        max_length=100,
        help_text="A key that rows brought beside their content, such as category. Reward models are measured on each "
        "of its values by itself.",
    )
    groups = forms.CharField(
        label="Groups of annotators",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "experts: kim, lee"}),
        help_text="One to a line, for pairs and thumbs. The votes of each become rows of their own, and a reward model "
        "learns what the groups share and what sets them apart.",
    )
    validation = forms.FloatField(label="Share of prompts for validation", min_value=0, max_value=0.9, initial=0.1)
    test = forms.FloatField(label="Share of prompts for the test", min_value=0, max_value=0.9, initial=0.1)
    seed = forms.IntegerField(label="Seed of the split", min_value=0, initial=0)

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        possible = POSSIBLE.get(Project.Kind(project.kind), set())
        kinds = [(kind.value, kind.label) for kind in Dataset.Kind if kind in possible]
        self.fields["kind"] = forms.ChoiceField(choices=kinds)

    def clean_groups(self) -> dict[str, list[str]]:
        groups: dict[str, list[str]] = {}
        for line in filter(str.strip, self.cleaned_data["groups"].splitlines()):
            name, colon, annotators = (part.strip() for part in line.partition(":"))
            if not colon:
                raise forms.ValidationError(f"“{name}” has no colon. Write a group as in: experts: kim, lee.")
            if name in groups:
                raise forms.ValidationError(f"The group “{name}” has two lines. Write its annotators into one.")
            groups[name] = [annotator for part in annotators.split(",") if (annotator := part.strip())]
        return groups

    def recipe(self) -> dict[str, Any]:
        """The recipe that the checked form describes."""
        recipe = {name: value for name, value in self.cleaned_data.items() if name not in {"name", "kind"}}
        return {name: value for name, value in recipe.items() if value not in ([], {}, "", None)}
