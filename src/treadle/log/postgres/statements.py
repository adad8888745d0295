"""Every statement that runs on the tables of `schema`, with $1, $2, .. for its values."""

from typing import Final

from treadle.log.postgres.schema import (
    IMPORT_LOCK,
    IMPORTING,
    MARK_LOCK,
    SCHEMA_LOCK,
    TABLES_LOCK,
    name_segment,
)

POSITION_JUMP: Final = 1 << 20
"""Positions that are left out after a failover: more than a lost end of the log can have had."""

# Sessions

# Held while the schema is made.
LOCK_SCHEMA: Final = f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK}, -1)"

SESSION_SETTINGS: Final = (
    "SET synchronous_commit = on",
    # Nothing was stored when it strikes; nothing else may end a statement that is under way. Then
    # sessions are ended that keep the log from everybody (`END_HOLDERS`).
    "SET lock_timeout = '3s'",
    "SET statement_timeout = 0",
    "SET idle_in_transaction_session_timeout = '10s'",
)
"""Of a session that appends."""

READER_SETTINGS: Final = (
    # What a reader writes are hints, which nobody waits for.
    "SET synchronous_commit = off",
    "SET lock_timeout = '5s'",
    "SET statement_timeout = 0",
    "SET idle_in_transaction_session_timeout = '60s'",
)

KEEPER_SETTINGS: Final = (
    # Nobody appends to a segment whose making could be lost: its switch is replicated.
    "SET synchronous_commit = on",
    "SET lock_timeout = '5s'",
    "SET statement_timeout = 0",
    "SET idle_in_transaction_session_timeout = '60s'",
)
"""Of a session that keeps logs."""

# Lets a server notice that its client is gone, where its system can tell.
CHECK_CLIENT: Final = "SET client_connection_check_interval = '5s'"

# Who this session is: enough to find it again, and to know whether it is the same server.
IDENTIFY_SESSION: Final = """
    SELECT
        pg_backend_pid(),
        (SELECT backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()),
        pg_postmaster_start_time()::text,
        current_setting('lc_messages')
    """

SYSTEM_IDENTIFIER: Final = "SELECT system_identifier FROM pg_control_system()"

# The timeline: the first eight hexadecimal digits of the name of the WAL file that is written now.
READ_TIMELINE: Final = """
    SELECT ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int
    """
# Where the functions of the WAL are missing: a jump at each restart, which does no harm.
READ_START_TIME: Final = "SELECT extract(epoch FROM pg_postmaster_start_time())::bigint::int"

# The old session of a lane, if it is still there. True once it has ended.
TERMINATE_SESSION: Final = """
    SELECT pg_terminate_backend(pid, 5000)
    FROM pg_stat_activity
    WHERE pid = $1 AND backend_start::text = $2
    """

# Sessions that hold the row of a log, names of requests or a turn at the tables, and wait for their
# client: a process that was stopped or cut off in the middle of a transaction. Others do not append
# meanwhile. No timeout of the server ends them: it counts from the end of a pipeline, which has not
# come. What they did is undone with them. An import waits for what it copies.
END_HOLDERS: Final = f"""
    SELECT pg_terminate_backend(a.pid, 2000)
    FROM pg_stat_activity AS a
    WHERE a.datname = current_database()
        AND a.pid <> pg_backend_pid()
        AND a.usename = current_user
        AND a.wait_event = 'ClientRead'
        AND a.state_change < clock_timestamp() - interval '2 seconds'
        AND EXISTS (
            SELECT FROM pg_locks AS l
            WHERE l.pid = a.pid AND l.granted AND (
                l.mode = 'RowExclusiveLock' AND l.relation IN (
                    to_regclass('treadle_log.logs'),
                    to_regclass('treadle_log.requests'),
                    to_regclass('treadle_log.tables')
                )
                OR l.locktype = 'advisory' AND l.classid IN (
                    {SCHEMA_LOCK}, {TABLES_LOCK}, {MARK_LOCK}
                )
            )
        )
        AND NOT EXISTS (
            SELECT FROM pg_locks AS l
            WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.classid = {IMPORT_LOCK}
        )
    """  # noqa: S608 - made of constants

