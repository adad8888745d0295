"""The log in SQL: its tables and every statement that runs on them.

`entries.position` is AUTOINCREMENT, so a position is never given again, also not after its entry is
gone. The payload comes last in a row: who counts entries does not read it.
"""

from typing import Final

# Written into the file's header, so that no other SQLite file is taken for a log: "trdl".
APPLICATION_ID: Final = 0x7472_646C
SCHEMA_VERSION: Final = 2

SCHEMA: Final = (
    """
    CREATE TABLE meta (
        name  TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    # loaded: everything up to this position was loaded.
    # marked: grows with every change of `loaded`, so that a reader finds the changes.
    """
    CREATE TABLE tables (
        id         INTEGER PRIMARY KEY,
        source_id  INTEGER NOT NULL,
        table_name TEXT    NOT NULL,
        loaded     INTEGER NOT NULL DEFAULT 0,
        marked     INTEGER NOT NULL DEFAULT 0,
        UNIQUE (source_id, table_name)
    )
    """,
    "CREATE INDEX tables_by_mark ON tables (marked)",
    """
    CREATE TABLE entries (
        position    INTEGER PRIMARY KEY AUTOINCREMENT,
        table_id    INTEGER NOT NULL,
        received_at INTEGER NOT NULL,
        records     INTEGER NOT NULL,
        size        INTEGER NOT NULL,
        crc         INTEGER NOT NULL,
        payload     BLOB    NOT NULL
    )
    """,
    "CREATE INDEX entries_by_table ON entries (table_id, position)",
    # Requests that are stored once, noted in the transaction that stores their entries.
    # first: position of the first entry of the request.
    # repeats: how often it came again.
    """
    CREATE TABLE requests (
        name    BLOB    PRIMARY KEY,
        digest  BLOB    NOT NULL,
        first   INTEGER NOT NULL,
        at      INTEGER NOT NULL,
        repeats INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX requests_by_time ON requests (at)",
)

# SQLite keeps a value of any type in any column, and finds nothing wrong with it.
MISTYPED_TABLES: Final = """
    SELECT 1 FROM tables
    WHERE typeof(source_id) <> 'integer' OR typeof(table_name) <> 'text'
       OR typeof(loaded) <> 'integer' OR typeof(marked) <> 'integer'
    LIMIT 1
"""
MISTYPED_REQUESTS: Final = """
    SELECT 1 FROM requests
    WHERE typeof(name) <> 'blob' OR typeof(digest) <> 'blob' OR typeof(first) <> 'integer'
       OR typeof(at) <> 'integer' OR typeof(repeats) <> 'integer'
    LIMIT 1
"""

# What PRAGMA integrity_check does not do: read every record of an index to its end.
SCAN_INDEXES: Final = (
    "SELECT sum(table_id), sum(position) FROM entries INDEXED BY entries_by_table",
    "SELECT sum(id), sum(marked) FROM tables INDEXED BY tables_by_mark",
    "SELECT sum(length(name)), sum(at) FROM requests INDEXED BY requests_by_time",
)

BEGIN: Final = "BEGIN"
BEGIN_WRITE: Final = "BEGIN IMMEDIATE"
COMMIT: Final = "COMMIT"
ROLLBACK: Final = "ROLLBACK"

LOG_ID: Final = "SELECT value FROM meta WHERE name = 'log_id'"
PUT_META: Final = "INSERT INTO meta (name, value) VALUES (?, ?)"
COUNT_FAILURE: Final = "UPDATE meta SET value = value + 1 WHERE name = 'failures'"

# The greatest position ever given.
END_POSITION: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'entries'"

TABLE_ID: Final = "SELECT id FROM tables WHERE source_id = ? AND table_name = ?"
ADD_TABLE: Final = "INSERT INTO tables (source_id, table_name) VALUES (?, ?) RETURNING id"
# The number of tables of a source: at first of all, then of those that were added after an id. That
# is enough, because no table is ever removed.
COUNT_TABLES: Final = """
    SELECT (SELECT count(*) FROM tables WHERE source_id = ?), coalesce(max(id), 0) FROM tables
    """
COUNT_NEW_TABLES: Final = """
    SELECT count(CASE WHEN source_id = ?1 THEN 1 END), coalesce(max(id), ?2)
    FROM tables WHERE id > ?2
    """

# A reader keeps in memory only the tables of which something waits.
TABLE_OF_ID: Final = "SELECT source_id, table_name, loaded FROM tables WHERE id = ?"
LOADED_POSITIONS: Final = "SELECT id, loaded FROM tables"
LAST_MARK: Final = "SELECT coalesce(max(marked), 0) FROM tables"
MARKED_TABLES: Final = "SELECT id, loaded, marked FROM tables WHERE marked > ? ORDER BY marked"

NEXT_MARK: Final = "SELECT coalesce(max(marked), 0) + 1 FROM tables"
MARK: Final = """
    INSERT INTO tables (source_id, table_name, loaded, marked) VALUES (?, ?, ?, ?)
    ON CONFLICT (source_id, table_name)
    DO UPDATE SET loaded = excluded.loaded, marked = excluded.marked
    WHERE loaded <> excluded.loaded
    """
MARK_TRIMMED: Final = "UPDATE tables SET loaded = ?1, marked = ?2 WHERE id = ?3 AND loaded < ?1"

# Sums of damaged numbers must not end in an error: total() counts in floating point.
_SUM_COLUMNS: Final = """
    e.table_id,
    max(e.position),
    count(*),
    CAST(total(e.records) AS INTEGER),
    CAST(total(e.size) AS INTEGER),
    CAST(min(e.received_at) AS INTEGER)
    """
# Entries appended since the last look. CROSS JOIN fixes the order: entries first.
SUM_NEW: Final = f"""
    SELECT {_SUM_COLUMNS}
    FROM entries AS e CROSS JOIN tables AS t ON t.id = e.table_id
    WHERE e.position > ?1 AND e.position <= ?2 AND e.position > t.loaded
    GROUP BY e.table_id, e.position >> 12
    ORDER BY e.table_id, e.position >> 12
    """  # noqa: S608 - made of constants
# Everything that waits: the first look, which touches only what waits.
SUM_ALL_WAITING: Final = f"""
    SELECT {_SUM_COLUMNS}
    FROM tables AS t CROSS JOIN entries AS e INDEXED BY entries_by_table
    WHERE e.table_id = t.id AND e.position > max(t.loaded, ?1) AND e.position <= ?2
    GROUP BY e.table_id, e.position >> 12
    ORDER BY e.table_id, e.position >> 12
    """  # noqa: S608 - made of constants
# A stretch of one table.
SUM_RANGE: Final = f"""
    SELECT {_SUM_COLUMNS}
    FROM entries AS e INDEXED BY entries_by_table
    WHERE e.table_id = ?1 AND e.position > ?2 AND e.position <= ?3
    GROUP BY e.position >> 10
    ORDER BY e.position >> 10
    """  # noqa: S608 - made of constants

_ENTRY_COLUMNS: Final = """
    e.position, t.source_id, t.table_name, e.received_at, e.records, e.size, e.crc, e.payload
    """
READ_TABLE: Final = f"""
    SELECT {_ENTRY_COLUMNS}
    FROM entries AS e INDEXED BY entries_by_table JOIN tables AS t ON t.id = e.table_id
    WHERE e.table_id = ? AND e.position > ?
    ORDER BY e.position
    """  # noqa: S608 - made of constants
FIND_ENTRIES: Final = f"""
    SELECT {_ENTRY_COLUMNS}
    FROM entries AS e LEFT JOIN tables AS t ON t.id = e.table_id
    WHERE e.position >= ? AND e.position < ?
    ORDER BY e.position
    """  # noqa: S608 - made of constants

# Row by row from a place on, whatever positions the rows have: finds a row that cannot be found by
# its position, because a damaged neighbour on its page misleads the search.
SCAN_FROM: Final = f"""
    SELECT {_ENTRY_COLUMNS}
    FROM entries AS e LEFT JOIN tables AS t ON t.id = e.table_id
    WHERE e.position >= ?
    ORDER BY e.position LIMIT ?
    """  # noqa: S608 - made of constants

# From the index alone, for when a damaged row stops the statements above.
POSITIONS_OF_TABLE: Final = """
    SELECT position FROM entries INDEXED BY entries_by_table
    WHERE table_id = ? AND position > ? ORDER BY position
    """
POSITIONS_BETWEEN: Final = """
    SELECT table_id, position FROM entries INDEXED BY entries_by_table
    WHERE position > ? AND position <= ? ORDER BY table_id, position
    """
READ_CHECKSUM: Final = "SELECT crc FROM entries WHERE position = ?"
READ_SUMS_OF_ENTRY: Final = "SELECT records, size, received_at FROM entries WHERE position = ?"

# The hours of one table, and what of each lies above a position.
COUNT_BY_HOUR: Final = """
    SELECT
        received_at / 3600000000,
        CAST(total(records) AS INTEGER),
        CAST(total(CASE WHEN position > ?2 THEN records ELSE 0 END) AS INTEGER)
    FROM entries INDEXED BY entries_by_table
    WHERE table_id = ?1
    GROUP BY 1 ORDER BY 1
    """
OLDEST_KEPT: Final = "SELECT received_at FROM entries ORDER BY position LIMIT 1"
RECEIVED_AT: Final = "SELECT received_at FROM entries WHERE position = ?"
# The newest entries below a position, without their payloads.
NOTES_BELOW: Final = """
    SELECT e.position, t.source_id, t.table_name, e.received_at, e.records, e.size
    FROM entries AS e CROSS JOIN tables AS t ON t.id = e.table_id
    WHERE e.position < ?
    ORDER BY e.position DESC LIMIT ?
    """
NOTES_OF_TABLE_BELOW: Final = """
    SELECT e.position, t.source_id, t.table_name, e.received_at, e.records, e.size
    FROM entries AS e INDEXED BY entries_by_table CROSS JOIN tables AS t ON t.id = e.table_id
    WHERE e.position < ? AND e.table_id = ?
    ORDER BY e.position DESC LIMIT ?
    """
LIST_TABLES: Final = "SELECT source_id, table_name FROM tables"

# All of it, to be written elsewhere.
COUNT_ENTRIES: Final = "SELECT count(*) FROM entries INDEXED BY entries_by_table"
EXPORT_TABLES: Final = "SELECT id, source_id, table_name, loaded FROM tables ORDER BY id"
EXPORT_ENTRIES: Final = """
    SELECT position, table_id, received_at, records, size, crc, payload
    FROM entries WHERE position > ? AND position <= ? ORDER BY position
    """
EXPORT_KEYS: Final = "SELECT name, digest, first, at, repeats FROM requests ORDER BY name"

HAS_ENTRIES_UP_TO: Final = """
    SELECT 1 FROM entries INDEXED BY entries_by_table
    WHERE table_id = ? AND position <= ? LIMIT 1
    """
TRIM: Final = """
    DELETE FROM entries WHERE position IN (
        SELECT position FROM entries INDEXED BY entries_by_table
        WHERE table_id = ? AND position <= ? ORDER BY position LIMIT ?
    )
    """
TRIM_ONE: Final = "DELETE FROM entries WHERE position = ?"

# A write, not only a look: its fsync makes durable what it found, whoever wrote that.
COUNT_REPEAT: Final = """
    UPDATE requests SET repeats = repeats + 1 WHERE name = ? RETURNING digest, first
    """
ADD_REQUEST: Final = (
    "INSERT INTO requests (name, digest, first, at, repeats) VALUES (?, ?, ?, ?, 0)"
)
# Found on a page, perhaps of an older time: of two the later one, whose position is the greater.
ADD_OR_RAISE_REQUEST: Final = """
    INSERT INTO requests (name, digest, first, at, repeats) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE
    SET digest = excluded.digest, first = excluded.first, at = excluded.at
    WHERE excluded.first > first
    """
FIRST_OF_REQUEST: Final = "SELECT first FROM requests WHERE name = ?"
HAS_REQUEST_BEFORE: Final = """
    SELECT 1 FROM requests INDEXED BY requests_by_time WHERE at < ? LIMIT 1
    """
FORGET_REQUESTS: Final = """
    DELETE FROM requests WHERE name IN (
        SELECT name FROM requests INDEXED BY requests_by_time WHERE at < ? ORDER BY at LIMIT ?
    )
    """


def make_id_lookup(count: int) -> str:
    """Make the statement that finds the ids of so many tables of a source."""
    names = ", ".join(["?"] * count)
    return f"SELECT table_name, id FROM tables WHERE source_id = ? AND table_name IN ({names})"  # noqa: S608


def make_table_insert(count: int) -> str:
    """Make the statement that adds so many tables, each with a source, and returns their ids."""
    rows = ", ".join(["(?, ?)"] * count)
    return f"INSERT INTO tables (source_id, table_name) VALUES {rows} RETURNING table_name, id"  # noqa: S608


def make_insert(count: int) -> str:
    """Make the statement that adds so many entries at once."""
    row = "(?, ?, ?, ?, ?, ?, ?)"
    rows = ", ".join([row] * count)
    return (
        "INSERT INTO entries (position, table_id, received_at, records, size, crc, payload) "  # noqa: S608
        f"VALUES {rows}"
    )
