"""Migration of a store to the schema of this release."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, inspect, text

from treadle.errors import OperatorError
from treadle.store.database import begin_write

# The newest of migrations/versions, as a test checks. It is known here without importing Alembic.
HEAD_REVISION: Final = "0023"

# A number that no other program on the database takes for its advisory lock.
_LOCK: Final = 0x7472_6561_646C_65  # "treadle"


def is_known(revision: str) -> bool:
    """Return whether this release knows a schema revision; one of a newer treadle it does not."""
    versions = Path(__file__).with_name("migrations") / "versions"
    return any(path.stem.partition("_")[0] == revision for path in versions.glob("*.py"))


def migrate_schema(engine: Engine) -> None:
    """Run the migrations that a store lacks, all in one transaction.

    Processes that start together wait for each other: the first migrates, the others find it done.

    Raises:
        OperatorError: the store was made by a newer treadle.
    """
    with engine.connect() as connection:
        if _read_revision(connection) == HEAD_REVISION:
            return
    with begin_write(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        found = _read_revision(connection)
        if found != HEAD_REVISION:
            _run_migrations(connection, found)


def _read_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.execute(
        text("SELECT version_num FROM alembic_version")
    ).scalar_one_or_none()
    return version


def _run_migrations(connection: Connection, found: str | None) -> None:
    # Imported here: starting with a store that needs no migration is the usual case.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise OperatorError(
            f"the store was made by a newer treadle (its schema is {found}, this one knows up to "
            f"{HEAD_REVISION}): install that version again"
        )
    command.upgrade(config, "head")