# Makes durable, on a standby too, whatever was visible before it. On another timeline positions
# jump, so that none is given twice that a lost end of the log had given.
CONFIRM: Final = f"""
    UPDATE treadle_log.logs
    SET last = last + CASE WHEN timeline <> $2::int THEN {POSITION_JUMP} ELSE 0 END,
        timeline = $2::int,
        confirms = confirms + 1
    WHERE number = $1::smallint
    RETURNING log_id, state, segment, last, form
    """  # noqa: S608 - made of constants
# The jump alone, by who only reads.
FOLLOW_TIMELINE: Final = f"""
    UPDATE treadle_log.logs
    SET last = last + {POSITION_JUMP}, timeline = $2::int
    WHERE number = $1::smallint AND timeline <> $2::int
    """  # noqa: S608 - made of constants

# Logs

READ_LOG: Final = """
    SELECT log_id, state, segment, last, form FROM treadle_log.logs WHERE number = $1::smallint
    """
ADD_LOG: Final = """
    INSERT INTO treadle_log.logs
        (number, log_id, installation, state, segment, last, last_at, timeline, form)
    VALUES ($1::smallint, $2, $3, 'open', $4::int, 0, 0, $5::int, $6::int)
    ON CONFLICT (number) DO NOTHING
    """
READ_INSTALLATION: Final = "SELECT installation FROM treadle_log.logs WHERE number = $1::smallint"
SET_STATE: Final = """
    UPDATE treadle_log.logs SET state = $2 WHERE number = $1::smallint AND log_id = $3
    """
ADD_SEGMENT: Final = """
    INSERT INTO treadle_log.segments (log, segment, first, made_at)
    VALUES ($1::smallint, $2::int, $3::bigint, $4::bigint)
    ON CONFLICT (log, segment) DO NOTHING
    """

# Appending


def make_append(log: int, segment: int) -> str:
    """Make the statement that appends a group: it is durable when the statement returns.

    Every append changes the log's row, and holds its lock until the entries are visible. So the
    appends of a log come one after the other, and who sees `last` sees all entries up to it.

    Values: how many entries, the log, its segment and timeline as the lane knows them, the time,
    and a list for each column. It returns the first position; no row where the segment was
    switched, the log was closed or the server is another, and then it stored nothing.
    """
    return f"""
    WITH l AS (
        UPDATE treadle_log.logs
        SET last = last + $1::bigint, last_at = greatest(last_at + $1::bigint, $5::bigint)
        WHERE number = $2::smallint AND segment = $3::int AND timeline = $4::int AND state <> 'closed'
        RETURNING last - $1::bigint AS base, last_at - $1::bigint AS at
    ), e AS (
        INSERT INTO {name_segment(log, segment)}
            (position, table_id, received_at, records, size, crc, uid, payload)
        SELECT l.base + e.ord, e.table_id, l.at + e.ord, e.records, e.size, e.crc, e.uid, e.payload
        FROM l, unnest($6::int4[], $7::int4[], $8::int4[], $9::int8[], $10::uuid[], $11::bytea[])
            WITH ORDINALITY AS e (table_id, records, size, crc, uid, payload, ord)
    )
    SELECT base + 1 FROM l
    """  # noqa: S608, E501 - made of names without quotes


# A write in any case: so its commit makes durable what it found. In order of name, so that two
# lanes never wait for each other.
PUT_KEYS: Final = """
    INSERT INTO treadle_log.requests AS r (name, digest, log, first, at)
    SELECT k.name, k.digest, $1::smallint, 0, k.at
    FROM unnest($2::bytea[], $3::bytea[], $4::int8[]) AS k (name, digest, at)
    ORDER BY k.name
    ON CONFLICT (name) DO UPDATE SET repeats = r.repeats + 1
    RETURNING name, digest, first, xmax = 0 AS new
    """


