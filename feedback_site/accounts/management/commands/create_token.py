"""`manage.py create_token USER`: a token for the API, printed once."""

from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from feedback_site.accounts.models import ApiToken, User
from feedback_site.accounts.tokens import create_token


class Command(BaseCommand):
    help = "Make an API token for a user and print it. It cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        scopes = ApiToken.Scope.values
        parser.add_argument("user", help="The name that the user signs in with.")
        parser.add_argument("--name", default="command line", help="What will use it.")
        parser.add_argument("--scopes", default="read", help=f"Comma-separated, from: {', '.join(scopes)}.")
        parser.add_argument("--expires", default="90", help="In days, as a date such as 2030-01-31, or “never”.")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active user “{options['user']}”. Make one: manage.py createsuperuser")
        scopes = [scope.strip() for scope in options["scopes"].split(",") if scope.strip()]
        if not scopes:
            raise CommandError(
                f"A token without a scope opens nothing. Choose from: {', '.join(ApiToken.Scope.values)}."
            )
        try:
            _, secret = create_token(
                user=user, name=options["name"], scopes=scopes, expires_at=read_expiry(options["expires"])
            )
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(secret)


def read_expiry(text: str) -> datetime | None:
    """Days from now, the end of a date (UTC), or None for “never”; ValueError for what lies in the past."""
    now = timezone.now()
    if text == "never":
        return None
    try:
        moment = now + timedelta(days=int(text)) if text.isdigit() else datetime.fromisoformat(f"{text}T23:59:59+00:00")
    except (ValueError, OverflowError):
        raise ValueError(
            f"--expires is “{text}”; write a number of days, a date such as 2030-01-31, or never."
        ) from None
    if moment <= now:
        raise ValueError(f"--expires is “{text}”, which is past already.")
    return moment
