"""One of everything that an address can name, in the project “answers”, and somebody for each role in it."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from rest_framework.test import APIClient

from annotate.models import ItemImport, Project, Skip
from annotate.services.members import create_invitation
from annotate.services.slots import claim_slot
from exports.models import Dataset, DatasetVersion
from feedback_site.accounts.models import User
from feedback_site.accounts.tokens import create_token
from feedback_site.jobs.models import Job
from tests.feedback_site.routes.table import Line, Person
from tests.makers import make_annotator, make_item, make_judgement, make_project, make_user, uids
from training.models import Model, Run

ROLES = {"owner": "alice", "manager": "mary", "annotator": "bob", "viewer": "victor"}


COUNTS = {name: dict.fromkeys(("train", "validation", "test"), 0) for name in ("rows", "prompts")}


class World:
    def __init__(self) -> None:
        self.users: dict[str, User] = {role: make_user(name) for role, name in ROLES.items()}
        self.users["outsider"] = make_user("charlie")
        owner = self.users["owner"]
        self.project = make_project("answers", owner=owner)
        for role in ("manager", "annotator", "viewer"):
            self.project.memberships.create(user=self.users[role], role=role)
        self.things = things(self.project, owner, self.users["annotator"])
        _, self.secret = create_invitation(project=self.project, role="viewer", created_by=owner)

    def write_files(self, data_dir: Path) -> None:
        """Of the dataset's version, which has no rows."""
        (data_dir / "v1").mkdir()
        (data_dir / "v1" / "data.jsonl").touch()

    def address(self, route: str, **instead: Any) -> str:
        return reverse(route, kwargs={name: instead.get(name, self.argument(route, name)) for name in arguments(route)})

    def argument(self, route: str, name: str) -> Any:
        if name == "pk":
            return self.things[kind_of(route)].pk
        fixed = {"slug": "answers", "secret": self.secret, "number": 1, "format_name": "jsonl", "method": "dpo"}
        assert name in fixed, f"tests/feedback_site/routes/world.py does not know what to put for <{name}> of {route}"
        return fixed[name]

    def client(self, person: Person, *, csrf: bool = False) -> Client:
        if person == "anonymous":
            return Client(enforce_csrf_checks=csrf)
        if person.startswith("token_"):
            _, secret = create_token(user=self.users["owner"], name="x", scopes=[person.removeprefix("token_")])
            client = APIClient()
            client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
            return client
        browser = Client(enforce_csrf_checks=csrf)
        browser.force_login(self.users[person])
        return browser

    def send(self, line: Line, person: Person, **instead: Any) -> Any:
        call = getattr(self.client(person), line.method.lower())
        return call(self.address(line.route, **instead), **({"content_type": "application/json"} if line.api else {}))


def things(project: Project, owner: User, annotator_user: User) -> dict[str, Any]:
    """The word of the address → the thing that its <pk> names. What is personal belongs to the owner."""
    annotator = make_annotator(project, user=owner)
    judged, skipped = make_item(project), make_item(project)
    judgement = make_judgement(judged, annotator, {"ranking": [[uid] for uid in uids(judged)]})
    make_item(project)
    slot = claim_slot(project=project, annotator=annotator)
    dataset = Dataset.objects.create(project=project, name="data", kind="pairwise")
    version = DatasetVersion.objects.create(
        dataset=dataset, number=1, recipe={}, counts=COUNTS, status="ready", sha256=digest("v1"), folder="v1"
    )
    model = Model.objects.create(
        project=project, name="m", kind="policy", folder="models/m", weights_sha256=digest("m")
    )
    run = Run.objects.create(
        project=project, task="train", method="dpo", model=model, dataset_version=version, folder="runs/1"
    )
    job = Job.objects.create(kind="x", scope=f"project:{project.pk}")
    invitation, _ = create_invitation(project=project, role="viewer", created_by=owner)
    token, _ = create_token(user=owner, name="of alice", scopes=["read"])
    return {
        "tokens": token,
        "jobs": job,
        "members": project.memberships.get(user=annotator_user),
        "invitations": invitation,
        "imports": ItemImport.objects.create(project=project, file_name="rows.jsonl", path="rows", sha256="", bytes=0),
        "slots": slot,
        "judgements": judgement,
        "skips": Skip.objects.create(item=skipped, annotator=annotator),
        "datasets": dataset,
        "runs": run,
        "models": model,
    }


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def routes() -> Iterator[tuple[str, str, URLPattern]]:
    """(name, address pattern, the pattern) of every route of ours; Django's admin has its own tests."""

    def walk(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[tuple[str, str, URLPattern]]:
        for pattern in patterns:
            address = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                if pattern.app_name != "admin":
                    yield from walk(pattern.url_patterns, address)
            else:
                yield pattern.name or f"(unnamed) {address}", address, pattern

    return walk(get_resolver().url_patterns, "")


def found(route: str) -> tuple[str, URLPattern]:
    return next((address, pattern) for name, address, pattern in routes() if name == route)


def arguments(route: str) -> list[str]:
    return list(found(route)[1].pattern.converters)


def kind_of(route: str) -> str:
    """The word before <int:pk>: `datasets/<int:pk>/` is about datasets."""
    return found(route)[0].partition("/<int:pk>")[0].rpartition("/")[2]


def api_methods(view: Callable[..., Any]) -> set[str]:
    """Of an API view: the methods that its class answers, beyond HEAD and OPTIONS."""
    cls = getattr(view, "view_class", None) or view.cls  # type: ignore[attr-defined]
    return {name.upper() for name in ("get", "post", "put", "patch", "delete") if hasattr(cls, name)}