def make_place_keys(log: int, segment: int) -> str:
    """Make the statement that notes where the requests of a group begin.

    A first entry that is not there makes `first` null, which its column refuses: so no name is
    ever committed without its entries.

    Values: the log, how many entries the append before it had, and for each new name the number
    of entries before its first one and the uid of that.
    """
    return f"""
    UPDATE treadle_log.requests AS r
    SET first = (
        SELECT e.position
        FROM treadle_log.logs AS l JOIN {name_segment(log, segment)} AS e
            ON e.position = l.last - $2::bigint + 1 + k.before AND e.uid = k.uid
        WHERE l.number = $1::smallint
    )
    FROM unnest($3::bytea[], $4::int8[], $5::uuid[]) AS k (name, before, uid)
    WHERE r.name = k.name
    """  # noqa: S608 - made of names without quotes


def make_find_uids(log: int, segment: int) -> str:
    """Make the statement that finds entries by their uids above a position."""
    return f"""
    SELECT uid, position FROM {name_segment(log, segment)}
    WHERE position > $1::bigint AND uid = ANY($2::uuid[])
    """  # noqa: S608 - made of names without quotes


# Tables

# Both in this order everywhere: who has the first one waits for nobody who waits for it.
LOCK_TABLES: Final = f"""
    SELECT
        pg_advisory_xact_lock({TABLES_LOCK}, $1::int),
        pg_advisory_xact_lock_shared({SCHEMA_LOCK}, $1::int)
    """
FIND_TABLES: Final = """
    SELECT t.id, t.source_id, t.name
    FROM unnest($2::int8[], $3::bytea[]) AS k (source_id, name)
    JOIN treadle_log.tables AS t
        ON t.log = $1::smallint AND t.source_id = k.source_id AND sha256(t.name) = sha256(k.name)
    """
COUNT_TABLES: Final = """
    SELECT source_id, count(*) FROM treadle_log.tables
    WHERE log = $1::smallint AND source_id = ANY($2::int8[]) GROUP BY source_id
    """
ADD_TABLES: Final = """
    INSERT INTO treadle_log.tables (log, source_id, name, slot)
    SELECT $1::smallint, k.source_id, k.name, k.slot
    FROM unnest($2::int8[], $3::bytea[], $4::int4[]) AS k (source_id, name, slot)
    RETURNING id, source_id, name
    """
NAME_TABLE: Final = "SELECT source_id, name FROM treadle_log.tables WHERE id = $1::int"
LIST_TABLES: Final = """
    SELECT source_id, name FROM treadle_log.tables WHERE log = $1::smallint ORDER BY id
    """

# What waits

# What a look begins with, for all logs of a reader at the database; nothing else is read of one
# where none of these has changed.
LOOK: Final = """
    SELECT
        l.number,
        l.last,
        (SELECT coalesce(max(marked), 0) FROM treadle_log.tables WHERE log = l.number),
        (SELECT coalesce(max(id), 0) FROM treadle_log.tables WHERE log = l.number)
    FROM treadle_log.logs AS l WHERE l.number = ANY($1::int4[])
    """
READ_LAST: Final = "SELECT last FROM treadle_log.logs WHERE number = $1::smallint"
BEGIN_LOOK: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
NEW_TABLES: Final = """
    SELECT id, source_id, name, slot, loaded
    FROM treadle_log.tables WHERE log = $1::smallint AND id > $2::int ORDER BY id
    """
MARKED_TABLES: Final = """
    SELECT id, loaded, marked
    FROM treadle_log.tables WHERE log = $1::smallint AND marked > $2::bigint ORDER BY marked
    """
# Segments that may hold positions above one.
SEGMENTS_ABOVE: Final = """
    SELECT segment FROM treadle_log.segments
    WHERE log = $1::smallint AND (last IS NULL OR last > $2::bigint) ORDER BY segment
    """

_SUMS: Final = """
        max(e.position),
        count(*),
        sum(e.records)::bigint,
        sum(e.size)::bigint,
        min(e.received_at)
    """


def make_sum_new(log: int, segment: int) -> str:
    """Make the statement that sums up a segment's entries between two positions, by table."""
    return f"""
    SELECT e.table_id, {_SUMS}
    FROM {name_segment(log, segment)} AS e
    JOIN treadle_log.tables AS t ON t.id = e.table_id AND e.position > t.loaded
    WHERE e.position > $1::bigint AND e.position <= $2::bigint
    GROUP BY e.table_id, e.position >> 12
    ORDER BY e.table_id, e.position >> 12
    """  # noqa: S608 - made of names without quotes


