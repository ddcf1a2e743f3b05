"""Sites for tests that need everything: embedded, and over PostgreSQL with a broker where they can be had."""

import os
import uuid
from collections.abc import Iterator

import pytest

from tests.loop.site import LiveSite


@pytest.fixture
def embedded_site(tmp_path) -> Iterator[LiveSite]:
    with LiveSite(tmp_path) as site:
        yield site


@pytest.fixture
def server_site(tmp_path) -> Iterator[LiveSite]:
    """PostgreSQL, Redis and Celery, with a database and a queue of its own."""
    server = os.environ.get("DATABASE_URL", "")
    redis = os.environ.get("PLUMB_TEST_REDIS_URL", "")
    if not server.startswith("postgres") or not redis:
        pytest.skip("needs DATABASE_URL on PostgreSQL and PLUMB_TEST_REDIS_URL; run make test-services")
    import psycopg

    name = f"plumb_loop_{uuid.uuid4().hex[:12]}"
    base = server.rpartition("/")[0]
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
        try:
            with LiveSite(tmp_path, database=f"{base}/{name}", broker=redis) as site:
                yield site
        finally:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
