"""One whole turn without people: scripted annotators judge through the real API, then datasets, training, sampling."""

import random
import uuid
from collections.abc import Callable
from datetime import timedelta
from statistics import fmean
from typing import Any

from django.utils import timezone

from annotate.models import Completion, Membership, Project
from feedback_site.accounts.models import User
from feedback_site.accounts.tokens import create_token, revoke_token
from training.demo.client import ApiRefusal, Client
from training.models import Model, Run

MACHINES = ("robot-1", "robot-2", "robot-3")
KIND_WORDS = ("thank", "please", "happy", "glad", "welcome", "of course", "hope", "great")
ENOUGH_WORDS, MOST_WORDS = 12, 45
# Nobody judges without slips; a rule without any would teach the reward model to be certain.
SLIPS = 0.05
# Scores this close are a tie.
TIE = 0.1

Say = Callable[[str], Any]


class SimulationError(Exception):
    """The turn could not be finished; the text says at which step and why."""


def score(text: str) -> float:
    """What the scripted annotators like: finished, polite answers that say enough and not too much. 0 to 3."""
    finished = text.rstrip().endswith((".", "!", "?"))
    polite = any(word in text.lower() for word in KIND_WORDS)
    words = len(text.split())
    enough = min(words / ENOUGH_WORDS, 1.0) if words <= MOST_WORDS else MOST_WORDS / words
    return float(finished) + float(polite) + enough


def simulate_turn(*, address: str, project: Project, judgements: int, say: Say, revive: Callable[[], Any]) -> None:
    """Wait for the first policy, judge, build, fit, align, sample, judge again. Raises SimulationError."""
    lead = project.created_by
    assert lead is not None
    users = [_machine(project, name) for name in MACHINES]
    expires_at = timezone.now() + timedelta(days=1)
    tokens = [
        create_token(user=user, name="simulation", scopes=scopes, expires_at=expires_at)
        for user, scopes in [(lead, ["read", "manage"]), *((user, ["read", "annotate"]) for user in users)]
    ]
    manager, *annotators = (Client(address, secret, revive) for _, secret in tokens)
    try:
        _turn(project, manager, annotators, judgements, say)
    except ApiRefusal as refusal:
        raise SimulationError(f"The simulated turn stopped: {refusal}") from None
    finally:
        for token, _ in tokens:
            revoke_token(token=token)


def _turn(project: Project, manager: Client, annotators: list[Client], judgements: int, say: Say) -> None:
    say("Waiting for the first policy and its completions")
    policy = _first_policy(project, manager, say)
    say(f"Judging {judgements} items")
    done = judge(project.slug, annotators, judgements)
    say(f"    {done} judgements")
    stamp = timezone.now().strftime("%H%M%S")
    version = _build(project.slug, manager, f"simulated {stamp}", say)
    say("Fitting a Bradley–Terry reward model")
    reward = _run(
        manager, {"task": "train", "method": "bradley_terry", "model": policy, "dataset_version": version}, say
    )
    _say_held_out(reward, say)
    say("Running DPO")
    aligned = _run(
        manager,
        {
            "task": "train",
            "method": "dpo",
            "model": policy,
            "dataset_version": version,
            "config": {"learning_rate": 3e-4, "epochs": 3},
            "prompts": 40,
        },
        say,
    )
    _say_held_out(aligned, say)
    sampling = manager.get(f"/jobs/{aligned['job']}/")["result"]["sampling"]
    say("Sampling the new policy")
    manager.wait_for_job(manager.get(f"/runs/{sampling}/")["job"], say)
    say("Judging the new completions")
    say(f"    {judge(project.slug, annotators, judgements)} judgements")
    before, after = (_mean_score(model) for model in (policy, aligned["output_model"]))
    say(f"Mean score of the rule, 0 to 3: {before:.2f} before, {after:.2f} after DPO")


def _say_held_out(run: dict[str, Any], say: Say) -> None:
    for split, figures in run["result"]["eval"].items():
        if figures.get("accuracy") is not None:
            say(
                f"    {split}: accuracy {figures['accuracy']:.3f} "
                f"[{figures['accuracy_low']:.3f}, {figures['accuracy_high']:.3f}] on {figures['n']} pairs"
            )


def _first_policy(project: Project, manager: Client, say: Say) -> int:
    """The id of the project's first policy, once it is made and sampled."""
    for run in Run.objects.filter(project=project, collected_at=None).order_by("pk"):
        if run.job_id is not None:
            result = manager.wait_for_job(run.job_id, say)["result"]
            if following := result.get("sampling"):
                manager.wait_for_job(manager.get(f"/runs/{following}/")["job"], say)
    policy = Model.objects.filter(project=project, kind=Model.Kind.POLICY).order_by("pk").first()
    if policy is None:
        raise SimulationError("The demo project has no policy; see its runs for the reason.")
    return policy.pk


def judge(slug: str, annotators: list[Client], wanted: int) -> int:
    """Claim and submit in turn until `wanted` are given or nothing is left. Returns how many were given."""
    chance = random.Random(wanted)  # noqa: S311 - slips need no secrecy
    working = list(annotators)
    given = 0
    while working and given < wanted:
        annotator = working[given % len(working)]
        slot = annotator.post(f"/projects/{slug}/slots/claim/")
        if slot is None:
            working.remove(annotator)
            continue
        verdict = decide(slot["item"]["completions"], chance)
        annotator.post(
            f"/slots/{slot['id']}/judgement/",
            {
                "submission_id": str(uuid.uuid4()),
                "lease_token": slot["lease_token"],
                "verdict": verdict,
                "seconds": round(chance.uniform(3, 30), 1),
            },
        )
        given += 1
    return given


def decide(completions: list[dict[str, str]], chance: random.Random) -> dict[str, Any]:
    """The verdict of the rule on a pair, with now and then a slip."""
    first, second = completions
    gap = score(first["text"]) - score(second["text"])
    if chance.random() < SLIPS:
        gap = -gap
    if abs(gap) < TIE:
        return {"ranking": [[first["id"], second["id"]]]}
    better, worse = (first, second) if gap > 0 else (second, first)
    return {"ranking": [[better["id"]], [worse["id"]]], "strength": min(3, 1 + int(abs(gap)))}


def _build(slug: str, manager: Client, name: str, say: Say) -> int:
    say("Building a dataset")
    dataset = manager.post(f"/projects/{slug}/datasets/", {"name": name, "kind": "pairwise"})
    job = manager.post(f"/datasets/{dataset['id']}/versions/")
    result = manager.wait_for_job(job["id"], say)["result"]
    say(f"    {result['counts']['rows']}")
    return manager.get(f"/datasets/{dataset['id']}/versions/{result['version']}/")["id"]


def _run(manager: Client, body: dict[str, Any], say: Say) -> dict[str, Any]:
    run = manager.post("/runs/", body)
    manager.wait_for_job(run["job"], say)
    return manager.get(f"/runs/{run['id']}/")


def _machine(project: Project, name: str) -> User:
    user, _ = User.objects.get_or_create(username=name, defaults={"is_machine": True})
    Membership.objects.get_or_create(project=project, user=user, defaults={"role": Membership.Role.ANNOTATOR})
    return user


def _mean_score(model: int) -> float:
    texts = Completion.objects.filter(model_id=model).values_list("text", flat=True)
    return fmean(score(text) for text in texts) if texts else 0.0
