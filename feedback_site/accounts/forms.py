"""Forms of people: signing in, an account by invitation, a token."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, BaseUserCreationForm
from django.core.exceptions import ValidationError
from django.utils import timezone

from feedback_site.accounts import guard
from feedback_site.accounts.models import ApiToken, User
from feedback_site.lib.net import client_address


class SignInForm(AuthenticationForm):
    """Django's own, behind the guard. A full guard answers before the password is looked at."""

    error_messages = {
        "invalid_login": "This name and password do not go together. Both are case-sensitive.",
        "inactive": "This account has been switched off.",
        "guarded": "Too many attempts. Wait a quarter of an hour and try again.",
    }

    def clean(self) -> dict[str, Any]:
        name = str(self.cleaned_data.get("username") or "").casefold()
        address = client_address(self.request) if self.request else ""
        taken = [(guard.SIGN_IN_AS, (name, address)), (guard.SIGN_IN_FROM, (address,)), (guard.SIGN_IN_NAME, (name,))]
        allowed = [guard.take(limit, *parts) for limit, parts in taken]
        if not all(allowed):
            raise ValidationError(self.error_messages["guarded"], code="guarded")
        cleaned: dict[str, Any] = super().clean()
        for limit, parts in taken:
            guard.give_back(limit, *parts)
        return cleaned


class SignUpForm(BaseUserCreationForm):
    """An account for somebody who holds an invitation. There is no other way to sign up."""

    class Meta:
        model = User
        fields = ["username", "email"]
        help_texts = {"username": "Letters, digits and @ . + - _"}

    def clean_username(self) -> str:
        """Names that differ by capitals only would be mistaken for one another."""
        name: str = self.cleaned_data["username"]
        if User.objects.filter(username__iexact=name).exists():
            raise ValidationError("This name is taken. If it is yours, sign in instead.", code="taken")
        return name


class TokenForm(forms.Form):
    LIVES = [("30", "30 days"), ("90", "90 days"), ("365", "One year"), ("", "It does not expire")]

    name = forms.CharField(max_length=100, help_text="What will use it, such as “import script”.")
    scopes = forms.MultipleChoiceField(
        choices=ApiToken.Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        initial=[ApiToken.Scope.READ],
        label="It may",
        help_text="Within each project, your own role is the limit as well.",
    )
    days = forms.ChoiceField(choices=LIVES, required=False, initial="90", label="Expires after")

    def expires_at(self) -> datetime | None:
        days = self.cleaned_data["days"]
        return timezone.now() + timedelta(days=int(days)) if days else None
