"""A role like that of an ordinary user: a superuser's rights cannot be revoked."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql


def is_superuser(url: str) -> bool:
    """Whether the user of a URL may do everything."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    return row is not None and bool(row[0])


@contextmanager
def ordinary_user(url: str) -> Iterator[str]:
    """The URL of a new role that may make schemas in the database, no more.

    Args:
        url: of a superuser. The role, and what it made in the database, go at the end.
    """
    role, password = f"loader_{secrets.token_hex(4)}", secrets.token_hex(8)
    parts = urlsplit(url)
    name = sql.Identifier(role)
    database = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(url)["dbname"]))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(password))
        )
        connection.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(database, name))
    try:
        host = parts.netloc.rpartition("@")[2]
        yield urlunsplit(parts._replace(netloc=f"{role}:{password}@{host}"))
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(name))
            connection.execute(sql.SQL("DROP ROLE {}").format(name))
