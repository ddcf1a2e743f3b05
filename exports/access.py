"""The only way to load an object of this room from a request: through the project that it belongs to."""

from django.http import Http404

from annotate.access import check_role
from exports.models import Dataset, DatasetVersion
from feedback_site.accounts.models import User


def get_dataset(user: User, pk: int, may: str = "review") -> Dataset:
    """Annotators do not see datasets: what others said must not sway them."""
    dataset = Dataset.objects.select_related("project").filter(pk=pk).first()
    if dataset is None:
        raise Http404
    check_role(user, dataset.project, may)
    return dataset


def get_version(user: User, dataset_pk: int, number: int, may: str = "review") -> DatasetVersion:
    dataset = get_dataset(user, dataset_pk, may)
    version = dataset.versions.select_related("dataset__project", "job").filter(number=number).first()
    if version is None:
        raise Http404
    return version
