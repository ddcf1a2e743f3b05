"""The only way to load an object of this room from a request: through the project that it belongs to."""

from django.db.models import QuerySet
from django.http import Http404

from annotate.access import check_role, visible_projects
from annotate.models import Project
from exports.models import DatasetVersion
from feedback_site.accounts.models import User
from training.models import Model, Run


def is_id(text: str) -> bool:
    """Whether a word of an address can be an id: digits, no more of them than a database has room for."""
    return text.isdecimal() and len(text) < 19


def reviewed_projects(user: User) -> QuerySet[Project]:
    """The projects whose runs and models the user may see. Annotators judge blind, so they do not."""
    return visible_projects(user, "review")


def visible_runs(user: User) -> QuerySet[Run]:
    return Run.objects.filter(project__in=reviewed_projects(user))


def visible_models(user: User) -> QuerySet[Model]:
    return Model.objects.filter(project__in=reviewed_projects(user))


def get_run(user: User, pk: int, may: str = "review") -> Run:
    run = Run.objects.select_related("project", "job", "model", "dataset_version__dataset").filter(pk=pk).first()
    if run is None:
        raise Http404
    check_role(user, run.project, may)
    return run


def get_model(user: User, pk: int, may: str = "review") -> Model:
    model = Model.objects.select_related("project", "run", "parent", "dataset_version__dataset").filter(pk=pk).first()
    if model is None:
        raise Http404
    check_role(user, model.project, may)
    return model


def get_version_by_id(user: User, pk: int, may: str = "review") -> DatasetVersion:
    """A dataset version by its own id, as the API of runs names it."""
    version = DatasetVersion.objects.select_related("dataset__project", "job").filter(pk=pk).first()
    if version is None:
        raise Http404
    check_role(user, version.dataset.project, may)
    return version
