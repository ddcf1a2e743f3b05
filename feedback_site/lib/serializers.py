"""Fields of the API whose refusals name the cure."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class Choice(serializers.ChoiceField):
    """One of a few words, which are named to whoever writes another."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            return super().to_internal_value(data)
        except serializers.ValidationError as error:
            words = ", ".join(str(word) for word in self.choices)
            raise serializers.ValidationError(f'"{data}" is none of {words}.', code="invalid_choice") from error
