"""The schema of a store: made for a new one, migrated to that of this release for an older one."""

import logging
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sqlalchemy import (
    Column,
    Connection,
    Dialect,
    Engine,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.schema import CreateIndex, CreateTable

from treadle.errors import OperatorError
from treadle.sqlite_snapshot import open_snapshot
from treadle.store.database import begin_write
from treadle.store.errors import MissingStoreError
from treadle.store.schema import complete_indexes, meta, metadata

logger = logging.getLogger("treadle.store")

# The newest of migrations/versions, as a test checks. It is known here without importing Alembic.
HEAD_REVISION: Final = "0031"

LEAST_VERSION: Final = ""
"""The newest schema revision that a treadle has to know to open a store of this release; empty for
any that asks. The greatest `least_version` of migrations/versions, as a test checks."""

# As Alembic makes it, which reads it in every store.
_version: Final = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

COPIES_KEPT: Final = 3
"""Copies of a store that are kept, of those before its last migrations."""

COPY_MARK: Final = ".before-"
"""In the name of a copy, followed by the schema revision that the store was migrated to."""

COLUMNS_NAMED_MAX: Final = 5
"""Most columns that an error names."""

_STATEMENTS: Final[dict[str, tuple[str, ...]]] = {}
"""By the name of a dialect. To write them takes longer than to run them on SQLite, and a process
that opens many stores, as tests do, writes them once."""

# A number that no other program on the database takes for its advisory lock.
_LOCK: Final = 0x7472_6561_646C_65  # "treadle"


def is_known(revision: str) -> bool:
    """Return whether this release knows a schema revision; one of a newer treadle it does not."""
    versions = Path(__file__).with_name("migrations") / "versions"
    return any(path.stem.partition("_")[0] == revision for path in versions.glob("*.py"))


def has_schema(engine: Engine) -> bool:
    """Return whether a database has the schema of a store, of whatever release."""
    with engine.connect() as connection:
        return read_revision(connection) is not None


def may_open(found: str, least: str) -> bool:
    """Return whether this release may open the store of a newer one as it is.

    A migration first adds, and a later release takes away what nobody uses any more. So the
    releases of a cluster are replaced one after the other, and the one before can be brought back.

    Args:
        found: the schema revision of the store, which this release does not know.
        least: the newest revision that a treadle has to know; empty for none.
    """
    return found > HEAD_REVISION >= least


def migrate_schema(engine: Engine, *, make: bool = True) -> None:
    """Make the schema of a new store, or run the migrations that a store lacks.

    Either is one transaction. Processes that start together wait for each other: the first one does
    it, the others find it done. A store in a file is copied before it is migrated, so that the
    release before can be installed again. The store of a newer treadle is left as it is where that
    one said that older ones may use it.

    Args:
        engine: of the store.
        make: make a schema where there is none.

    Raises:
        MissingStoreError: there is none, and none is to be made.
        OperatorError: the store was made by a newer treadle, or cannot be copied.
    """
    with engine.connect() as connection:
        found = read_revision(connection)
        if found == HEAD_REVISION:
            return
        if found is None and not make:
            raise MissingStoreError("there is no store")
        if found is not None and allows_older(connection, found):
            logger.info(
                "the store was migrated by a newer treadle to revision %s, and allows this one, "
                "which knows up to %s",
                found,
                HEAD_REVISION,
            )
            return
    with begin_write(engine) as connection:
        if connection.dialect.name == "postgresql":
            _take_turn(connection)
        found = read_revision(connection)
        if found is None:
            _make_schema(connection)
        elif found != HEAD_REVISION and not allows_older(connection, found):
            _migrate_store(engine, connection, found)


def make_schema(connection: Connection) -> None:
    """Make the schema in a database on a server that has none, in the caller's transaction.

    Raises:
        OperatorError: it has one.
    """
    _take_turn(connection)
    if read_revision(connection) is not None:
        raise OperatorError("another process has just made a store in this database")
    _make_schema(connection)


def _take_turn(connection: Connection) -> None:
    """Wait for others who make or migrate the schema, until the transaction ends."""
    connection.execute(text("SET LOCAL lock_timeout = 0"))  # a migration may take longer
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def allows_older(connection: Connection, found: str) -> bool:
    """Return whether the store is of a newer treadle that lets this one open it."""
    if is_known(found):
        return False
    columns = {one["name"] for one in inspect(connection).get_columns(meta.name)}
    if meta.c.least_version.name not in columns:
        return False
    least = connection.execute(select(meta.c.least_version)).scalar_one_or_none()
    return least is not None and may_open(found, least)


def _migrate_store(engine: Engine, connection: Connection, found: str) -> None:
    """Run the migrations that a store lacks, after it was copied; say so in the log."""
    if not is_known(found):
        raise _make_newer_error(found)
    began = time.monotonic()
    path = None
    if engine.dialect.name == "sqlite" and engine.url.database is not None:
        path = copy_store(Path(engine.url.database), HEAD_REVISION)
    run_migrations(connection, found)
    require_columns(connection, found)
    logger.info(
        "the store was migrated from revision %s to %s in %.1f s%s",
        found,
        HEAD_REVISION,
        time.monotonic() - began,
        "" if path is None else f"; as it was before, it is kept in {path}",
    )


def require_columns(connection: Connection, found: str) -> None:
    """Check that a store has all columns after its migrations.

    A migration may change until it is released. A store that was made in between has its number,
    and not its columns, so every statement that names one of them would fail later.

    Args:
        connection: in the transaction of the migrations, which an error undoes.
        found: the schema revision that the store had before.

    Raises:
        OperatorError: columns are missing.
    """
    there = {
        table: {column["name"] for column in columns}
        for (_, table), columns in inspect(connection).get_multi_columns().items()
    }
    missing = [
        f"{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.columns
        if column.name not in there.get(table.name, ())
    ]
    if missing:
        raise OperatorError(
            f"the store says that its schema is {found}, and a store with that schema has "
            f"{', '.join(missing[:COLUMNS_NAMED_MAX])} when it is migrated to {HEAD_REVISION}; "
            "this one has not, so a treadle between two releases made it, or somebody changed it. "
            "Nothing was changed. Bring back the store from before that, a backup or one of the "
            f"copies {COPY_MARK}* beside its file, and start treadle again"
        )


def copy_store(path: Path, revision: str) -> Path:
    """Copy a store as it is now, and remove the oldest of its copies.

    Args:
        path: of the store. Nobody writes it; the caller's transaction sees to that.
        revision: that it is about to be migrated to.

    Returns:
        The copy.

    Raises:
        OperatorError: it cannot be written.
    """
    copy = path.with_name(f"{path.name}{COPY_MARK}{revision}")
    draft = copy.with_name(f"{copy.name}.new")
    try:
        draft.unlink(missing_ok=True)
        with open_snapshot(path) as snapshot:
            snapshot.begin()
            snapshot.copy(draft)
        draft.replace(copy)
        for old in choose_old_copies(path.name, [one.name for one in path.parent.iterdir()]):
            path.with_name(old).unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise OperatorError(
            f"the store {path} is to be migrated to revision {revision}, and cannot be copied "
            f"before ({why}): make room for another file of its size in its folder, writable for "
            "the user treadle runs as"
        ) from error
    return copy


def choose_old_copies(store: str, names: Iterable[str]) -> list[str]:
    """Return the copies of a store that are not kept any longer.

    Args:
        store: the name of its file.
        names: of the files in its folder.
    """
    head = store + COPY_MARK
    copies = sorted(name for name in names if name.startswith(head) and name[len(head) :].isdigit())
    return copies[:-COPIES_KEPT]


def _make_newer_error(found: str) -> OperatorError:
    return OperatorError(
        f"the store was made by a newer treadle (its schema is {found}, this one knows up to "
        f"{HEAD_REVISION}): install that version again"
    )


def read_revision(connection: Connection) -> str | None:
    """Return the schema revision of a store; None where a database has none."""
    if not inspect(connection).has_table(_version.name):
        return None
    version: str | None = connection.execute(select(_version)).scalar_one_or_none()
    return version


def _make_schema(connection: Connection) -> None:
    """Make the tables as they are now, which takes a tenth of the time of all migrations."""
    dialect = connection.dialect
    if dialect.name not in _STATEMENTS:
        _STATEMENTS[dialect.name] = _write_statements(dialect)
    for statement in _STATEMENTS[dialect.name]:
        connection.exec_driver_sql(statement)
    _version.create(connection, checkfirst=True)
    connection.execute(insert(_version).values(version_num=HEAD_REVISION))


def _write_statements(dialect: Dialect) -> tuple[str, ...]:
    """Return the statements that make all tables and indexes, in the SQL of a database.

    Indexes are made in one order, those of some rows last: among indexes that cost the same SQLite
    takes the newest, and these have the fewest rows.
    """
    complete_indexes(dialect.name)
    statements: list[str] = []
    for table in metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)))
        indexes = sorted(table.indexes, key=_get_index_place)
        statements += [str(CreateIndex(index).compile(dialect=dialect)) for index in indexes]
    return tuple(statements)


def _get_index_place(index: Index) -> tuple[bool, str]:
    return index.dialect_options["sqlite"]["where"] is not None, str(index.name)


def run_migrations(connection: Connection, found: str | None) -> None:
    """Run the migrations after a schema revision.

    Args:
        connection: in a transaction that writes; the caller commits it.
        found: the schema revision of the store; None to make the schema from the first migration
            on, as a test does that compares it.

    Raises:
        OperatorError: the store was made by a newer treadle.
    """
    # Imported here: starting with a store that needs no migration is the usual case.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise _make_newer_error(found)
    command.upgrade(config, "head")
    connection.execute(
        update(meta).where(meta.c.least_version < LEAST_VERSION).values(least_version=LEAST_VERSION)
    )