def make_sum_waiting(log: int, segment: int) -> str:
    """Make the statement that sums up what waits of some tables in a segment.

    Values: the tables, the position up to which each of them is loaded, and the end. A sealed
    segment is not asked about tables that are loaded beyond their last entry in it.
    """
    return f"""
    SELECT k.id, s.*
    FROM unnest($1::int4[], $2::int8[]) AS k (id, after)
    CROSS JOIN LATERAL (
        SELECT {_SUMS}
        FROM {name_segment(log, segment)} AS e
        WHERE e.table_id = k.id AND e.position > k.after AND e.position <= $3::bigint
        GROUP BY e.position >> 12
        ORDER BY e.position >> 12
    ) AS s
    WHERE NOT EXISTS (
            SELECT FROM treadle_log.segments AS g
            WHERE g.log = {log:d} AND g.segment = {segment:d} AND g.sealed_at IS NOT NULL
        )
        OR EXISTS (
            SELECT FROM treadle_log.segment_tables AS t
            WHERE t.log = {log:d} AND t.segment = {segment:d} AND t.table_id = k.id
                AND t.last > k.after
        )
    """  # noqa: S608 - made of names without quotes


def make_sum_range(log: int, segment: int) -> str:
    """Make the statement that sums up a stretch of one table in a segment.

    Positions are compared together with the table, so that only the index by table can serve: a
    damaged row of another table is not touched.
    """
    return f"""
    SELECT {_SUMS}
    FROM {name_segment(log, segment)} AS e
    WHERE (e.table_id, e.position) > ($1::int, $2::bigint)
        AND (e.table_id, e.position) <= ($1::int, $3::bigint)
    GROUP BY e.position >> 10
    ORDER BY e.position >> 10
    """  # noqa: S608 - made of names without quotes


# Entries

_ENTRY: Final = """
    e.position, e.table_id, e.received_at, e.records, e.size, e.crc, e.payload
    """


def make_read_table(log: int, segment: int) -> str:
    """Make the statement that reads a table's entries between two positions.

    As with `make_sum_range`, only the index by table can serve.
    """
    return f"""
    SELECT {_ENTRY}
    FROM {name_segment(log, segment)} AS e
    WHERE (e.table_id, e.position) > ($1::int, $2::bigint)
        AND (e.table_id, e.position) <= ($1::int, $3::bigint)
    ORDER BY e.table_id, e.position
    """  # noqa: S608 - made of names without quotes


def make_measure_table(log: int, segment: int) -> str:
    """Make the statement that reads what `make_read_table` does without the payloads."""
    return f"""
    SELECT e.position, e.records, e.size, e.received_at
    FROM {name_segment(log, segment)} AS e
    WHERE (e.table_id, e.position) > ($1::int, $2::bigint)
        AND (e.table_id, e.position) <= ($1::int, $3::bigint)
    ORDER BY e.table_id, e.position
    LIMIT $4::bigint
    """  # noqa: S608 - made of names without quotes


def make_find_entries(log: int, segment: int) -> str:
    """Make the statement that reads a segment's entries between two positions."""
    return f"""
    SELECT {_ENTRY}
    FROM {name_segment(log, segment)} AS e
    WHERE e.position > $1::bigint AND e.position <= $2::bigint
    ORDER BY e.position
    """  # noqa: S608 - made of names without quotes


def make_read_anchor(log: int, segment: int) -> str:
    """Make the statement that reads the uid of an entry."""
    return f"SELECT uid FROM {name_segment(log, segment)} WHERE position = $1::bigint"  # noqa: S608


# Marks

# Who stands still while it writes marks keeps others from theirs for so long.
_MARK_TIMEOUT: Final = "set_config('idle_in_transaction_session_timeout', '3s', true)"
LOCK_MARKS: Final = f"""
    SELECT
        {_MARK_TIMEOUT},
        pg_advisory_xact_lock({MARK_LOCK}, $1::int),
        pg_advisory_xact_lock_shared({SCHEMA_LOCK}, $1::int)
    """
