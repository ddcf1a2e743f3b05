"""Who may do what, address by address. A route that is not here fails the tests: add a line when you add a route.

A line is the method, the route's name and a rule, which says who comes through. Arguments of the address are filled
in by world.py. What comes through may still be a refusal of content (400, 409, 422), since the requests are empty.
"""

from dataclasses import dataclass, field
from typing import Literal

Person = Literal[
    "anonymous", "outsider", "viewer", "annotator", "manager", "owner", "token_read", "token_annotate", "token_manage"
]
PEOPLE: tuple[Person, ...] = Person.__args__  # type: ignore[attr-defined]
MEMBERS = ("viewer", "annotator", "manager", "owner")

IN = "comes through"
SIGN_IN = "is sent to sign in"


@dataclass(frozen=True)
class Rule:
    """Members among `roles` come through, other members get 403; outsiders 404, unless `everybody` signed in may."""

    roles: tuple[str, ...] = MEMBERS
    everybody: bool = False
    public: bool = False
    others: int = 403  # what members get who may not


PUBLIC = Rule(public=True, everybody=True)
SIGNED_IN = Rule(everybody=True)
VIEW = Rule()
REVIEW = Rule(("viewer", "manager", "owner"))
ANNOTATE = Rule(("annotator", "manager", "owner"))
MANAGE = Rule(("manager", "owner"))
OWN = Rule(("owner",))
PRIVATE = Rule(("owner",), others=404)  # the thing of one person: world.py makes it alice's, who is the owner


@dataclass(frozen=True)
class Line:
    method: str
    route: str
    rule: Rule
    scope: str = ""  # of a token; "" for read on GET and manage on the rest
    api: bool = False
    differs: dict[str, int | str] = field(default_factory=dict)  # person → what they get instead

    def __str__(self) -> str:
        return f"{self.method} {self.route}"

    def expected(self, person: Person) -> int | str:
        if person in self.differs:
            return self.differs[person]
        if self.rule.public:
            return IN
        if person == "anonymous":
            return 401 if self.api else SIGN_IN
        if person.startswith("token_"):
            if not self.api:
                return SIGN_IN  # pages are for browsers
            needed = self.scope or ("read" if self.method == "GET" else "manage")
            return IN if person == f"token_{needed}" else 403
        if self.rule.everybody or person in self.rule.roles:
            return IN
        return 404 if person == "outsider" else self.rule.others


def page(method: str, route: str, rule: Rule, **more: int | str) -> Line:
    return Line(method, route, rule, differs=more)


def api(method: str, route: str, rule: Rule, scope: str = "", **more: int | str) -> Line:
    return Line(method, route, rule, scope, api=True, differs=more)


