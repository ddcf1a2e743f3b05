import pytest

from tests.makers import make_annotator


@pytest.fixture
def ann(project):
    """An annotator of the project."""
    return make_annotator(project, "ann")


@pytest.fixture
def ben(project):
    """Another annotator of the project."""
    return make_annotator(project, "ben")