# The same without waiting; false where another one has its turn.
TRY_MARKS: Final = f"""
    SELECT
        {_MARK_TIMEOUT} IS NOT NULL
        AND pg_try_advisory_xact_lock({MARK_LOCK}, $1::int)
        AND pg_try_advisory_xact_lock_shared({SCHEMA_LOCK}, $1::int)
    """
NEXT_MARK: Final = """
    SELECT coalesce(max(marked), 0) + 1 FROM treadle_log.tables WHERE log = $1::smallint
    """
# Rows that are so already are written, too: a reader knows of a mark by its number alone, and one
# that told other positions meanwhile would go by those.
MARK: Final = """
    UPDATE treadle_log.tables AS t SET loaded = k.loaded, marked = $1::bigint
    FROM unnest($2::int4[], $3::int8[]) AS k (id, loaded)
    WHERE t.id = k.id
    """
# Who trims knows how far tables are loaded into any destination, and not how far the loader of each
# one is: another destination may have got it.
TRIM: Final = """
    UPDATE treadle_log.tables AS t
    SET trimmed = least(k.position, t.loaded)
    FROM unnest($1::int4[], $2::int8[]) AS k (id, position)
    WHERE t.id = k.id AND t.trimmed < least(k.position, t.loaded)
    """

# Statistics


def make_count_above(log: int, segment: int) -> str:
    """Make the statement that counts a table's records above a position."""
    return f"""
    SELECT coalesce(sum(records), 0)::bigint FROM {name_segment(log, segment)}
    WHERE table_id = $1::int AND position > $2::bigint
    """  # noqa: S608 - made of names without quotes


def make_count_by_hour(log: int, segment: int) -> str:
    """Make the statement that counts a table's records by hour, and those above a position."""
    return f"""
    SELECT
        received_at / 3600000000,
        sum(records)::bigint,
        sum(CASE WHEN position > $2::bigint THEN records ELSE 0 END)::bigint
    FROM {name_segment(log, segment)}
    WHERE table_id = $1::int
    GROUP BY 1 ORDER BY 1
    """  # noqa: S608 - made of names without quotes


def make_received_times(log: int, segment: int) -> str:
    """Make the statement that reads when some entries were received."""
    return f"""
    SELECT position, received_at FROM {name_segment(log, segment)}
    WHERE position = ANY($1::int8[])
    """  # noqa: S608 - made of names without quotes


def make_list_below(log: int, segment: int) -> str:
    """Make the statement that lists the newest entries below a position, of one table or of all."""
    return f"""
    SELECT e.position, t.source_id, t.name, e.received_at, e.records, e.size
    FROM {name_segment(log, segment)} AS e JOIN treadle_log.tables AS t ON t.id = e.table_id
    WHERE e.position < $1::bigint AND ($3::int IS NULL OR e.table_id = $3::int)
    ORDER BY e.position DESC LIMIT $2::bigint
    """  # noqa: S608 - made of names without quotes


def make_oldest(log: int, segment: int) -> str:
    """Make the statement that reads when the first entry of a segment was received."""
    return f"SELECT received_at FROM {name_segment(log, segment)} ORDER BY position LIMIT 1"  # noqa: S608


FIND_KEYS: Final = """
    SELECT name, first FROM treadle_log.requests WHERE log = $1::smallint AND name = ANY($2::bytea[])
    """  # noqa: E501
FORGET_KEYS: Final = """
    DELETE FROM treadle_log.requests WHERE name IN (
        SELECT name FROM treadle_log.requests
        WHERE at < $2::bigint AND log = $1::smallint ORDER BY at LIMIT $3::bigint
    )
    """
# Sealed segments were measured once; the others grow.
MEASURE_SPACE: Final = """
    SELECT coalesce(sum(coalesce(
        bytes, pg_total_relation_size(to_regclass('treadle_log.e_' || log || '_' || segment))
    )), 0)::bigint
    FROM treadle_log.segments WHERE log = $1::smallint
    """

# Keeping segments

