"""Forms made from the engine's tables: one field per knob, with its default, bounds and help."""

from typing import Any

from django import forms

from annotate.models import Project
from exports.models import DatasetVersion
from training.engine.losses import LOSSES
from training.engine.methods import Parameter
from training.engine.spec import SAMPLE_CONFIG, parameters
from training.models import Model
from training.services.runs import DEFAULT_PROMPTS, MOST_PROMPTS

# In this order at the top of the form; what most people never touch is folded away.
COMMON = ("learning_rate", "epochs", "batch_size", "n", "temperature", "max_tokens")
# Where the name of a knob alone would not be understood; any other is its name in words. The name stands behind it,
# because messages and commands call the knob by it.
LABELS = {
    "n": "Completions per prompt",
    "max_tokens": "Longest completion in tokens",
    "max_length": "Longest row in tokens",
    "token_budget": "Tokens in one pass",
    "max_grad_norm": "Largest gradient norm",
    "warmup": "Warm-up",
    "top_p": "Top-p",
    "dtype": "Arithmetic",
    "lora_rank": "LoRA rank",
    "lora_alpha": "LoRA alpha",
    "compile": "Compile the layers",
    "shard": "Shard the model",
    "plus": "Further losses",
    "checkpoint_seconds": "Seconds between checkpoints",
}


def field_for(parameter: Parameter) -> forms.Field:
    """The form field of one knob."""
    label = LABELS.get(parameter.name, parameter.name.replace("_", " ").capitalize())
    help_text = "" if parameter.help == f"{label}." else parameter.help
    if parameter.name in LABELS and label.lower() != parameter.name.replace("_", " "):
        label = f"{label} ({parameter.name})"
    shared: dict[str, Any] = {"label": label, "help_text": help_text, "initial": parameter.default}
    if parameter.choices:
        return forms.ChoiceField(choices=[(choice, choice) for choice in parameter.choices], **shared)
    if isinstance(parameter.default, bool):
        return forms.BooleanField(required=False, **shared)
    if isinstance(parameter.default, int):
        low, high = _whole(parameter.minimum), _whole(parameter.maximum)
        return forms.IntegerField(min_value=low, max_value=high, **shared)
    if isinstance(parameter.default, float):
        widget = forms.NumberInput(attrs={"step": "any"})
        return forms.FloatField(min_value=parameter.minimum, max_value=parameter.maximum, widget=widget, **shared)
    return forms.CharField(required=bool(parameter.default), max_length=200, **shared)


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)


class ConfigForm(forms.Form):
    """A form whose last fields are the knobs of a task."""

    knobs: tuple[Parameter, ...]
    method_knobs: list[str]
    common_knobs: list[str]

    def add_knobs(self, knobs: tuple[Parameter, ...], *, own: tuple[Parameter, ...] = ()) -> None:
        """`own` are those of the method alone: they come first."""
        self.knobs = knobs
        names = {knob.name for knob in knobs}
        self.method_knobs = [knob.name for knob in own]
        self.common_knobs = [name for name in COMMON if name in names]
        for knob in knobs:
            self.fields[knob.name] = field_for(knob)

    def own_fields(self) -> list[forms.BoundField]:
        """What the run works on: everything that is no knob of the engine."""
        names = {knob.name for knob in self.knobs}
        return [self[name] for name in self.fields if name not in names]

    def method_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.method_knobs]

    def common_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.common_knobs]

    def advanced_fields(self) -> list[forms.BoundField]:
        shown = {*self.method_knobs, *self.common_knobs}
        return [self[knob.name] for knob in self.knobs if knob.name not in shown]

    def advanced_open(self) -> bool:
        """Whether the folded settings must be shown: something is wrong among them, or not as it is by default."""
        usual = {knob.name: knob.default for knob in self.knobs}
        return any(field.errors or field.initial != usual[field.name] for field in self.advanced_fields())

    def config(self) -> dict[str, Any]:
        """The knobs of the checked form, as the engine's `config`."""
        return {knob.name: self.cleaned_data[knob.name] for knob in self.knobs}


class VersionField(forms.ModelChoiceField):
    def label_from_instance(self, version: DatasetVersion) -> str:
        return f"{version} ({version.counts['rows']['train']:,} rows to train on)"


class TrainForm(ConfigForm):
    def __init__(self, *args: Any, project: Project, method: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        entry = LOSSES[method]
        reward = entry.trains != "policy"
        models = Model.objects.filter(project=project)
        if not reward:
            models = models.filter(kind=Model.Kind.POLICY)
        versions = DatasetVersion.objects.filter(
            dataset__project=project, dataset__kind=entry.dataset_kind, status=DatasetVersion.Status.READY
        ).select_related("dataset")
        self.fields["model"] = forms.ModelChoiceField(
            models,
            label="Model to start from",
            empty_label="Choose one",
            help_text="A policy, an encoder, or an earlier reward model." if reward else "It stays as it is.",
        )
        # Of several, people choose: the newest is as often a trial as what should be trained further.
        found = models.values_list("pk", flat=True)[:2]
        if not self.initial.get("model") and len(found) == 1:
            self.initial["model"] = found[0]
        self.fields["dataset_version"] = VersionField(
            versions.order_by("-id"),
            label="Dataset version",
            empty_label=None,
            help_text="The rows to learn from; the held-out ones measure what came of it.",
        )
        self.add_knobs(parameters("train", entry), own=entry.parameters)


class SampleForm(ConfigForm):
    prompts = forms.IntegerField(
        label="Prompts",
        min_value=1,
        max_value=MOST_PROMPTS,
        initial=DEFAULT_PROMPTS,
        help_text="How many of the project’s prompts: first those without items; the seed decides which.",
    )
    items = forms.BooleanField(
        label="Make items to judge",
        required=False,
        initial=True,
        help_text="Without this the completions are kept and nobody is asked about them.",
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        policies = Model.objects.filter(project=project, kind=Model.Kind.POLICY)
        self.fields["model"] = forms.ModelChoiceField(policies, label="Policy", empty_label=None)
        self.order_fields(["model"])
        self.add_knobs(SAMPLE_CONFIG)


class ModelForm(forms.Form):
    name = forms.CharField(max_length=150, help_text="Annotators never see it.")
    kind = forms.ChoiceField(
        choices=Model.Kind.choices,
        help_text="A policy writes completions. A reward model scores them. "
        "An encoder does neither; a reward model can start from it.",
    )
    folder = forms.CharField(
        label="Folder or hub id",
        max_length=500,
        help_text="A folder below models/ in the data folder, such as my-llama, or a hub id, such as org/name.",
    )
