"""Judgements that were given: read, revised, withdrawn (design, section 7)."""

from typing import Any, cast

from django.db.models import BooleanField, ExpressionWrapper, Q
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.access import ALLOWED, annotator_for, check_role, get_judgement, get_project, role_in
from annotate.api.judging import (
    AnswerInput,
    JudgementOutput,
    JudgingView,
    LeaseOutput,
    lease_output,
    source_of,
    valid,
)
from annotate.api.rendering import NdjsonRenderer, stream_rows
from annotate.models import Annotator, Judgement
from annotate.services.judgements import revise_judgement, withdraw_judgement
from feedback_site.accounts.models import User
from feedback_site.api import CursorPages

CURRENT = ExpressionWrapper(Q(action=Judgement.Action.JUDGED, replaced_by__isnull=True), output_field=BooleanField())


class ListedJudgement(JudgementOutput):
    annotator = serializers.CharField(source="annotator.name")
    current = serializers.BooleanField(help_text="Neither revised nor withdrawn.")

    class Meta(JudgementOutput.Meta):
        fields = [*JudgementOutput.Meta.fields, "annotator", "current"]


class Judgements(JudgingView):
    renderer_classes = [JSONRenderer, NdjsonRenderer]

    @extend_schema(
        operation_id="judgements_list",
        parameters=[OpenApiParameter("format", str, enum=["json", "ndjson"], description="NDJSON: all, oldest first.")],
        responses={
            (200, "application/json"): ListedJudgement(many=True),
            (200, NdjsonRenderer.media_type): OpenApiTypes.BINARY,
        },
    )
    def get(self, request: Request, slug: str) -> Response | StreamingHttpResponse:
        """Everything that was said, withdrawals and revisions included: pages, newest first, or one stream of lines.

        Annotators get their own judgements.
        """
        user = cast(User, request.user)
        project = get_project(user, slug)
        rows = Judgement.objects.filter(project=project).select_related("annotator").annotate(current=CURRENT)
        if role_in(user, project) not in ALLOWED["review"]:
            rows = rows.filter(annotator__user=user)
        if request.accepted_renderer.format == NdjsonRenderer.format:
            return stream_rows(rows.order_by("pk"), ListedJudgement, file_name=f"{slug}-judgements.ndjson")
        pages = CursorPages()
        page = pages.paginate_queryset(rows, request, self)
        return pages.get_paginated_response(ListedJudgement(page, many=True).data)


class Withdraw(JudgingView):
    @extend_schema(
        request=None,
        responses={200: LeaseOutput, 204: OpenApiResponse(description="Withdrawn; the item is with others now.")},
    )
    def post(self, request: Request, pk: int) -> Response:
        """Undo: your judgement no longer counts, and its item is yours again to judge."""
        judgement, annotator = _to_change(request, pk)
        slot = withdraw_judgement(judgement=judgement, annotator=annotator, source=source_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT) if slot is None else Response(lease_output(slot))


class Revise(JudgingView):
    @extend_schema(
        request=AnswerInput,
        responses={
            201: JudgementOutput,
            200: OpenApiResponse(JudgementOutput, description="Stored by an earlier sending of this submission."),
            409: OpenApiResponse(description="It has been revised or withdrawn meanwhile."),
            422: OpenApiResponse(description="The submission id was used for another answer."),
        },
    )
    def post(self, request: Request, pk: int) -> Response:
        """Put another verdict in the place of your judgement; the old one stays in its history."""
        judgement, annotator = _to_change(request, pk)
        given: dict[str, Any] = valid(AnswerInput(data=request.data))
        revised = revise_judgement(judgement=judgement, annotator=annotator, source=source_of(request), **given)
        body = JudgementOutput(revised.judgement).data
        return Response(body, status=status.HTTP_200_OK if revised.replay else status.HTTP_201_CREATED)


def _to_change(request: Request, pk: int) -> tuple[Judgement, Annotator]:
    """The judgement, and who the user is in its project, where they must be allowed to judge."""
    user = cast(User, request.user)
    judgement = get_judgement(user, pk)
    check_role(user, judgement.project, "annotate")
    return judgement, annotator_for(user, judgement.project)