LIST_MISSING: Final = "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL"
# Where it is lost with its server it is made again: it need not wait for a standby with its locks.
NEED_NO_STANDBY: Final = "SET LOCAL synchronous_commit = off"
LIST_SEGMENTS: Final = """
    SELECT segment, first, last, bytes, entries, made_at, sealed_at, frozen_at
    FROM treadle_log.segments WHERE log = $1::smallint ORDER BY segment
    """
SEGMENT_BYTES: Final = "SELECT pg_total_relation_size(to_regclass($1::text))"
SWITCH_SEGMENT: Final = """
    UPDATE treadle_log.logs SET segment = segment + 1
    WHERE number = $1::smallint AND segment = $2::int
    RETURNING last
    """
END_SEGMENT: Final = """
    UPDATE treadle_log.segments SET last = $3::bigint
    WHERE log = $1::smallint AND segment = $2::int
    """
BEGIN_SEGMENT: Final = """
    UPDATE treadle_log.segments SET first = $3::bigint, made_at = $4::bigint
    WHERE log = $1::smallint AND segment = $2::int
    """


def make_note_tables(log: int, segment: int) -> str:
    """Make the statement that notes the last position of each table in a segment."""
    return f"""
    INSERT INTO treadle_log.segment_tables (log, segment, table_id, last)
    SELECT {log:d}, {segment:d}, table_id, max(position)
    FROM {name_segment(log, segment)} GROUP BY table_id
    ON CONFLICT (log, segment, table_id) DO UPDATE SET last = excluded.last
    """  # noqa: S608 - made of names without quotes


def make_seal_segment(log: int, segment: int) -> str:
    """Make the statement that notes how much a segment holds, to which nothing is added."""
    table = name_segment(log, segment)
    return f"""
    UPDATE treadle_log.segments
    SET bytes = pg_total_relation_size('{table}'),
        entries = (SELECT count(*) FROM {table}),
        sealed_at = $1::bigint
    WHERE log = {log:d} AND segment = {segment:d}
    """  # noqa: S608 - made of names without quotes


NOTE_FROZEN: Final = """
    UPDATE treadle_log.segments SET frozen_at = $3::bigint
    WHERE log = $1::smallint AND segment = $2::int
    """
# Sealed segments of which every table may be trimmed as far as it has entries there.
DROPPABLE_SEGMENTS: Final = """
    SELECT s.segment, s.entries
    FROM treadle_log.segments AS s
    WHERE s.log = $1::smallint AND s.segment <> 0 AND s.sealed_at IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM treadle_log.segment_tables AS g
            JOIN treadle_log.tables AS t ON t.id = g.table_id
            WHERE g.log = s.log AND g.segment = s.segment AND g.last > t.trimmed
        )
    ORDER BY s.segment
    """
FORGET_SEGMENT: Final = "DELETE FROM treadle_log.segments WHERE log = $1::smallint AND segment = $2"
FORGET_SEGMENT_TABLES: Final = """
    DELETE FROM treadle_log.segment_tables WHERE log = $1::smallint AND segment = $2::int
    """


def make_drop_segment(log: int, segment: int) -> str:
    """Make the statement that drops a segment's table."""
    return f"DROP TABLE IF EXISTS {name_segment(log, segment)}"


def make_count_stuck(log: int, segment: int) -> str:
    """Make the statement that counts what of a sealed segment is not loaded, up to a number.

    It touches only what it counts.
    """
    return f"""
    SELECT count(*) FROM (
        SELECT FROM treadle_log.segment_tables AS g
        JOIN treadle_log.tables AS t ON t.id = g.table_id AND g.last > t.loaded
        CROSS JOIN LATERAL (
            SELECT FROM {name_segment(log, segment)} AS e
            WHERE (e.table_id, e.position) > (t.id, t.loaded)
                AND (e.table_id, e.position) <= (t.id, g.last)
            LIMIT $1::bigint
        ) AS e
        WHERE g.log = {log:d} AND g.segment = {segment:d}
        LIMIT $1::bigint
    ) AS stuck
    """  # noqa: S608 - made of names without quotes


