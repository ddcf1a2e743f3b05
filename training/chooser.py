"""The methods as people choose among them: grouped by what they learn from, with the versions that are ready."""

from dataclasses import dataclass

from annotate.models import Project
from exports.models import DatasetVersion
from training.engine.losses import LOSSES
from training.engine.methods import Method


@dataclass(frozen=True, slots=True)
class Group:
    """Methods that learn from the same kind of data; ``ready`` is the newest version that they can take, or None."""

    name: str
    title: str
    about: str
    kinds: tuple[str, ...]
    methods: tuple[Method, ...]
    ready: DatasetVersion | None

    @property
    def mixed(self) -> bool:
        """Whether the methods differ in the kind of their dataset, so that each says its own."""
        return len(self.kinds) > 1


TITLES = {
    "pairs": (
        "Pairs, with a reference policy",
        "One answer was preferred to another. The policy learns the difference and is held to where it began.",
    ),
    "pairs_alone": (
        "Pairs, without a reference",
        "The same data at half the work: nothing but the length or the likelihood holds the policy.",
    ),
    "thumbs": ("Thumbs up and down", "Single answers that somebody liked or did not; no pairs are needed."),
    "lists": ("Ranked lists", "Several answers to one prompt, ranked or scored, learnt together."),
    "demonstrations": ("Demonstrations", "Answers to imitate, such as corrections that people wrote."),
    "reward": ("Reward models", "Not a policy but a judge: gives every answer a number."),
}


def group_of(method: Method) -> str:
    """The group that a method is shown in, a key of TITLES."""
    if method.trains == "reward":
        return "reward"
    if method.dataset_kind == "pairwise":
        return "pairs" if method.needs_reference else "pairs_alone"
    return {"binary": "thumbs", "listwise": "lists", "demonstration": "demonstrations"}[method.dataset_kind]


def method_groups(project: Project) -> list[Group]:
    """Every method once, in the order of TITLES."""
    newest = _newest_ready(project)
    groups = []
    for name, (title, about) in TITLES.items():
        methods = tuple(method for method in LOSSES.values() if group_of(method) == name)
        kinds = tuple(dict.fromkeys(method.dataset_kind for method in methods))
        ready = next((newest[kind] for kind in kinds if kind in newest), None)
        groups.append(Group(name, title, about, kinds, methods, ready))
    return groups


def _newest_ready(project: Project) -> dict[str, DatasetVersion]:
    """The newest ready version of each kind of dataset."""
    ready = DatasetVersion.objects.filter(dataset__project=project, status=DatasetVersion.Status.READY)
    # Ascending, so that the last one of a kind stays.
    return {version.dataset.kind: version for version in ready.select_related("dataset").order_by("pk")}
