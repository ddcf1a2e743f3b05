"""The methods as people choose among them: grouped by what they learn from, with the versions that are ready."""

from dataclasses import dataclass

from annotate.models import Project
from exports.models import DatasetVersion
from training.engine.catalogue import GROUPS, methods_of
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


def method_groups(project: Project, version: DatasetVersion | None = None) -> list[Group]:
    """Every method once, in the order of GROUPS; with a version, only those that learn from its kind of dataset."""
    newest = {version.dataset.kind: version} if version else _newest_ready(project)
    groups = []
    for name, (title, about) in GROUPS.items():
        methods = tuple(one for one in methods_of(name) if version is None or one.dataset_kind in newest)
        if not methods:
            continue
        kinds = tuple(dict.fromkeys(method.dataset_kind for method in methods))
        ready = next((newest[kind] for kind in kinds if kind in newest), None)
        groups.append(Group(name, title, about, kinds, methods, ready))
    return groups


def _newest_ready(project: Project) -> dict[str, DatasetVersion]:
    """The newest ready version of each kind of dataset."""
    ready = DatasetVersion.objects.filter(dataset__project=project, status=DatasetVersion.Status.READY)
    # Ascending, so that the last one of a kind stays.
    return {version.dataset.kind: version for version in ready.select_related("dataset").order_by("pk")}
