import pytest

from feedback_site.jobs import registry


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    """A registry of the test's own, so that handlers made in a test are gone after it."""
    known = dict(registry.HANDLERS)
    monkeypatch.setattr(registry, "HANDLERS", known)
    return known
