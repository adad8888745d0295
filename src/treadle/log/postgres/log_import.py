"""Takes a whole log of another back-end, with its name and positions.

Entries go into segments that are sealed at once, each in one transaction. Until everything has
arrived and was compared, the log has the state `importing`: nobody appends to it or reads it. An
import that was cut short goes on behind the last segment that is whole.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

from psycopg import Connection, errors

from treadle.clock import read_clock
from treadle.counting import count_noun
from treadle.errors import OperatorError, RetriableError
from treadle.log.postgres import schema, statements
from treadle.log.postgres.connection import (
    Row,
    connect_reader,
    make_member,
    make_parameters,
    translate_errors,
)
from treadle.log.postgres.entry_rows import (
    checksum_row,
    encode_blobs,
    encode_int4s,
    encode_int8s,
    make_import_uid,
)
from treadle.log.postgres.installation import make_segment, read_timeline
from treadle.log.postgres.segment_choice import SEGMENT_BYTES_MAX
from treadle.log.slots import compute_slot
from treadle.log.transfer import (
    ExportedEntry,
    ExportedKey,
    ExportedTable,
    LogExport,
    ReportProgress,
    TransferProgress,
    TransferResult,
)

ROW_BYTES: Final = 100
"""What an entry takes beside its payload, for the size of a segment."""

BLOCK_BYTES: Final = 1 << 20
"""Bytes that are given to the driver at once."""

BLOCK_KEYS: Final = 10_000
"""Names of requests that are given to the driver at once."""

LOCK_TIMEOUT: Final = "SET lock_timeout = '20s'"
"""How long the session of an import that was killed may be waited for."""

# PostgreSQL's binary form of COPY: what comes in is what goes out, byte for byte, so that a digest
# of both compares them.
_BEGIN: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"
_ENTRY: Final = struct.Struct(">hiqiiiqiiiiiqi16si")
_KEY: Final = struct.Struct(">hi32si32sihiqiqii")


class StreamDigest:
    """Digests rows as COPY carries them."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, block: bytes) -> None:
        """Add bytes of the stream."""
        self._hash.update(block)

    @property
    def value(self) -> bytes:
        """The digest of all bytes so far."""
        return self._hash.digest()


@dataclass(slots=True)
class _EntrySums:
    """What was seen of the entries of one segment."""

    first: int = 0
    last: int = 0
    first_at: int = 0
    last_at: int = 0
    entries: int = 0
    records: int = 0
    stored_bytes: int = 0
    damaged: int = 0

    def add(self, entry: ExportedEntry) -> None:
        """Add an entry; the numbers of a damaged one mean nothing."""
        self.first = self.first or entry.position
        self.last = entry.position
        self.entries += 1
        self.stored_bytes += len(entry.stored)
        if entry.is_sound:
            self.records += entry.records
            self.first_at = self.first_at or entry.received_at
            self.last_at = max(self.last_at, entry.received_at)
        else:
            self.damaged += 1


def encode_entry(entry: ExportedEntry, table_id: int, source_id: int, name: bytes) -> bytes:
    """Return an entry as a row of COPY.

    A damaged entry gets a checksum that is wrong, too: it stays damaged, in its place.

    Args:
        entry: as it was exported.
        table_id: of its table here; 0 where its table is not known.
        source_id: who pushed.
        name: of the table, in UTF-8.
    """
    stored = entry.stored
    crc = checksum_row(zlib.crc32(stored), source_id, name, entry.records, entry.size)
    if not entry.is_sound:
        crc ^= 0xFFFF_FFFF
    uid = make_import_uid(entry.position, entry.anchor)
    return (
        _ENTRY.pack(
            *(8, 8, entry.position, 4, table_id, 8, entry.received_at),
            *(4, entry.records, 4, entry.size, 8, crc, 16, uid, len(stored)),
        )
        + stored
    )


def encode_key(key: ExportedKey, log: int) -> bytes:
    """Return the name of a request as a row of COPY."""
    return _KEY.pack(
        *(6, 32, key.name, 32, key.digest, 2, log, 8, key.first, 8, key.at, 4, key.repeats)
    )


