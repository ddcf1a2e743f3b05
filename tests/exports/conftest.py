import pytest

from tests.makers import make_annotator, make_item, make_judgement, uids


@pytest.fixture
def judged(project):
    """Twenty pairs, each judged by one annotator for the first completion."""
    annotator = make_annotator(project, "ann")
    for n in range(20):
        item = make_item(project, [f"Good answer {n}.", f"Bad answer {n}."])
        first, second = uids(item)
        make_judgement(item, annotator, {"ranking": [[first], [second]], "strength": 2})
    return project
