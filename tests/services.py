"""`python -m tests.services DATABASE_URL REDIS_URL AMQP_URL`: say which service is missing, before any test runs."""

import sys

from kombu import Connection

NEEDED = (
    ("PostgreSQL", "TEST_DATABASE_URL", "postgres://user:password@host:5432/database"),
    ("Redis", "TEST_REDIS_URL", "redis://host:6379/0"),
    ("RabbitMQ", "TEST_AMQP_URL", "amqp://user:password@host:5672//"),
)


def reach(address: str) -> None:
    """Raises whatever the client raises when nothing answers."""
    if address.startswith("postgres"):
        import psycopg

        psycopg.connect(address, connect_timeout=5).close()
    else:
        with Connection(address, connect_timeout=5) as connection:
            connection.ensure_connection(max_retries=1)


def main(addresses: list[str]) -> int:
    missing = 0
    for (name, variable, example), address in zip(NEEDED, addresses, strict=True):
        try:
            reach(address)
        except Exception as error:  # each client has its own kinds
            missing += 1
            sys.stderr.write(
                f"{name} does not answer at {address} ({error}). "
                f"Start it, or: make test-services {variable}={example}\n"
            )
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
