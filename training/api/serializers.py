"""What runs and models look like in the API."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

from feedback_site.lib.serializers import Choice
from training.models import Model, Run


def read_query(kind: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """The checked query of an address. Raises ValidationError, which names the parameter."""
    query = kind(data=request.query_params)
    query.is_valid(raise_exception=True)
    return dict(query.validated_data)


class ListQuery(serializers.Serializer[Any]):
    project = serializers.SlugField(required=False, help_text="Only those of this project.")


class RunInput(serializers.Serializer[Any]):
    task = Choice(choices=Run.Task.choices)
    method = serializers.CharField(required=False, allow_blank=True, default="")
    dataset_version = serializers.IntegerField(required=False, allow_null=True, default=None)
    model = serializers.IntegerField(required=False, allow_null=True, default=None)
    project = serializers.SlugField(required=False, help_text="Needed for the starter policy only.")
    config = serializers.DictField(required=False, default=dict, help_text="Settings of the engine.")
    prompts = serializers.IntegerField(required=False, min_value=1, help_text="Sampling: how many prompts.")
    items = serializers.BooleanField(required=False, default=True, help_text="Sampling: make items to judge.")


class RunOutput(serializers.ModelSerializer[Run]):
    project = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    status = serializers.CharField(source="job.status", default="")
    output_model = serializers.PrimaryKeyRelatedField[Any](read_only=True)

    class Meta:
        model = Run
        fields = [
            "id", "project", "task", "method", "model", "dataset_version", "config", "selection", "status", "job",
            "result", "output_model", "created_at",
        ]  # fmt: skip


class MetricsQuery(serializers.Serializer[Any]):
    after = serializers.IntegerField(required=False, default=-1, help_text="Only steps after this one.")


class MetricPoint(serializers.Serializer[Any]):
    step = serializers.IntegerField()
    metrics = serializers.DictField(child=serializers.FloatField())


class MetricsOutput(serializers.Serializer[Any]):
    results = MetricPoint(many=True)
    next = serializers.CharField(allow_null=True, help_text="Always null: the points come all at once.")


class ModelInput(serializers.Serializer[Any]):
    project = serializers.SlugField()
    name = serializers.CharField(max_length=150)
    kind = Choice(choices=Model.Kind.choices)
    folder = serializers.CharField(max_length=500, help_text="Below models/ of the data folder, or a hub id.")


class ModelOutput(serializers.ModelSerializer[Model]):
    project = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    aliases = serializers.SlugRelatedField[Any](slug_field="name", many=True, read_only=True)

    class Meta:
        model = Model
        fields = [
            "id", "project", "name", "kind", "folder", "weights_sha256", "parent", "run", "dataset_version", "aliases",
            "created_at",
        ]  # fmt: skip


class PromotionInput(serializers.Serializer[Any]):
    alias = serializers.SlugField(max_length=50, default="champion")


class PromotionOutput(serializers.Serializer[Any]):
    alias = serializers.CharField(source="name")
    model = serializers.IntegerField(source="model_id")
    previous = serializers.IntegerField(source="previous_id", allow_null=True)


class LineageModel(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=Model.Kind.choices)
    weights_sha256 = serializers.CharField()
    folder = serializers.CharField()


class LineageRun(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    task = serializers.ChoiceField(choices=Run.Task.choices)
    method = serializers.CharField()
    config = serializers.DictField()


class LineageVersion(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    dataset = serializers.IntegerField()
    name = serializers.CharField()
    version = serializers.IntegerField()
    sha256 = serializers.CharField()
    judgements = serializers.IntegerField()
    annotators = serializers.IntegerField()
    rows = serializers.CharField(help_text="Where the rows are; each names its judgements.")


class LineageStep(serializers.Serializer[Any]):
    model = LineageModel()
    run = LineageRun(allow_null=True)
    dataset_version = LineageVersion(allow_null=True)


class LineageOutput(serializers.Serializer[Any]):
    results = LineageStep(many=True, help_text="The model itself first, then its parent, and so on.")


class ParameterRow(serializers.Serializer[Any]):
    name = serializers.CharField()
    default = serializers.JSONField(help_text="A number, a word, true or false; its type is the setting's type.")
    help = serializers.CharField()
    minimum = serializers.FloatField(allow_null=True, help_text="Allowed itself.")
    maximum = serializers.FloatField(allow_null=True, help_text="Allowed itself.")
    choices = serializers.ListField(child=serializers.CharField(), allow_null=True)


class MethodRow(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="As runs name it.")
    title = serializers.CharField()
    shape = serializers.CharField(help_text="What its loss compares: pairs, lists, single completions.")
    dataset_kind = serializers.CharField(help_text="The kind of dataset that it learns from.")
    trains = serializers.CharField(help_text="policy, reward, or either by its setting of that name.")
    needs_reference = serializers.BooleanField(help_text="Whether a policy is compared with a frozen one.")
    learning_rate = serializers.FloatField(help_text="The default for full fine-tuning.")
    parameters = ParameterRow(many=True, help_text="Settings of its own, beside those that all methods have.")
    formula = serializers.CharField()
    summary = serializers.CharField()
    shapes = serializers.CharField(help_text="What the loss takes and returns, for who calls it from Python.")
    use = serializers.CharField()
    pitfall = serializers.CharField()
    paper = serializers.CharField()


class MethodsOutput(serializers.Serializer[Any]):
    results = MethodRow(many=True)
    next = serializers.CharField(allow_null=True, help_text="Always null: the table comes at once.")
