"""PostgreSQL as an ordinary user has it: a superuser's rights cannot be revoked."""

import secrets
from collections.abc import Iterator

import pytest
from psycopg import sql
from tests.servers.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres_user_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database for a role that may create schemas in it, no more."""
    admin = postgres_server.create_database()
    database = admin.rsplit("/", 1)[1]
    role, password = f"loader_{secrets.token_hex(4)}", secrets.token_hex(8)
    postgres_server.execute(
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
            sql.Identifier(role), sql.Literal(password)
        )
    )
    postgres_server.execute(
        sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
            sql.Identifier(database), sql.Identifier(role)
        )
    )
    yield f"postgresql://{role}:{password}@127.0.0.1:{postgres_server.port}/{database}"
    postgres_server.drop_database(admin)
