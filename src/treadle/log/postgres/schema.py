"""The tables of the log on PostgreSQL (schema `treadle_log`), which several logs share.

Entries are in segments, each a plain table that is dropped as a whole: `e_<log>_<segment>`. Segment
0 of a log holds what was copied out of old segments for tables that cannot be loaded.
"""

from collections.abc import Mapping
from typing import Final

FORM: Final = 1
"""The form of the tables. Written into `logs`, so that an older treadle refuses a newer one's."""

# Keys of advisory locks. Held while tables of the schema are made, so that several processes may do
# so at once: "trdl".
SCHEMA_LOCK: Final = 0x7472_646C
# Held while tables are added to a log, and while marks are written: "trta", "trma". They were one
# lock, that of the schema with the log's number, which is held as a shared one beside them as long
# as processes of that release may run.
TABLES_LOCK: Final = 0x7472_7461
MARK_LOCK: Final = 0x7472_6D61
# Held by the session that imports a log, so that none that was killed goes on meanwhile: "trim".
IMPORT_LOCK: Final = 0x7472_696D

RESCUE_SEGMENT: Final = 0
FIRST_SEGMENT: Final = 1

IMPORTING: Final = "importing"
"""The state of a log of which not everything has arrived: nobody may use it."""

LATER_INDEXES: Final[Mapping[str, str]] = {
    # For what a look asks of each log: are there new tables?
    "treadle_log.tables_by_id": """
        CREATE INDEX IF NOT EXISTS tables_by_id ON treadle_log.tables (log, id)
        """,
}
"""Name -> the statement that makes an index which logs of earlier releases may lack.

Who keeps such a log makes it. The form of the tables stays: every release can do without."""

CREATE_SCHEMA: Final = (
    "CREATE SCHEMA IF NOT EXISTS treadle_log",
    # installation: of the store that made the log, so that no other one takes it for its own.
    # segment: where appends go.
    # last: the greatest position given. last_at: the greatest received_at given, microseconds.
    # timeline: of the server that gave it; see `statements.CONFIRM`.
    # confirms: how often what was found was made durable by a write.
    # The row is written by every append, so most of its page is left for its versions.
    """
    CREATE TABLE IF NOT EXISTS treadle_log.logs (
        number       smallint PRIMARY KEY,
        log_id       text     NOT NULL UNIQUE,
        installation text     NOT NULL,
        state        text     NOT NULL,
        segment      int      NOT NULL,
        last         bigint   NOT NULL,
        last_at      bigint   NOT NULL,
        timeline     int      NOT NULL,
        confirms     bigint   NOT NULL DEFAULT 0,
        form         int      NOT NULL
    ) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000)
    """,
    # Every table that ever had an entry. name: in UTF-8, because it may hold U+0000.
    # loaded: everything up to this position was loaded. marked: grows with every change of it.
    # trimmed: entries up to this position may be removed, when their segment is.
    """
    CREATE TABLE IF NOT EXISTS treadle_log.tables (
        id        int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        log       smallint NOT NULL,
        source_id bigint   NOT NULL,
        name      bytea    NOT NULL,
        slot      smallint NOT NULL,
        loaded    bigint   NOT NULL DEFAULT 0,
        marked    bigint   NOT NULL DEFAULT 0,
        trimmed   bigint   NOT NULL DEFAULT 0
    )
    """,
    """
    CREATE UNIQUE INDEX IF NOT EXISTS tables_by_name
        ON treadle_log.tables (log, source_id, sha256(name))
    """,
    "CREATE INDEX IF NOT EXISTS tables_by_mark ON treadle_log.tables (log, marked)",
    # first, last: positions that the segment reaches from and to; null while it is not known.
    # bytes, entries: null until it is sealed.
    """
    CREATE TABLE IF NOT EXISTS treadle_log.segments (
        log       smallint,
        segment   int,
        first     bigint,
        last      bigint,
        bytes     bigint,
        entries   bigint,
        made_at   bigint NOT NULL,
        sealed_at bigint,
        frozen_at bigint,
        PRIMARY KEY (log, segment)
    )
    """,
    # The last position of each table that has entries in a sealed segment.
    """
    CREATE TABLE IF NOT EXISTS treadle_log.segment_tables (
        log      smallint,
        segment  int,
        table_id int,
        last     bigint NOT NULL,
        PRIMARY KEY (log, segment, table_id)
    )
    """,
    # Requests that are stored once, noted in the transaction that stores their entries.
    """
    CREATE TABLE IF NOT EXISTS treadle_log.requests (
        name    bytea    PRIMARY KEY,
        digest  bytea    NOT NULL,
        log     smallint NOT NULL,
        first   bigint   NOT NULL,
        at      bigint   NOT NULL,
        repeats int      NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX IF NOT EXISTS requests_by_time ON treadle_log.requests (at)",
    *LATER_INDEXES.values(),
)

HAS_SCHEMA: Final = "SELECT to_regclass('treadle_log.logs') IS NOT NULL"


def name_segment(log: int, segment: int) -> str:
    """Return the name of a segment's table, with its schema."""
    return f"treadle_log.e_{log:d}_{segment:d}"


def make_segment_ddl(log: int, segment: int) -> tuple[str, ...]:
    """Make the statements that make a segment's table.

    Payloads are zstd frames already, so PostgreSQL does not compress them again. Nothing is
    updated or deleted in a segment but the rescue segment: there is nothing to vacuum.
    """
    table = name_segment(log, segment)
    index = f"e_{log:d}_{segment:d}_by_table"
    vacuum = "" if segment == RESCUE_SEGMENT else " WITH (autovacuum_enabled = off)"
    return (
        f"""
        CREATE TABLE IF NOT EXISTS {table} (
            position    bigint PRIMARY KEY,
            table_id    int    NOT NULL,
            received_at bigint NOT NULL,
            records     int    NOT NULL,
            size        int    NOT NULL,
            crc         bigint NOT NULL,
            uid         uuid   NOT NULL,
            payload     bytea  NOT NULL
        ){vacuum}
        """,
        f"ALTER TABLE {table} ALTER COLUMN payload SET STORAGE EXTERNAL",
        f"CREATE INDEX IF NOT EXISTS {index} ON {table} (table_id, position)",
    )


def find_obstacle(log: int, state: str, form: int) -> str | None:
    """Return why a log cannot be used, and what to do; None where it can.

    Args:
        log: its number.
        state: of the log.
        form: of its tables.
    """
    if form > FORM:
        return (
            f"log {log} was made by a newer treadle (its form is {form}, this one knows {FORM}): "
            "install that version again"
        )
    if state == IMPORTING:
        return (
            f"log {log} is not imported to its end: run `treadle cluster import` again, with the "
            "same folder and databases"
        )
    return None