class PostgresLogImport:
    """Imports one log; blocking, for one thread.

    Args:
        url: of the database; see `connection.make_parameters`.
        number: the log's.
        source: the log as it is elsewhere.
        installation: the id of the store of the log.
        report: called several times a second with how far the import is.
        member: who connects, as the database shows it.
        clock: microseconds since 1970.
        segment_bytes: about so large a segment becomes.
    """

    def __init__(
        self,
        url: str,
        number: int,
        source: LogExport,
        installation: str,
        report: ReportProgress = lambda progress: None,
        *,
        member: str | None = None,
        clock: Callable[[], int] = read_clock,
        segment_bytes: int = SEGMENT_BYTES_MAX,
    ) -> None:
        self._parameters = make_parameters(url, make_member() if member is None else member)
        self._log = number
        self._source = source
        self._installation = installation
        self._report = report
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._tables: Mapping[int, tuple[int, int, bytes]] = {}
        self._sums: dict[int, _EntrySums] = {}
        self._stored = 0

    def run(self, *, accepts_open: bool = False) -> TransferResult | None:
        """Copy everything, read it back and compare it; what is there already is compared only.

        Args:
            accepts_open: an earlier run may have brought the import to its end.

        Returns:
            What arrived; the log still is in the state `importing` (`open_logs`). None where it is
            not in that state any more.

        Raises:
            OperatorError: the database has another log of this number, or of this name, or refuses.
            RetriableError: the database is not available now, or what arrived is not what was
                sent. It can be tried again.
        """
        with translate_errors(), closing(connect_reader(self._parameters)) as connection:
            connection.execute(b"SET synchronous_commit = on")
            connection.execute(LOCK_TIMEOUT.encode())
            self._take_turn(connection)
            if not self._begin(connection, accepts_open=accepts_open):
                return None
            self._copy_segments(connection, self._compare_segments(connection))
            keys = self._finish(connection)
            sums = self._sums.values()
            result = TransferResult(
                self._source.log_id,
                self._source.end_position,
                sum(one.entries for one in sums),
                sum(one.records for one in sums),
                sum(one.stored_bytes for one in sums),
                keys,
                sum(one.damaged for one in sums),
            )
            expected = self._source.count_entries()
            if result.entries != expected:
                raise OperatorError(
                    f"log {self._log} has {count_noun(expected, 'entry', 'entries')}, of which "
                    f"{result.entries} can be read: run `treadle log salvage`, and try again"
                )
            return result

    # --- steps ------------------------------------------------------------------------------------

    def _take_turn(self, connection: Connection[Row]) -> None:
        """Wait for the session of an import that was killed; no two import one log at once."""
        try:
            connection.execute(statements.LOCK_IMPORT.encode(), (self._log,))
        except errors.LockNotAvailable:
            raise OperatorError(
                f"another process imports log {self._log} into this database: wait for its end"
            ) from None

    def _begin(self, connection: Connection[Row], *, accepts_open: bool) -> bool:
        """Make the log where there is none, and its tables; return whether it is to be imported."""
        with connection.transaction():
            connection.execute(statements.LOCK_SCHEMA.encode())
            for statement in schema.CREATE_SCHEMA:
                connection.execute(statement.encode())
            log_id, timeline = self._source.log_id, read_timeline(connection)
            values = (self._log, log_id, self._installation, timeline, schema.FORM)
            connection.execute(statements.ADD_IMPORTED_LOG.encode(), values)
        found = list_logs(connection)
        if judge_present_logs(found, self._log, log_id, self._installation):
            if accepts_open:
                return False
            raise OperatorError(
                f"the log's database has log {self._log} already, and it takes entries: an import "
                "does not change it; name an empty database with --log"
            )
        tables = self._source.list_tables()
        with connection.transaction():
            ids = self._add_tables(connection, tables)
        self._tables = {
            one.id: (ids[one.source_id, name], one.source_id, name)
            for one in tables
            for name in (one.name.encode(),)
        }
        return True

    def _add_tables(
        self, connection: Connection[Row], tables: list[ExportedTable]
    ) -> dict[tuple[int, bytes], int]:
        names = [one.name.encode() for one in tables]
        key_columns = (encode_int8s([one.source_id for one in tables]), encode_blobs(names))
        slots = encode_int4s([compute_slot(one.source_id, one.name) for one in tables])

        def find() -> dict[tuple[int, bytes], int]:
            rows = connection.execute(
                statements.FIND_TABLES.encode(), (self._log, *key_columns)
            ).fetchall()
            return {(int(source), bytes(name)): int(one) for one, source, name in rows}

        if len(find()) != len(tables):
            # None of another time, whose entries would be of a log that was there before.
            self._drop_segments(connection, 0)
            connection.execute(statements.FORGET_TABLES.encode(), (self._log,))
            connection.execute(statements.ADD_TABLES.encode(), (self._log, *key_columns, slots))
        return find()

    def _compare_segments(self, connection: Connection[Row]) -> int:
        """Compare what is there of a former run; drop what differs, and all behind it.

        Returns:
            The last segment that stays.
        """
        kept = 0
        rows = connection.execute(statements.LIST_SEGMENTS.encode(), (self._log,)).fetchall()
        sealed = [row for row in rows if row[6] is not None and row[0] != schema.RESCUE_SEGMENT]
        after = 0
        for segment, _, last, *_ in sealed:
            digest, sums = StreamDigest(), _EntrySums()
            digest.add(_BEGIN)
            for block in self._encode(self._source.read_entries(after, last), sums):
                digest.add(block)
                self._tell(len(block), sums.last)
            digest.add(_END)
            if segment != kept + 1 or digest.value != self._read_back(connection, segment).value:
                break
            self._sums[segment] = sums
            kept, after = segment, last
        with connection.transaction():
            self._drop_segments(connection, kept)
        return kept

    def _drop_segments(self, connection: Connection[Row], above: int) -> None:
        rows = connection.execute(statements.LIST_SEGMENTS.encode(), (self._log,)).fetchall()
        for segment in (row[0] for row in rows if row[0] > above or not row[0]):
            for statement in (statements.FORGET_SEGMENT_TABLES, statements.FORGET_SEGMENT):
                connection.execute(statement.encode(), (self._log, segment))
            connection.execute(statements.make_drop_segment(self._log, segment).encode())

    def _copy_segments(self, connection: Connection[Row], kept: int) -> None:
        """Copy the entries behind the segments that are there."""
        segment = kept
        after = self._sums[kept].last if kept else 0
        entries = self._source.read_entries(after, self._source.end_position)
        for entry in entries:  # the first one of each segment
            segment += 1
            sent, sums = StreamDigest(), _EntrySums()
            with connection.transaction():
                self._write_segment(connection, segment, chain([entry], entries), sent, sums)
            if self._read_back(connection, segment).value != sent.value:
                raise RetriableError(
                    f"what arrived of segment {segment} of log {self._log} is not what was sent: "
                    "look for faults of the server's memory and disk, and try again"
                )
            self._sums[segment] = sums

    def _write_segment(
        self,
        connection: Connection[Row],
        segment: int,
        entries: Iterator[ExportedEntry],
        sent: StreamDigest,
        sums: _EntrySums,
    ) -> None:
        """Make one segment of the next entries, and seal it."""
        table, *further = schema.make_segment_ddl(self._log, segment)
        connection.execute(table.encode())
        # Rows are frozen as they come: the server never has to read them again for that.
        copying = statements.make_copy_in(self._log, segment)
        with connection.cursor() as cursor, cursor.copy(copying.encode()) as copy:

            def send(block: bytes) -> None:
                copy.write(block)
                sent.add(block)

            send(_BEGIN)
            for block in self._encode(entries, sums, self._segment_bytes):
                send(block)
                self._tell(len(block), sums.last)
            send(_END)
        for statement in further:
            connection.execute(statement.encode())
        now = self._clock()
        connection.execute(statements.make_note_tables(self._log, segment).encode())
        connection.execute(
            statements.make_add_sealed(self._log, segment).encode(),
            (sums.first, sums.last, sums.entries, sums.first_at or now, now),
        )

    def _tell(self, size: int, position: int) -> None:
        self._stored += size
        self._report(TransferProgress(self._stored, position / self._source.end_position))

    def _encode(
        self, entries: Iterable[ExportedEntry], sums: _EntrySums, bytes_max: int | None = None
    ) -> Iterator[bytes]:
        """Encode entries as blocks of rows, until there are enough for a segment."""
        rows: list[bytes] = []
        size = whole = 0
        for entry in entries:
            sums.add(entry)
            row = encode_entry(entry, *self._tables.get(entry.table_id, (0, 0, b"")))
            rows.append(row)
            size += len(row)
            whole += len(entry.stored) + ROW_BYTES
            if size >= BLOCK_BYTES:
                yield b"".join(rows)
                rows.clear()
                size = 0
            if bytes_max is not None and whole >= bytes_max:
                break
        if rows:
            yield b"".join(rows)

    def _read_back(self, connection: Connection[Row], segment: int) -> StreamDigest:
        """Read all rows of a segment in order; return their digest."""
        with connection.transaction():
            for setting in statements.READ_BY_INDEX:
                connection.execute(setting.encode())
            return _digest_copy(connection, statements.make_copy_out(self._log, segment))

    def _finish(self, connection: Connection[Row]) -> int:
        """Copy the names of requests and the marks, and say where appends go; return the names."""
        last = max(self._sums, default=0)
        now = self._clock()
        with connection.transaction():
            keys = self._copy_keys(connection)
            make_segment(connection, self._log, schema.RESCUE_SEGMENT, 1, now)
            make_segment(connection, self._log, last + 1, self._source.end_position + 1, now)
            self._write_marks(connection)
            last_at = max((one.last_at for one in self._sums.values()), default=0)
            connection.execute(
                statements.PLACE_IMPORTED_LOG.encode(),
                (self._log, last + 1, self._source.end_position, last_at),
            )
        return keys

    def _copy_keys(self, connection: Connection[Row]) -> int:
        """Copy the names of requests, and compare them; return how many."""
        sent = StreamDigest()
        connection.execute(statements.FORGET_ALL_KEYS.encode(), (self._log,))
        count = 0
        with connection.cursor() as cursor, cursor.copy(statements.COPY_KEYS_IN.encode()) as copy:
            rows = [_BEGIN]
            for count, key in enumerate(self._source.read_keys(), start=1):  # noqa: B007
                rows.append(encode_key(key, self._log))
                if len(rows) >= BLOCK_KEYS:
                    _send(copy.write, sent, rows)
            _send(copy.write, sent, [*rows, _END])
        if _digest_copy(connection, statements.make_copy_keys_out(self._log)).value != sent.value:
            raise RetriableError(
                f"the idempotency keys of log {self._log} that arrived are not those that were "
                "sent: try again"
            )
        return count

    def _write_marks(self, connection: Connection[Row]) -> None:
        loaded = {self._tables[one.id][0]: one.loaded for one in self._source.list_tables()}
        connection.execute(
            statements.MARK.encode(),
            (1, encode_int4s(list(loaded)), encode_int8s(list(loaded.values()))),
        )


