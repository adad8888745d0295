"""`deploy/container/make-loader.sh`, as the image of PostgreSQL runs it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from tests.servers.postgres import PostgresServer, wheel_binaries

SCRIPT = Path(__file__).parents[2] / "deploy" / "container" / "make-loader.sh"
PASSWORD = 'it\'s $HOME; "quoted"'


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """A database with an odd name; the role is gone afterwards."""
    url = postgres_server.create_database('ware"house')
    yield url
    postgres_server.drop_database(url)
    postgres_server.execute(sql.SQL("DROP ROLE IF EXISTS loader"))


def test_the_role_can_make_schemas_and_nothing_else(
    postgres_server: PostgresServer, database: str
) -> None:
    place = conninfo_to_dict(database)
    environment = {
        "PATH": f"{wheel_binaries()}:{os.environ['PATH']}",
        "PGHOST": str(place["host"]),
        "PGPORT": str(place["port"]),
        "PGPASSWORD": str(place["password"]),
        "POSTGRES_USER": str(place["user"]),
        "POSTGRES_DB": str(place["dbname"]),
        "LOADER_PASSWORD": PASSWORD,
    }
    done = subprocess.run(
        ["/bin/sh", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert PASSWORD not in done.stdout
    with psycopg.connect(
        postgres_server.url(str(place["dbname"]), user="loader", password=PASSWORD), autocommit=True
    ) as connection:
        connection.execute("CREATE SCHEMA shop")
        connection.execute("CREATE TABLE shop.orders (id bigint)")
        found = connection.execute(
            "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = 'loader'"
        )
        assert found.fetchone() == (False, False, False)
