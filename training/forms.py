"""Forms made from the engine's tables: one field per knob, with its default, bounds and help."""

from typing import Any

from django import forms

from annotate.models import Project
from exports.models import DatasetVersion
from training.engine.methods import METHODS, Parameter, dataset_kind
from training.engine.spec import SAMPLE_CONFIG, parameters
from training.models import Model
from training.services.runs import DEFAULT_PROMPTS, MOST_PROMPTS

# Settings that most people never touch; the page folds them away.
COMMON = {"learning_rate", "epochs", "batch_size", "beta", "n", "temperature", "max_tokens"}


def field_for(parameter: Parameter) -> forms.Field:
    """The form field of one knob."""
    label = parameter.name.replace("_", " ").capitalize()
    shared: dict[str, Any] = {"label": label, "help_text": parameter.help, "initial": parameter.default}
    if parameter.choices:
        return forms.ChoiceField(choices=[(choice, choice) for choice in parameter.choices], **shared)
    if isinstance(parameter.default, bool):
        return forms.BooleanField(required=False, **shared)
    if isinstance(parameter.default, int):
        bounds = {"min_value": _whole(parameter.minimum), "max_value": _whole(parameter.maximum)}
        return forms.IntegerField(**shared, **bounds)
    if isinstance(parameter.default, float):
        widget = forms.NumberInput(attrs={"step": "any"})
        return forms.FloatField(min_value=parameter.minimum, max_value=parameter.maximum, widget=widget, **shared)
    return forms.CharField(**shared)


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)


class ConfigForm(forms.Form):
    """A form whose last fields are the knobs of a task."""

    knobs: tuple[Parameter, ...]

    def add_knobs(self, knobs: tuple[Parameter, ...]) -> None:
        self.knobs = knobs
        for knob in sorted(knobs, key=lambda knob: knob.name not in COMMON):
            self.fields[knob.name] = field_for(knob)

    def main_fields(self) -> list[forms.BoundField]:
        names = {knob.name for knob in self.knobs}
        return [self[name] for name in self.fields if name not in names or name in COMMON]

    def advanced_fields(self) -> list[forms.BoundField]:
        return [self[knob.name] for knob in self.knobs if knob.name not in COMMON]

    def config(self) -> dict[str, Any]:
        """The knobs of the checked form, as the engine's `config`."""
        return {knob.name: self.cleaned_data[knob.name] for knob in self.knobs}


class TrainForm(ConfigForm):
    def __init__(self, *args: Any, project: Project, method: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        reward = METHODS[method].shape == "reward"
        models = Model.objects.filter(project=project)
        versions = DatasetVersion.objects.filter(
            dataset__project=project, dataset__kind=dataset_kind(method), status=DatasetVersion.Status.READY
        ).select_related("dataset")
        self.fields["model"] = forms.ModelChoiceField(
            models if reward else models.filter(kind=Model.Kind.POLICY),
            label="Model to start from",
            empty_label=None,
        )
        self.fields["dataset_version"] = forms.ModelChoiceField(
            versions.order_by("-id"), label="Dataset version", empty_label=None
        )
        self.add_knobs(parameters("train", METHODS[method]))


class SampleForm(ConfigForm):
    prompts = forms.IntegerField(
        label="Prompts", min_value=1, max_value=MOST_PROMPTS, initial=DEFAULT_PROMPTS, help_text="Drawn at random."
    )
    items = forms.BooleanField(
        label="Make items to judge", required=False, initial=True, help_text="Else the completions are only kept."
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        policies = Model.objects.filter(project=project, kind=Model.Kind.POLICY)
        self.fields["model"] = forms.ModelChoiceField(policies, label="Policy", empty_label=None)
        self.order_fields(["model"])
        self.add_knobs(SAMPLE_CONFIG)


class ModelForm(forms.Form):
    name = forms.CharField(max_length=150)
    kind = forms.ChoiceField(choices=Model.Kind.choices)
    folder = forms.CharField(
        label="Folder or hub id",
        max_length=500,
        help_text="A folder below models/ in the data folder, such as my-llama, or a hub id, such as org/name.",
    )