class PresentLog(NamedTuple):
    """A log that a database has."""

    number: int
    log_id: str
    installation: str
    state: str


def list_logs(connection: Connection[Row]) -> list[PresentLog]:
    """Return the logs of a database that has the schema."""
    rows = connection.execute(statements.LIST_LOGS.encode()).fetchall()
    return [PresentLog(int(number), *map(str, rest)) for number, *rest in rows]


def judge_present_logs(
    logs: Iterable[PresentLog], number: int, log_id: str, installation: str
) -> bool:
    """Return whether a log is in use already, where it may be imported beside those that are there.

    Args:
        logs: that are there, this one among them.
        number: of the log.
        log_id: of the log.
        installation: the id of its store.

    Raises:
        OperatorError: one of them is another installation's.
    """
    states = {}
    for one in logs:
        if one.installation != installation or (one.number == number and one.log_id != log_id):
            raise OperatorError(
                f"the log's database has a log {one.number} of another installation: name an empty "
                "database with --log"
            )
        states[one.number] = one.state
    return states[number] != schema.IMPORTING


def open_logs(url: str, log_ids: Mapping[int, str], *, member: str | None = None) -> int:
    """Let logs that were imported take entries; return how many did not before.

    Args:
        url: of the database.
        log_ids: number -> log id.
        member: who connects, as the database shows it.

    Raises:
        OperatorError: the database refuses.
        RetriableError: the database is not available now.
    """
    parameters = make_parameters(url, make_member() if member is None else member)
    with translate_errors(), closing(connect_reader(parameters)) as connection:
        connection.execute(b"SET synchronous_commit = on")
        with connection.transaction():
            return sum(
                connection.execute(statements.OPEN_IMPORTED_LOG.encode(), pair).rowcount
                for pair in log_ids.items()
            )


def _digest_copy(connection: Connection[Row], statement: str) -> StreamDigest:
    found = StreamDigest()
    with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        for block in copy:
            found.add(bytes(block))
    return found


def _send(write: Callable[[bytes], None], sent: StreamDigest, rows: list[bytes]) -> None:
    """Write rows, digest them, and forget them."""
    block = b"".join(rows)
    write(block)
    sent.add(block)
    rows.clear()