def make_rescue(log: int, segment: int) -> str:
    """Make the statement that copies what is not loaded into the rescue segment."""
    return f"""
    INSERT INTO {name_segment(log, 0)}
    SELECT e.* FROM {name_segment(log, segment)} AS e
    JOIN treadle_log.tables AS t ON t.id = e.table_id
    WHERE e.position > t.loaded
    ON CONFLICT (position) DO NOTHING
    """  # noqa: S608 - made of names without quotes


def make_trim_rescued(log: int) -> str:
    """Make the statement that removes from the rescue segment what may be trimmed."""
    return f"""
    DELETE FROM {name_segment(log, 0)} AS e USING treadle_log.tables AS t
    WHERE t.id = e.table_id AND e.position <= t.trimmed
    """  # noqa: S608 - made of names without quotes


# Importing a log

LOCK_IMPORT: Final = f"SELECT pg_advisory_lock({IMPORT_LOCK}, $1::int)"
LIST_LOGS: Final = """
    SELECT number, log_id, installation, state FROM treadle_log.logs ORDER BY number
    """
ADD_IMPORTED_LOG: Final = f"""
    INSERT INTO treadle_log.logs
        (number, log_id, installation, state, segment, last, last_at, timeline, form)
    VALUES ($1::smallint, $2, $3, '{IMPORTING}', 0, 0, 0, $4::int, $5::int)
    ON CONFLICT (number) DO NOTHING
    """  # noqa: S608 - made of constants
PLACE_IMPORTED_LOG: Final = f"""
    UPDATE treadle_log.logs SET segment = $2::int, last = $3::bigint, last_at = $4::bigint
    WHERE number = $1::smallint AND state = '{IMPORTING}'
    """  # noqa: S608 - made of constants
OPEN_IMPORTED_LOG: Final = f"""
    UPDATE treadle_log.logs SET state = 'open'
    WHERE number = $1::smallint AND log_id = $2 AND state = '{IMPORTING}'
    """  # noqa: S608 - made of constants
FORGET_TABLES: Final = "DELETE FROM treadle_log.tables WHERE log = $1::smallint"
FORGET_ALL_KEYS: Final = "DELETE FROM treadle_log.requests WHERE log = $1::smallint"

# A server that knows nothing of a new table would sort it.
READ_BY_INDEX: Final = ("SET LOCAL enable_seqscan = off", "SET LOCAL enable_sort = off")

_COPIED: Final = "position, table_id, received_at, records, size, crc, uid, payload"
_COPIED_KEYS: Final = "name, digest, log, first, at, repeats"
COPY_KEYS_IN: Final = f"COPY treadle_log.requests ({_COPIED_KEYS}) FROM STDIN (FORMAT BINARY)"


def make_copy_in(log: int, segment: int) -> str:
    """Make the statement that takes the rows of a segment that this transaction has made."""
    return f"COPY {name_segment(log, segment)} ({_COPIED}) FROM STDIN (FORMAT BINARY, FREEZE)"


def make_copy_out(log: int, segment: int) -> str:
    """Make the statement that gives the rows of a segment back, in the same form."""
    return f"""
    COPY (SELECT {_COPIED} FROM {name_segment(log, segment)} ORDER BY position)
    TO STDOUT (FORMAT BINARY)
    """  # noqa: S608 - made of names without quotes


def make_copy_keys_out(log: int) -> str:
    """Make the statement that gives the names of a log's requests back."""
    return f"""
    COPY (SELECT {_COPIED_KEYS} FROM treadle_log.requests WHERE log = {log:d} ORDER BY name)
    TO STDOUT (FORMAT BINARY)
    """  # noqa: S608 - made of names without quotes


def make_add_sealed(log: int, segment: int) -> str:
    """Make the statement that notes a segment to which nothing is added, frozen as it came.

    Values: its first and last position, how many entries it has, and when it was made and sealed.
    """
    return f"""
    INSERT INTO treadle_log.segments
        (log, segment, first, last, bytes, entries, made_at, sealed_at, frozen_at)
    VALUES (
        {log:d}, {segment:d}, $1::bigint, $2::bigint,
        pg_total_relation_size('{name_segment(log, segment)}'),
        $3::bigint, $4::bigint, $5::bigint, $5::bigint
    )
    """  # noqa: S608 - made of names without quotes