# The table.
LINES = [
    # feedback_site
    page("GET", "healthz", PUBLIC),
    page("GET", "readyz", PUBLIC),
    page("GET", "login", PUBLIC),
    page("POST", "login", PUBLIC),
    page("POST", "logout", SIGNED_IN),
    page("GET", "password", SIGNED_IN),
    page("POST", "password", SIGNED_IN),
    page("GET", "tokens", SIGNED_IN),
    page("POST", "tokens", SIGNED_IN),
    page("POST", "token_revoke", PRIVATE),
    api("GET", "schema", PUBLIC),
    api("GET", "docs", PUBLIC),
    # jobs (the job is one of the project)
    page("GET", "jobs", SIGNED_IN),
    page("GET", "job", REVIEW, annotator=404),
    page("GET", "job_progress", REVIEW, annotator=404),
    page("GET", "job_log", REVIEW, annotator=404),
    page("POST", "job_cancel", MANAGE, annotator=404),
    page("POST", "job_retry", MANAGE, annotator=404),
    api("GET", "api_jobs", SIGNED_IN),
    api("GET", "api_job", REVIEW, annotator=404),
    api("GET", "api_job_log", REVIEW, annotator=404),
    api("POST", "api_job_cancel", MANAGE, annotator=404),
    api("POST", "api_job_retry", MANAGE, annotator=404),
    # annotate
    page("GET", "home", SIGNED_IN),
    page("GET", "project_new", SIGNED_IN),
    page("POST", "project_new", SIGNED_IN),
    page("GET", "project", VIEW),
    page("GET", "project_edit", MANAGE),
    page("POST", "project_edit", MANAGE),
    page("POST", "project_archive", OWN),
    page("GET", "members", MANAGE),
    page("POST", "members", MANAGE),
    page("POST", "member_role", MANAGE),
    page("POST", "member_remove", MANAGE),
    page("POST", "invitation_revoke", MANAGE),
    page("GET", "invitation", PUBLIC),
    page("POST", "invitation", PUBLIC),
    page("GET", "judge", ANNOTATE),
    page("POST", "judge_next", ANNOTATE),
    page("GET", "import", MANAGE),
    page("POST", "import", MANAGE),
    page("GET", "item_import", MANAGE),
    page("POST", "import_trial", MANAGE),
    page("GET", "import_problems", MANAGE),
    api("GET", "api_projects", SIGNED_IN),
    api("POST", "api_projects", SIGNED_IN),
    api("GET", "api_project", VIEW),
    api("PATCH", "api_project", MANAGE),
    api("POST", "api_items", MANAGE),
    api("GET", "api_imports", MANAGE),
    api("POST", "api_imports", MANAGE),
    api("GET", "api_import", MANAGE),
    api("POST", "api_claim", ANNOTATE, "annotate"),
    api("GET", "api_judgements", VIEW),
    api("POST", "api_submit", ANNOTATE, "annotate"),
    api("POST", "api_skip", ANNOTATE, "annotate"),
    api("POST", "api_release", ANNOTATE, "annotate"),
    api("POST", "api_heartbeat", ANNOTATE, "annotate"),
    # What alice, the owner, said and skipped: nobody else changes it. (A manager's empty revision is refused as empty.)
    api("POST", "api_withdraw", OWN, "annotate"),
    api("POST", "api_revise", OWN, "annotate", manager=IN),
    api("POST", "api_withdraw_skip", PRIVATE, "annotate"),
    # exports
    page("GET", "datasets", REVIEW),
    page("POST", "datasets", MANAGE),
    page("GET", "dataset", REVIEW),
    page("POST", "dataset_build", MANAGE),
    page("GET", "dataset_version", REVIEW),
    page("GET", "dataset_file", REVIEW),
    api("GET", "api_datasets", REVIEW),
    api("POST", "api_datasets", MANAGE),
    api("GET", "api_dataset", REVIEW),
    api("GET", "api_versions", REVIEW),
    api("POST", "api_versions", MANAGE),
    api("GET", "api_version", REVIEW),
    api("GET", "api_version_file", REVIEW),
    # training
    page("GET", "runs", REVIEW),
    page("GET", "compare_runs", REVIEW),
    page("GET", "choose_method", MANAGE),
    page("GET", "train", MANAGE),
    page("POST", "train", MANAGE),
    page("GET", "sample", MANAGE),
    page("POST", "sample", MANAGE),
    page("GET", "run", REVIEW),
    page("GET", "run_curves", REVIEW),
    page("POST", "run_retry", MANAGE),
    page("GET", "models", REVIEW),
    page("POST", "models", MANAGE),
    page("POST", "starter", MANAGE),
    page("GET", "model", REVIEW),
    page("POST", "model_promote", MANAGE),
    api("GET", "api_methods", SIGNED_IN),
    api("GET", "api_runs", SIGNED_IN),
    api("POST", "api_runs", SIGNED_IN),
    api("GET", "api_run", REVIEW),
    api("GET", "api_run_metrics", REVIEW),
    api("POST", "api_run_cancel", MANAGE),
    api("GET", "api_models", SIGNED_IN),
    api("POST", "api_models", SIGNED_IN),
    api("GET", "api_model", REVIEW),
    api("GET", "api_model_lineage", REVIEW),
    api("POST", "api_model_promote", MANAGE),
]
