"""Claim an item, say what you think of it, or pass (design, section 7). Model names never leave the server here."""

from typing import Any, cast

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.access import annotator_for, get_project, get_skip, get_slot
from annotate.api.judging import (
    HeartbeatOutput,
    JudgementOutput,
    JudgingView,
    LeaseInput,
    LeaseOutput,
    SkipInput,
    SkipOutput,
    SkippedOutput,
    SubmissionInput,
    SubmittedOutput,
    lease_output,
    source_of,
    valid,
)
from annotate.models import Annotator, Project
from annotate.services.judgements import submit_judgement
from annotate.services.slots import claim_slot, heartbeat_slot, release_slot, skip_slot, undo_skip
from feedback_site.accounts.models import User

NEXT = OpenApiParameter("next", str, enum=["1"], description="Also claim the next slot and return it under “next”.")


class Claim(JudgingView):
    @extend_schema(
        request=None,
        responses={200: LeaseOutput, 204: OpenApiResponse(description="Nothing is left for you to judge.")},
    )
    def post(self, request: Request, slug: str) -> Response:
        """Lease the next item to you; until you judge, skip or release it you get the same one again."""
        user = cast(User, request.user)
        project = get_project(user, slug, "annotate")
        slot = claim_slot(project=project, annotator=annotator_for(user, project))
        return Response(status=status.HTTP_204_NO_CONTENT) if slot is None else Response(lease_output(slot))


class Submit(JudgingView):
    @extend_schema(
        request=SubmissionInput,
        parameters=[NEXT],
        responses={
            201: SubmittedOutput,
            200: OpenApiResponse(SubmittedOutput, description="Stored by an earlier sending of this submission."),
            409: OpenApiResponse(description="The lease is not for this slot, or you have judged this item already."),
            422: OpenApiResponse(description="The submission id was used for another answer."),
        },
    )
    def post(self, request: Request, pk: int) -> Response:
        """Store your verdict. Send it again with the same submission id until you get an answer."""
        user = cast(User, request.user)
        slot = get_slot(user, pk)
        annotator = annotator_for(user, slot.project)
        given = valid(SubmissionInput(data=request.data))
        submitted = submit_judgement(slot=slot, annotator=annotator, source=source_of(request), **given)
        body = dict(JudgementOutput(submitted.judgement).data) | next_lease(request, slot.project, annotator)
        return Response(body, status=status.HTTP_200_OK if submitted.replay else status.HTTP_201_CREATED)


class SkipSlot(JudgingView):
    @extend_schema(request=SkipInput, parameters=[NEXT], responses=SkippedOutput)
    def post(self, request: Request, pk: int) -> Response:
        """Pass on the item for good, with a reason if you like. Others will be asked instead."""
        user = cast(User, request.user)
        slot = get_slot(user, pk)
        annotator = annotator_for(user, slot.project)
        skip = skip_slot(slot=slot, annotator=annotator, **valid(SkipInput(data=request.data)))
        return Response(dict(SkipOutput(skip).data) | next_lease(request, slot.project, annotator))


class Release(JudgingView):
    @extend_schema(request=LeaseInput, responses={204: None})
    def post(self, request: Request, pk: int) -> Response:
        """Give the item back unjudged; it may come to you again."""
        user = cast(User, request.user)
        slot = get_slot(user, pk)
        given = valid(LeaseInput(data=request.data))
        release_slot(slot=slot, annotator=annotator_for(user, slot.project), **given)
        return Response(status=status.HTTP_204_NO_CONTENT)


class Heartbeat(JudgingView):
    @extend_schema(request=LeaseInput, responses=HeartbeatOutput)
    def post(self, request: Request, pk: int) -> Response:
        """Keep the item while you are at it. 409 once it has gone to somebody else."""
        user = cast(User, request.user)
        slot = get_slot(user, pk)
        given = valid(LeaseInput(data=request.data))
        ends = heartbeat_slot(slot=slot, annotator=annotator_for(user, slot.project), **given)
        return Response(HeartbeatOutput({"lease_expires_at": ends}).data)


class WithdrawSkip(JudgingView):
    @extend_schema(request=None, responses={200: LeaseOutput, 204: OpenApiResponse(description="Others judge it now.")})
    def post(self, request: Request, pk: int) -> Response:
        """Take a skip back and get the item again, if one of its slots is still free."""
        skip = get_skip(cast(User, request.user), pk)
        slot = undo_skip(skip=skip, annotator=skip.annotator)
        return Response(status=status.HTTP_204_NO_CONTENT) if slot is None else Response(lease_output(slot))


def next_lease(request: Request, project: Project, annotator: Annotator) -> dict[str, Any]:
    """`{"next": lease or null}` where `?next=1` asks for it."""
    if request.query_params.get("next") != "1":
        return {}
    slot = claim_slot(project=project, annotator=annotator)
    return {"next": None if slot is None else lease_output(slot)}
