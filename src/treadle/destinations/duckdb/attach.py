"""Opens a DuckDB file so that what is written into it comes in small groups of rows.

DuckDB keeps a table in groups of 122,880 rows. A load that fills a group writes it to its place at
once. One that does not is written to the write-ahead log, held in memory and written again by a
checkpoint, which takes as long as the rest of the load; and the group that a checkpoint or an
update touches is written anew as a whole. Smaller groups are filled by ordinary loads. The size is
no property of a file: one with other groups is read and written as before, also by programs that
know nothing of this.

Only ATTACH takes the size, so the file is attached to an empty database in memory. Whoever connects
to that by its name, which is made from the path, is in one instance of DuckDB; that is gone, and
the file let go of, when the last connection is closed.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import duckdb

from treadle.destinations.sql.text import Quoted, compose

GROUP_ROWS: Final = 30_720

_RESERVED: Final = frozenset({"main", "system", "temp"})

_guards: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
"""By path: a file whose disk does not answer keeps nobody from opening others."""


def name_catalog(path: str) -> str:
    """Return the name that DuckDB gives to a file: the part of its name before a dot."""
    file = Path(path).name
    called = next((piece for piece in file.split(".") if piece), file)
    return f"{called}_db" if called.lower() in _RESERVED else called


def open_attached(
    path: str, config: Mapping[str, str], *, read_only: bool
) -> duckdb.DuckDBPyConnection:
    """Return a connection to a file, whose catalog has the name that DuckDB itself would give it.

    Args:
        path: absolute, links resolved.
        config: settings of the instance; the same each time.
        read_only: for reading; a file that this process has open for writing is shared.

    Raises:
        duckdb.Error: it cannot be opened, or is open for reading only.
    """
    called = name_catalog(path)
    if called.lower() == "memory":  # as the database it would be attached to
        return _plain(path, config, read_only=read_only)
    settings = {key: value for key, value in config.items() if key != "enable_external_access"}
    connection = duckdb.connect(
        f":memory:treadle {path}",
        config={"temp_directory": f"{path}.tmp", **settings},
    )
    try:
        with _guards[path]:
            _attach(connection, path, called, read_only=read_only)
        use(connection, called)
        if config.get("enable_external_access") == "false":
            # What is attached stays; from here on no other file can be read or written.
            connection.execute("SET GLOBAL enable_external_access = false")
    except BaseException:
        connection.close()
        raise
    return connection


def use(connection: duckdb.DuckDBPyConnection, called: str) -> None:
    """Let names without a catalog mean this one.

    USE gets the schema too: a file can have the name of a schema (`information_schema`), and USE
    would take that.
    """
    connection.execute(compose("USE {called}", called=Quoted(str(duckdb.col(called, "main")))))


def _attach(
    connection: duckdb.DuckDBPyConnection, path: str, called: str, *, read_only: bool
) -> None:
    there = connection.execute(
        "SELECT readonly FROM duckdb_databases() WHERE database_name = ?", [called]
    ).fetchone()
    if there is None:
        # With the type: DuckDB would take the file of another program for a database of that, and
        # look for an extension that reads it.
        statement = compose(
            "ATTACH ? AS {called} (TYPE duckdb, ROW_GROUP_SIZE {rows} {mode})",
            called=Quoted(str(duckdb.col(called))),
            rows=Quoted(f"{GROUP_ROWS:d}"),
            mode=Quoted(", READ_ONLY" if read_only else ""),
        )
        connection.execute(statement, [path])
    elif there[0] and not read_only:
        raise duckdb.ConnectionException(f"this process has {path} open for reading")


def _plain(path: str, config: Mapping[str, str], *, read_only: bool) -> duckdb.DuckDBPyConnection:
    if not read_only:
        return duckdb.connect(path, config=dict(config))
    try:
        return duckdb.connect(path, read_only=True, config=dict(config))
    except duckdb.ConnectionException:
        # This process has it open for writing: share that, in read-only transactions.
        return duckdb.connect(path, config=dict(config))
