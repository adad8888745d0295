"""Copies a whole store into a database that has none: all rows of all tables, in one transaction.

Values go over as they are stored, sealed secrets too: the key stays the same. Sequences go on
behind the last id that was ever given, also where its row is gone.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple

from psycopg import sql
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Select,
    Text,
    cast,
    func,
    inspect,
    select,
    type_coerce,
    update,
)
from sqlalchemy import (
    column as from_column,
)
from sqlalchemy import (
    table as from_table,
)
from sqlalchemy.schema import Table

from treadle.clock import read_clock
from treadle.errors import OperatorError, RetriableError
from treadle.store import secrets
from treadle.store.database import (
    BOOKKEEPING,
    StoreDatabase,
    StoreTransaction,
    create_store_engine,
    translate_errors,
)
from treadle.store.logs import put_log
from treadle.store.migration import has_schema, make_schema
from treadle.store.model import DestinationSetter, StoredLog
from treadle.store.postgres import find_weakness, parse_place, read_durability
from treadle.store.schema import (
    ClientText,
    destinations,
    leases,
    logs,
    members,
    meta,
    metadata,
    trail,
    units,
)
from treadle.store.secrets import SecretCipher
from treadle.store.trail_event import StoreActor, TargetKind, TrailAction, TrailTarget

BATCH_ROWS: Final = 5_000
"""Rows that are read at once."""

_PATIENCE: Final = select(func.set_config("idle_in_transaction_session_timeout", "1h", True))
"""Has the server keep a transaction in which nothing is asked while this process reads the other
store: a table of a million rows takes it several seconds, and a session of the store is ended after
three. Nobody uses the copy yet. A machine that vanished still does not keep its locks for ever."""

_LEFT_OUT: Final = frozenset({logs, members})
"""Tables that are not copied: where the logs are is another place, and who runs are others."""

_OWN: Final = _LEFT_OUT | {leases, units}
"""Tables that are not the same in the copy, which nobody uses yet."""

Report = Callable[[str, int], None]


class StoreCopy(NamedTuple):
    """What was copied.

    Attributes:
        tables: with at least one row.
        rows: of all tables.
    """

    tables: int
    rows: int


class _TableDigest(NamedTuple):
    """The number of rows of a table, and a digest for which their order does not matter."""

    rows: int
    digest: int


def name_target(url: str) -> str:
    """Return where a store on a server is, without secrets."""
    return parse_place(url).name


def find_target_weakness(url: str, wanted: str) -> str | None:
    """Return why a server is weaker than `store_durability` says; None where it is not.

    Raises:
        OperatorError: the URL cannot be used, or the server refuses.
        RetriableError: no server of it can be reached.
    """
    engine = create_store_engine(url)
    try:
        with translate_errors(), engine.connect() as connection:
            return find_weakness(read_durability(connection), wanted)
    finally:
        engine.dispose()


def find_installation(url: str) -> str | None:
    """Return the installation id of the store in a database; None where the database is empty.

    Raises:
        OperatorError: it has tables of something else, or cannot be used.
        RetriableError: no server of it can be reached.
    """
    engine = create_store_engine(url)
    try:
        with translate_errors():
            if has_schema(engine):
                with engine.connect() as connection:
                    found = connection.execute(select(meta.c.installation_id)).scalar_one_or_none()
                return str(found or "")
            present = set(inspect(engine).get_table_names())
    finally:
        engine.dispose()
    taken = sorted(present & set(metadata.tables))
    if taken:
        raise OperatorError(
            f"the store's database has tables of something else ({', '.join(taken[:3])}): name a "
            "database of treadle's own with --store"
        )
    return None


def copy_store(
    source_url: str,
    target_url: str,
    cipher: SecretCipher,
    found_logs: Sequence[StoredLog],
    actor: StoreActor,
    report: Report = lambda name, rows: None,
) -> StoreCopy:
    """Copy a store that nobody writes into a database on PostgreSQL that has none.

    It is one transaction: either everything is there and was compared, or nothing.

    Args:
        source_url: of the store, whose schema is that of this release.
        target_url: of the database.
        cipher: opens the secrets of the store.
        found_logs: the logs of the copy, where they are now.
        actor: who copies, for the trail.
        report: called with the name of each table and how many rows of it were copied.

    Raises:
        OperatorError: the database has a store, or refuses.
        RetriableError: the database is not available now, or what arrived is not what was sent.
    """
    with (
        closing(_open_database(source_url, cipher, actor)) as source,
        closing(_open_database(target_url, cipher, actor)) as target,
        source.read() as reading,
        target.write() as tx,
    ):
        tx.connection.execute(_PATIENCE)
        make_schema(tx.connection)
        counts = []
        for table in metadata.sorted_tables:
            if table not in _LEFT_OUT:
                counts.append(_copy_table(reading.connection, tx.connection, table))
                report(table.name, counts[-1])
        for row in found_logs:
            put_log(_with_key(tx), row)
        _set_sequences(reading.connection, tx.connection)
        _settle_rows(tx.connection)
        differing = _list_differing(reading.connection, tx.connection)
        if differing:
            raise RetriableError(
                f"what arrived of the store is not what was sent ({', '.join(differing)}): nothing "
                "was kept; try again"
            )
        tx.record(
            TrailAction.IMPORT_STORE,
            TrailTarget(TargetKind.STORE),
            account_id=None,
            detail={"rows": sum(counts), "logs": [row.number for row in found_logs]},
        )
        return StoreCopy(sum(map(bool, counts)), sum(counts))


def list_differing_tables(source_url: str, target_url: str, cipher: SecretCipher) -> list[str]:
    """Return the tables of a copy that are not as they are in the store that it was made of.

    What a copy has of its own, such as the places of logs, is left out.
    """
    with (
        closing(_open_database(source_url, cipher, None)) as source,
        closing(_open_database(target_url, cipher, None)) as target,
        source.read() as reading,
        target.read() as copied,
    ):
        copied.connection.execute(_PATIENCE)
        return _list_differing(reading.connection, copied.connection)


def _open_database(url: str, cipher: SecretCipher, actor: StoreActor | None) -> StoreDatabase:
    return StoreDatabase(url, cipher, read_clock, secrets.mint_token, actor)


def _with_key(tx: StoreTransaction) -> StoreTransaction:
    """Return the transaction with the key in force, which was copied with the rest."""
    return tx.with_key(tx.connection.execute(select(meta.c.key_check)).scalar_one())


def _copy_table(source: Connection, target: Connection, table: Table) -> int:
    """Copy the rows of a table; return how many."""
    columns = list(table.columns)
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), names)
    driver: Any = target.connection.driver_connection
    count = 0
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        for row in _read_rows(source, table):
            copy.write_row(row)
            count += 1
    return count


def _read_rows(
    connection: Connection, table: Table, condition: ColumnElement[bool] | None = None
) -> Iterator[Sequence[Any]]:
    """Read the rows of a table with texts and documents as they are stored."""
    query: Select[Any] = select(*[_select_raw(column) for column in table.columns])
    if condition is not None:
        query = query.where(condition)
    yield from connection.execute(query.execution_options(yield_per=BATCH_ROWS))


def _select_raw(column: Column[Any]) -> ColumnElement[Any]:
    """Return a column as it is stored: no document is read, no escaped character put back."""
    if isinstance(column.type, JSON):
        return cast(column, Text)
    return type_coerce(column, Text) if isinstance(column.type, ClientText) else column


def _set_sequences(source: Connection, target: Connection) -> None:
    """Let new ids begin behind all that were given, also those of rows that are gone."""
    # SQLite's own table of the greatest ids that it gave.
    counted = from_table("sqlite_sequence", from_column("name"), from_column("seq"))
    given = {row.name: row.seq for row in source.execute(select(counted))}
    for table in metadata.sorted_tables:
        column = table.autoincrement_column
        if column is None:
            continue
        asked = func.pg_get_serial_sequence(table.name, column.name)
        name = target.execute(select(asked)).scalar_one()
        greatest = target.execute(select(func.max(column))).scalar_one() or 0
        last = max(int(given.get(table.name, 0)), int(greatest))
        if name is not None and last:
            target.execute(select(func.setval(name, last)))


def _settle_rows(connection: Connection) -> None:
    """Free what loaders had, and let destinations stay where they are, whatever folder is used."""
    connection.execute(update(leases).values(holder="", until=0))
    connection.execute(update(units).values(holder=None))
    connection.execute(
        update(destinations)
        .where(
            destinations.c.set_by.in_([DestinationSetter.DATA_FOLDER, DestinationSetter.SETTING])
        )
        .values(set_by=DestinationSetter.OPERATOR)
        .execution_options(**BOOKKEEPING)
    )


def _list_differing(source: Connection, target: Connection) -> list[str]:
    """Return the names of the tables whose rows are not the same."""
    return [
        table.name
        for table in metadata.sorted_tables
        if table not in _OWN
        and _digest_table(source, table) != _digest_table(target, table, _limit(source, table))
    ]


def _limit(source: Connection, table: Table) -> ColumnElement[bool] | None:
    """Return which rows of a copied table are compared: not the events since it was copied."""
    if table is not trail:
        return None
    last = source.execute(select(func.max(trail.c.id))).scalar_one() or 0
    return trail.c.id <= last


def _digest_table(
    connection: Connection, table: Table, condition: ColumnElement[bool] | None = None
) -> _TableDigest:
    kept = [place for place, one in enumerate(table.columns) if one is not destinations.c.set_by]
    rows = total = 0
    for row in _read_rows(connection, table, condition):
        plain = repr([row[place] for place in kept]).encode("utf-8", "surrogatepass")
        total += int.from_bytes(hashlib.blake2b(plain, digest_size=16).digest())
        rows += 1
    return _TableDigest(rows, total % (1 << 128))
