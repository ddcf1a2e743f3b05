"""Who is asking: a bearer token from a program, or the session of a browser."""

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request

from feedback_site.accounts import guard
from feedback_site.accounts.models import ApiToken, User
from feedback_site.accounts.tokens import find_token, note_use
from feedback_site.lib.net import client_address


class BearerToken(BaseAuthentication):
    """`Authorization: Bearer <token>`."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != b"bearer":
            return None
        if len(words) != 2:
            raise AuthenticationFailed("Write the header as: Authorization: Bearer <token>.")
        token = find_token(words[1].decode("latin-1"))
        if token is None:
            if not guard.take(guard.WRONG_TOKENS, client_address(request)):
                raise Throttled(wait=guard.WRONG_TOKENS.window.total_seconds())
            raise AuthenticationFailed("This token is unknown, expired or revoked. Make a new one on the tokens page.")
        note_use(token=token)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="plumb"'


class BrowserSession(SessionAuthentication):
    """The signed-in browser. Writes need the CSRF token."""


class BearerTokenScheme(OpenApiAuthenticationExtension):
    target_class = BearerToken
    name = "token"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


class BrowserSessionScheme(OpenApiAuthenticationExtension):
    target_class = BrowserSession
    name = "session"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "session"}
