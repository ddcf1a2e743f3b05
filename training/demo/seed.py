"""The demo project: people, prompts, pairs that can be judged at once, and the first job. Idempotent."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils.crypto import get_random_string

from annotate.models import Membership, Project
from annotate.services.items import add_rows
from feedback_site.accounts.models import User
from training.engine.starter.demo import demo_pairs, demo_prompts
from training.models import Model, Run
from training.services.models import ModelError, register_model
from training.services.runs import Selection, start_run

SLUG = "demo"
ROLES = {"lead": Membership.Role.OWNER, "annotator": Membership.Role.ANNOTATOR}
GUIDELINES = """Which answer would you rather get?

- **Helpful** beats clever: it answers what was asked.
- **Finished** beats cut off: the last sentence ends.
- **Polite and brief** beats curt or long-winded.

If neither answer is acceptable, say *both bad*. If they are equally good, call it a tie.
"""
SAMPLED_PROMPTS = 60
# A small policy makes slips of the tongue at 1.0; below, two answers to a prompt still differ.
TEMPERATURE = 0.8


@dataclass(frozen=True, slots=True)
class Login:
    user: User
    password: str


def seed_demo() -> tuple[Project, list[Login]]:
    """The project and its two log-ins; what is there already is left as it is."""
    logins = [_login(name) for name in ROLES]
    lead = logins[0].user
    with transaction.atomic():
        project, created = Project.objects.get_or_create(
            slug=SLUG,
            defaults={
                "name": "Demo: helpful answers",
                "kind": Project.Kind.PAIRWISE,
                "guidelines": GUIDELINES,
                "overlap": 1,
                "created_by": lead,
            },
        )
        for login in logins:
            Membership.objects.get_or_create(
                project=project, user=login.user, defaults={"role": ROLES[login.user.username]}
            )
    if created:
        add_rows(project=project, rows=demo_pairs(), created_by=lead)
        add_rows(project=project, rows=[{"prompt": prompt["messages"]} for prompt in demo_prompts()], created_by=lead)
    _first_policy(project, lead)
    return project, logins


def _first_policy(project: Project, lead: User) -> None:
    """Queue the starter policy, or take in the model that the operator named, unless the project has one."""
    if Model.objects.filter(project=project).exists() or Run.objects.filter(project=project).exists():
        return
    selection = Selection(prompts=SAMPLED_PROMPTS, items=True, config={"temperature": TEMPERATURE})
    if not settings.BASE_MODEL:
        start_run(project=project, task=Run.Task.STARTER, selection=selection, created_by=lead)
        return
    try:
        model = register_model(
            project=project,
            name="base",
            kind=Model.Kind.POLICY,
            folder=settings.BASE_MODEL,
            created_by=lead,
            anywhere=True,
        )
    except ModelError as error:
        raise ModelError("PLUMB_BASE_MODEL", f"PLUMB_BASE_MODEL cannot be used: {error}") from None
    start_run(
        project=project,
        task=Run.Task.SAMPLE,
        model=model,
        config=selection.config,
        selection=selection,
        created_by=lead,
    )


def _login(name: str) -> Login:
    """The user with a password of this installation, kept where only the operator can read it."""
    path = Path(settings.DATA_DIR) / "demo_logins.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    user = User.objects.filter(username=name).first()
    if user is None or name not in known:
        known[name] = get_random_string(12)
        user = user or User(username=name, email=f"{name}@example.org")
        user.set_password(known[name])
        user.save()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(known, file)
    return Login(user=user, password=known[name])
