"""The table of methods over HTTP: what there is to train with, and every setting."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from training.api.serializers import MethodsOutput
from training.engine.losses import LOSSES


class Methods(APIView):
    @extend_schema(responses=MethodsOutput)
    def get(self, request: Request) -> Response:
        return Response(MethodsOutput({"results": LOSSES.values(), "next": None}).data)
