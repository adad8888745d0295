"""What the doctor asks a store on PostgreSQL."""

from dataclasses import dataclass

from sqlalchemy import text

from treadle.store import migration
from treadle.store.database import create_store_engine, translate_errors
from treadle.store.postgres import StoreDurability, read_durability, read_server_time


@dataclass(frozen=True, slots=True)
class ServerExamination:
    """What was found.

    Attributes:
        form: the revision of its schema; None where there is no store.
        key_check: the check value of its key; None as above.
        newest: the latest time that it contains, microseconds since 1970; None for none.
        now: the server's time.
        durability: of the server.
        may_open: this release may use it as it is.
    """

    form: str | None
    key_check: str | None
    newest: int | None
    now: int
    durability: StoreDurability
    may_open: bool


def examine_server(url: str) -> ServerExamination:
    """Look at a store; nothing is made and nothing is migrated.

    Raises:
        OperatorError: the URL, or the rights of the user, are at fault.
        RetriableError: no server can be reached.
    """
    engine = create_store_engine(url)
    try:
        with translate_errors(), engine.connect() as connection:
            now, durability = read_server_time(connection), read_durability(connection)
            form = migration.read_revision(connection)
            if form is None:
                return ServerExamination(None, None, None, now, durability, may_open=False)
            check = connection.execute(text("SELECT key_check FROM meta")).scalar_one_or_none()
            newest = connection.execute(
                text(
                    "SELECT greatest((SELECT max(finished_at) FROM loads), "
                    "(SELECT max(updated_at) FROM sources), (SELECT max(created_at) FROM accounts))"
                )
            ).scalar_one()
            allowed = migration.is_known(form) or migration.allows_older(connection, form)
            return ServerExamination(form, check, newest, now, durability, allowed)
    finally:
        engine.dispose()
