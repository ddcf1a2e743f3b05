"""Pages of people: signing in and out, the password, API tokens."""

from typing import cast

from django.contrib import messages
from django.contrib.auth import views as auth
from django.contrib.messages.views import SuccessMessageMixin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from feedback_site.accounts.forms import SignInForm, TokenForm
from feedback_site.accounts.models import ApiToken, User
from feedback_site.accounts.tokens import create_token, revoke_token


@method_decorator(require_http_methods(["GET", "HEAD", "POST"]), name="dispatch")
class SignIn(auth.LoginView):
    """Also cycles the session's id, so that a planted one is worth nothing."""

    template_name = "accounts/login.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True


@method_decorator(require_http_methods(["GET", "HEAD", "POST"]), name="dispatch")
class ChangePassword(SuccessMessageMixin, auth.PasswordChangeView):
    """Ends every other session of the same person."""

    template_name = "accounts/password.html"
    success_url = reverse_lazy("home")
    success_message = "Your password is changed. You have been signed out everywhere else."


@method_decorator(require_POST, name="dispatch")
class SignOut(auth.LogoutView):
    """Signing out is a change, so a link cannot do it."""


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """One's own tokens. A new one is in the answer to the form that made it, and never again."""
    user = cast(User, request.user)
    form = TokenForm(request.POST or None)
    made = None
    if request.method == "POST" and form.is_valid():
        _, made = create_token(
            user=user,
            name=form.cleaned_data["name"],
            scopes=form.cleaned_data["scopes"],
            expires_at=form.expires_at(),
        )
        form = TokenForm()
    alive = ApiToken.objects.usable().filter(user=user)
    return render(request, "accounts/tokens.html", {"form": form, "made": made, "tokens": alive})


@require_POST
def token_revoke(request: HttpRequest, pk: int) -> HttpResponse:
    token = ApiToken.objects.filter(user=cast(User, request.user), pk=pk).first()
    if token is None:
        raise Http404
    revoke_token(token=token)
    messages.success(request, f"The token “{token.name}” opens nothing any more.")
    return redirect("tokens")
