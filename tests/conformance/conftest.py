"""PostgreSQL as an ordinary user has it: a superuser's rights cannot be revoked."""

from collections.abc import Iterator

import pytest
from tests.servers.postgres import PostgresServer
from tests.servers.role import ordinary_user


@pytest.fixture(scope="session")
def postgres_user_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database for a role that may create schemas in it, no more."""
    yield from _database_of_a_user(postgres_server)


@pytest.fixture(scope="session")
def system_postgres_user_database(system_postgres_server: PostgresServer) -> Iterator[str]:
    """The same on the system's own PostgreSQL, where one is installed."""
    yield from _database_of_a_user(system_postgres_server)


def _database_of_a_user(server: PostgresServer) -> Iterator[str]:
    admin = server.create_database()
    with ordinary_user(admin) as url:
        yield url
    server.drop_database(admin)
