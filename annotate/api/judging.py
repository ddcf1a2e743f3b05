"""What the judging addresses share: how refusals are worded, what comes in, what goes out."""

import math
from typing import Any

from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from annotate.models import Judgement, Skip, Slot
from annotate.selectors import shown_completions
from annotate.services.leases import Refused, SubmissionReused
from annotate.tasktypes import VerdictError
from feedback_site.accounts.models import ApiToken
from feedback_site.api import ApiError, Conflict


class JudgingView(APIView):
    """A token needs the scope `annotate` to write here."""

    write_scope = ApiToken.Scope.ANNOTATE

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, SubmissionReused):
            exc = ApiError(exc.code, exc.message, status=status.HTTP_422_UNPROCESSABLE_ENTITY)
        elif isinstance(exc, Refused):
            exc = Conflict(exc.code, exc.message)
        elif isinstance(exc, VerdictError):
            field = f"verdict.{exc.field}" if exc.field else "verdict"
            exc = ApiError("invalid", exc.message, fields={field: exc.message})
        elif isinstance(exc, RecursionError):
            exc = ApiError("invalid", "The request is nested too deeply to be a judgement.")
        return super().handle_exception(exc)


class LeaseInput(serializers.Serializer[Any]):
    lease_token = serializers.UUIDField()


class HeartbeatOutput(serializers.Serializer[Any]):
    lease_expires_at = serializers.DateTimeField()


class SkipInput(LeaseInput):
    reason = serializers.CharField(max_length=300, required=False, allow_blank=True, default="")


class AnswerInput(serializers.Serializer[Any]):
    submission_id = serializers.UUIDField(help_text="Made by the client, once per answer; repeated when sent again.")
    verdict = serializers.DictField(help_text="Completions by id; see the task type.")
    seconds = serializers.FloatField(
        min_value=0, required=False, allow_null=True, default=None, help_text="From all shown to submission."
    )

    def validate_seconds(self, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise serializers.ValidationError("Must be a number of seconds, or left out.")
        return value


class SubmissionInput(AnswerInput):
    lease_token = serializers.UUIDField()


class ShownCompletion(serializers.Serializer[Any]):
    id = serializers.CharField(source="uid")
    text = serializers.CharField()


class ShownMessage(serializers.Serializer[Any]):
    role = serializers.CharField()
    content = serializers.CharField()


class ShownItem(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.CharField()
    prompt = ShownMessage(many=True)
    completions = ShownCompletion(many=True, help_text="In the order in which they are to be shown.")


class LeaseOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField(help_text="Of the slot.")
    lease_token = serializers.UUIDField()
    lease_expires_at = serializers.DateTimeField()
    item = ShownItem()


class JudgementOutput(serializers.ModelSerializer[Judgement]):
    class Meta:
        model = Judgement
        fields: list[str] = [
            "id", "submission_id", "item", "slot", "action", "verdict", "seconds", "display_order", "source",
            "over_quota", "replaces", "created_at",
        ]  # fmt: skip


class SubmittedOutput(JudgementOutput):
    """For the schema: a judgement and, where asked for, the next lease."""

    next = LeaseOutput(allow_null=True, required=False)

    class Meta(JudgementOutput.Meta):
        fields = [*JudgementOutput.Meta.fields, "next"]


class SkipOutput(serializers.ModelSerializer[Skip]):
    class Meta:
        model = Skip
        fields = ["id", "item", "reason", "created_at"]


class SkippedOutput(SkipOutput):
    """For the schema: a skip and, where asked for, the next lease."""

    next = LeaseOutput(allow_null=True, required=False)

    class Meta(SkipOutput.Meta):
        fields = [*SkipOutput.Meta.fields, "next"]


def lease_output(slot: Slot) -> dict[str, Any]:
    """A lease as its annotator may see it: the completions in display order, with no word of their origin."""
    item = {
        "id": slot.item_id,
        "kind": slot.item.kind,
        "prompt": slot.item.prompt.messages,
        "completions": shown_completions(slot),
    }
    lease = {"id": slot.pk, "lease_token": slot.lease_token, "lease_expires_at": slot.lease_expires_at, "item": item}
    return dict(LeaseOutput(lease).data)


def source_of(request: Request) -> str:
    return Judgement.Source.API if isinstance(request.auth, ApiToken) else Judgement.Source.BROWSER


def valid(serializer: serializers.Serializer[Any]) -> dict[str, Any]:
    """The checked content of a request; the framework's ValidationError otherwise."""
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)
