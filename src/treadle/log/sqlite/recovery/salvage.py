"""Moves a damaged log aside and writes a new one of what can be read.

The new file has the same log id and the same positions, so that every destination knows where it
stands. Entries whose checksum fails stay in their place as damaged ones, which the loader names and
leaves out. New positions begin far above the old ones: none is given twice.
"""

import mmap
import os
import sqlite3
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Final

from treadle.errors import OperatorError
from treadle.files import sync_folder
from treadle.log.codec import checksum_entry
from treadle.log.salvage_report import KnownLog, SalvagedTable, SalvageReport
from treadle.log.sqlite import statements
from treadle.log.sqlite.log_file import (
    FileConnector,
    LogWriteLock,
    checksum_log_id,
    get_result_code,
    open_log_file,
    open_sqlite,
    read_end_position,
    translate_errors,
    write_transaction,
)
from treadle.log.sqlite.recovery.pages import FileView, PageCell, PageReader, WalContent, read_wal

POSITION_GAP: Final = 1_000_000
"""Positions left out above the greatest that is known of: those that were lost with their pages."""

POSITION_MAX: Final = 1 << 53
"""A greater one is damage: a log that takes a million entries a second comes here in 285 years."""

FULL_CHECK_BYTES_MAX: Final = 2_000_000_000
"""A longer file is not read as a whole at every start; damage in it is found where it is met."""

COPIED_WAL_BYTES_MAX: Final = 256 * 1024 * 1024
"""Writers wait while a write-ahead log is copied. SQLite begins it anew every four megabytes unless
a reader keeps it from that, such as the backup of a long log."""

DAMAGE_CODES: Final = (
    -1,  # the driver's own: text that is none
    sqlite3.SQLITE_ERROR,  # a statement of ours does not fit the schema that is there
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_TOOBIG,
)

FILE_BYTES_MIN: Final = 512
"""The least that a file of SQLite has: one page of the smallest kind."""

KEY_BYTES: Final = 32
"""Of the name of a request, and of its digest."""


def repair_log(
    path: Path, known: KnownLog, *, connect: FileConnector = open_sqlite
) -> SalvageReport | None:
    """Replace a log that cannot be used; None when it is well, or is not there.

    Only while no other process has the file open.

    Raises:
        OperatorError: the file cannot be read or replaced, or is a newer treadle's.
        RetriableError: the disk failed.
    """
    if not path.exists() or not path.stat().st_size:
        return None
    why = find_damage(path, known, connect, alone=True)
    if why is None:
        _lower_marks(path, known, connect)
        return None
    return salvage_log(path, known, why, connect=connect)


def find_damage(
    path: Path,
    known: KnownLog,
    connect: FileConnector = open_sqlite,
    *,
    whole: bool = False,
    alone: bool = False,
) -> str | None:
    """Return why SQLite or treadle cannot use a log; None when they can.

    Args:
        path: the log's file; a server may be using it.
        known: what others remember of it.
        connect: opens it.
        whole: look at all of it, however long it is.
        alone: no other process has it open, so that its write-ahead log is looked at, however long
            that is.

    Raises:
        OperatorError, RetriableError: the disk or its rights are at fault, not the log.
    """
    if _is_wal_torn(path, alone=alone):
        return "its write-ahead log is damaged in the middle"
    try:
        return _find_damage(path, known, connect, whole=whole)
    except sqlite3.DatabaseError as error:
        if get_result_code(error) in DAMAGE_CODES:
            return str(error)
        if get_result_code(error) == sqlite3.SQLITE_READONLY and not _is_writable_format(path):
            return "its header says that this SQLite may not write it"
        with translate_errors():
            raise
    except (TypeError, ValueError, UnicodeDecodeError, OverflowError) as error:
        return f"a value is damaged: {error}"


def _is_wal_torn(path: Path, *, alone: bool) -> bool:
    """Return whether the write-ahead log of a log is damaged in the middle.

    Beside writers it is copied, which they wait for, and one above COPIED_WAL_BYTES_MAX is not.
    """
    wal = path.with_name(path.name + "-wal")
    with translate_errors():
        if alone:
            with _open_view(wal) as view:
                return read_wal(view).torn
        lock = LogWriteLock(path.with_name(path.name + "-lock"))
        try:
            with lock:  # half of what a writer is about to write looks like damage
                is_short = wal.exists() and wal.stat().st_size <= COPIED_WAL_BYTES_MAX
                data = wal.read_bytes() if is_short else b""
        finally:
            lock.close()
    return read_wal(data).torn


@contextmanager
def _open_view(path: Path) -> Iterator[FileView]:
    """Open a file of any length to read parts of it; nothing where it is missing or empty."""
    if not path.exists() or not path.stat().st_size:
        yield b""
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        yield view


def _is_writable_format(path: Path) -> bool:
    """Return whether the file's header says WAL mode, of the version that SQLite has today."""
    with path.open("rb") as file:
        return file.read(20)[18:] == b"\2\2"


def _find_damage(path: Path, known: KnownLog, connect: FileConnector, *, whole: bool) -> str | None:
    connection = connect(path)
    try:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application_id != statements.APPLICATION_ID and _is_foreign(connection):
            # SQLite takes what is shorter than a page for a new file.
            cut = path.stat().st_size < FILE_BYTES_MIN
            return "nothing of it is left" if cut else None  # opening another's file says so
        meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        if application_id != statements.APPLICATION_ID:
            return f"its application id is {application_id}"
        if meta.get("form") != str(version):
            return f"it says of itself to be of form {version} and of form {meta.get('form')}"
        if version != statements.SCHEMA_VERSION:
            return None  # opening it says so
        everything = whole or path.stat().st_size <= FULL_CHECK_BYTES_MAX
        return (
            _check_meta(meta)
            or _check_schema(connection)
            or (_check_everything(connection) if everything else None)
            or _check_positions(connection, known if meta["log_id"] == known.log_id else KnownLog())
        )
    finally:
        connection.close()


def _check_meta(meta: Mapping[Any, Any]) -> str | None:
    """Return what is wrong with what a log says of itself."""
    if not all(isinstance(value, str) for pair in meta.items() for value in pair):
        return "a text of its own is damaged"
    log_id = meta.get("log_id")
    if log_id is None or meta.get("check") != checksum_log_id(log_id):
        return "its name is damaged"
    return None


def _check_schema(connection: sqlite3.Connection) -> str | None:
    """Return what is wrong with a log's journal mode, schema and tables."""
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        return f"its journal mode is {mode}"
    found = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
    schema = {str(text).strip() for (text,) in found}
    if not {statement.strip() for statement in statements.SCHEMA} <= schema:
        return "its schema is damaged"
    if connection.execute(statements.MISTYPED_TABLES).fetchone() is not None:
        return "what it says of a table is damaged"
    return None


def _check_positions(connection: sqlite3.Connection, known: KnownLog) -> str | None:
    """Return what is wrong with the end of a log, beyond which new entries are put."""
    end = read_end_position(connection)
    (last,) = connection.execute(
        "SELECT coalesce(max(position), 0) FROM entries NOT INDEXED"
    ).fetchone()
    last = max(last, *known.loaded_positions.values(), 0)
    if not last <= end <= POSITION_MAX:
        return f"its end is {end}, and there is an entry {last}"
    _try_append(connection, end)
    return None


def _check_everything(connection: sqlite3.Connection) -> str | None:
    """Read everything in a log; return what is wrong with it."""
    # Not the quick one: an entry that its index does not name would wait unseen.
    (said,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if said != "ok":
        return str(said)
    for statement in statements.SCAN_INDEXES:
        connection.execute(statement).fetchone()
    if connection.execute(statements.MISTYPED_REQUESTS).fetchone() is not None:
        return "what it says of a request is damaged"
    return None


def _is_foreign(connection: sqlite3.Connection) -> bool:
    """Return whether a file is sound and no log: another program's, or an empty one."""
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return said == "ok" and not names & {"entries", "entries_by_table", "tables", "meta"}


def _try_append(connection: sqlite3.Connection, end: int) -> None:
    """Add an entry to each table and undo that, to see that appends work."""
    connection.execute(statements.BEGIN_WRITE)
    try:
        for (table_id,) in connection.execute("SELECT id FROM tables LIMIT 1000").fetchall():
            end += 1
            connection.execute(statements.make_insert(1), (end, table_id, 0, 0, 0, 0, b""))
        name = os.urandom(KEY_BYTES)
        connection.execute(statements.ADD_REQUEST, (name, name, end, 0))
        connection.execute(statements.COUNT_REPEAT, (name,)).fetchall()
    finally:
        connection.execute(statements.ROLLBACK)


def _lower_marks(path: Path, known: KnownLog, connect: FileConnector) -> None:
    """Lower marks above the noted positions: what is between would never be loaded."""
    connection, lock, log_id = open_log_file(path, connect, durable=True)
    try:
        if log_id != known.log_id:
            return
        with translate_errors(), lock, write_transaction(connection):
            (number,) = connection.execute(statements.NEXT_MARK).fetchone()
            for source_id, name, loaded in connection.execute(
                "SELECT source_id, table_name, loaded FROM tables"
            ).fetchall():
                noted = known.loaded_positions.get((source_id, name), 0)
                if loaded > noted:
                    connection.execute(statements.MARK, (source_id, name, noted, number))
    finally:
        connection.close()
        lock.close()


def salvage_log(
    path: Path, known: KnownLog, why: str, *, connect: FileConnector = open_sqlite
) -> SalvageReport:
    """Move a log aside and make a new one of what can be read."""
    new = path.with_name(path.name + "-new")
    for old in (new, *_side_files(new)):
        old.unlink(missing_ok=True)
    try:
        with _open_view(path) as data, _open_view(path.with_name(path.name + "-wal")) as wal:
            found = _SalvagedRows(data, read_wal(wal))
            entries, lost = found.write_log(new, known, connect)
        aside = _free_damaged_path(path)
        for name, other in zip(
            (path, *_side_files(path)), (aside, *_side_files(aside)), strict=True
        ):
            if name.exists():
                name.rename(other)
        new.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise OperatorError(
            f"the log {path} is damaged ({why}) and cannot be replaced: {error.strerror}; make "
            f"room beside it, or move it away to begin with an empty log"
        ) from error
    return SalvageReport(why, aside, entries, lost)


def _side_files(path: Path) -> tuple[Path, Path]:
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def _free_damaged_path(path: Path) -> Path:
    number = 1
    while (place := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return place


class _SalvagedRows:
    """The rows of all pages, recognised by their shape.

    Pages that were committed behind a break in the write-ahead log may be newer than all others, or
    the rest of a commit that was undone (`pages.read_wal`). So both states of such a page are read,
    and of two entries with one position the one before the break counts: nothing that was promised
    is lost, whichever it is. No position is ever given twice but after an undone commit. So where
    both states have a position, with different entries, the pages behind the break are left out.

    Args:
        data: the file.
        wal: its write-ahead log.
    """

    def __init__(self, data: FileView, wal: WalContent) -> None:
        self._pages = PageReader(data, wal.data, wal.pages)
        self._later = PageReader(data, wal.data, {**wal.pages, **wal.later})
        self._later_numbers: Sequence[int] = [*wal.later]
        self._collect_all()
        if self._later_numbers and self._contradicts_itself():
            self._later_numbers = ()
            self._collect_all()

    def _collect_all(self) -> None:
        """Collect all that is no entry; of the two states of a page the later one counts."""
        self._tables: dict[int, set[SalvagedTable]] = {}
        self._marks: dict[int, int] = {}
        self._positions: dict[int, set[int]] = {}
        self._meta: dict[str, str] = {}
        for cell in chain(self._pages.read_cells(), self._read_later_cells()):
            self._collect(cell.rowid, cell.values)

    def _read_later_cells(self) -> Iterator[PageCell]:
        return self._later.read_cells(self._later_numbers)

    def _contradicts_itself(self) -> bool:
        """Return whether another entry has the position of one behind the break."""
        later = dict(self._read_sound_entries(self._read_later_cells()))
        return any(
            later.get(position, checksum) != checksum
            for position, checksum in self._read_sound_entries(self._pages.read_cells())
        )

    def _read_sound_entries(self, cells: Iterable[PageCell]) -> Iterator[tuple[int, int]]:
        """Read the positions and the checksums of sound entries."""
        for cell in cells:
            if cell.rowid is None or len(cell.values) != 7:
                continue
            if self._find_owner(cell.rowid, cell.values) is not None:
                yield cell.rowid, cell.values[5]

    def _collect(self, rowid: int | None, values: tuple[Any, ...]) -> None:
        match values:
            case (None, int(source), str(name), int(loaded), int()) if rowid is not None:
                self._tables.setdefault(rowid, set()).add((source, name))
                self._marks[rowid] = loaded
            case (int(source), str(name), int(number)) if rowid is None:
                self._tables.setdefault(number, set()).add((source, name))
            case (int(table), int(position)) if rowid is None and 0 < position < POSITION_MAX:
                self._positions.setdefault(table, set()).add(position)
            case (str(name), str(value)) if rowid is None:
                self._meta[name] = value

    def write_log(
        self, path: Path, known: KnownLog, connect: FileConnector
    ) -> tuple[int, dict[SalvagedTable, list[int]]]:
        """Make a log of what was found; return how many entries are sound and which are not."""
        connection, lock, _ = open_log_file(path, connect, durable=True)
        log_id = self._choose_log_id(known)
        if log_id != known.log_id:
            known = KnownLog()  # of another log
        try:
            with translate_errors(), lock, write_transaction(connection):
                for name, value in (("log_id", log_id), ("check", checksum_log_id(log_id))):
                    connection.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))
                result = self._copy_rows(connection, known)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return result
        finally:
            connection.close()
            lock.close()

    def _choose_log_id(self, known: KnownLog) -> str:
        found = self._meta.get("log_id")
        check = self._meta.get("check")
        if found is not None and check == checksum_log_id(found):
            return found
        return known.log_id or found or str(uuid.uuid4())

    def _copy_rows(
        self, connection: sqlite3.Connection, known: KnownLog
    ) -> tuple[int, dict[SalvagedTable, list[int]]]:
        sound: dict[int, SalvagedTable] = {}
        suspects: dict[int, tuple[int, tuple[Any, ...]]] = {}
        ids: dict[SalvagedTable, int] = {}
        last = max(known.loaded_positions.values(), default=0)
        for cell in chain(self._pages.read_cells(), self._read_later_cells()):
            match cell.values:
                case (None, int(table_id), *_) if cell.rowid and len(cell.values) == 7:
                    position = cell.rowid
                    if not 0 < position < POSITION_MAX:
                        continue
                    owner = self._find_owner(position, cell.values)
                    if owner is None:
                        suspects[position] = (table_id, cell.values)
                    elif position not in sound:
                        sound[position] = owner
                        self._add_entry(connection, ids, owner, position, cell.values[2:])
        # Not the keys behind a break: a request that is known by its key counts as stored, though
        # some of its entries may have been written over. Without one it is stored once more.
        for cell in self._pages.read_cells():
            match cell.values:
                case (bytes(name), bytes(digest), int(first), int(at), int()) if (
                    cell.rowid is None
                    and len(name) == len(digest) == KEY_BYTES
                    and 0 < first < POSITION_MAX
                    and 0 <= at < POSITION_MAX
                ):
                    connection.execute(statements.ADD_OR_RAISE_REQUEST, cell.values)
        missing = {
            position: table_id
            for table_id, positions in self._positions.items()
            for position in positions
            if position not in sound
        }
        missing |= {p: table_id for p, (table_id, _) in suspects.items() if p not in sound}
        lost = self._keep_damaged(connection, ids, missing, suspects, known)
        for owner, number in ids.items():
            connection.execute(
                "UPDATE tables SET loaded = ?, marked = 1 WHERE id = ?",
                (self._loaded_position(owner, known), number),
            )
        last = max(last, *sound, *missing, 0)
        connection.execute("DELETE FROM sqlite_sequence WHERE name = 'entries'")
        connection.execute(
            "INSERT INTO sqlite_sequence (name, seq) VALUES ('entries', ?)", (last + POSITION_GAP,)
        )
        return len(sound), lost

    def _find_owner(self, position: int, values: tuple[Any, ...]) -> SalvagedTable | None:
        """Return the table for which the checksum of a row is right."""
        _, table_id, received_at, records, size, crc, payload = values
        if not isinstance(payload, bytes):
            return None
        stored = zlib.crc32(payload)
        # The row's own table first; its number may be what is damaged, or the names of the table.
        first = self._tables.get(table_id, set())
        others = (
            one for number, ones in self._tables.items() if number != table_id for one in ones
        )
        for source, name in (*first, *others):
            try:
                right = checksum_entry(
                    stored, position, source, name.encode(), received_at, records, size
                )
            except Exception:  # noqa: BLE001 - a damaged value of any type and size
                return None
            if right == crc:
                return source, name
        return None

    def _loaded_position(self, owner: SalvagedTable, known: KnownLog) -> int:
        """Return up to where a table is loaded: the noted position, else that of its row."""
        if known.log_id is not None:
            return known.loaded_positions.get(owner, 0)
        found = [
            self._marks[n] for n, ones in self._tables.items() if owner in ones if n in self._marks
        ]
        return max((mark for mark in found if 0 <= mark < POSITION_MAX), default=0)

    def _keep_damaged(
        self,
        connection: sqlite3.Connection,
        ids: dict[SalvagedTable, int],
        missing: Mapping[int, int],
        suspects: Mapping[int, tuple[int, tuple[Any, ...]]],
        known: KnownLog,
    ) -> dict[SalvagedTable, list[int]]:
        """Put damaged entries that are not loaded into their place; return their positions."""
        lost: dict[SalvagedTable, list[int]] = {}
        for position, table_id in sorted(missing.items()):
            owners = self._tables.get(table_id, set())
            owner = next(iter(sorted(owners)), (0, ""))
            if position <= self._loaded_position(owner, known):
                continue  # it was loaded, and perhaps removed: an old page names it still
            lost.setdefault(owner, []).append(position)
            rest = suspects.get(position, (0, (None, 0, 0, 0, 0, -1, b"")))[1][2:]
            numbers = [value if isinstance(value, int) else 0 for value in rest[:3]]
            stored = rest[4] if isinstance(rest[4], bytes) else b""
            self._add_entry(connection, ids, owner, position, (*numbers, -1, stored))
        return lost

    @staticmethod
    def _add_entry(
        connection: sqlite3.Connection,
        ids: dict[SalvagedTable, int],
        owner: SalvagedTable,
        position: int,
        rest: tuple[Any, ...],
    ) -> None:
        number = ids.get(owner)
        if number is None:
            (number,) = connection.execute(statements.ADD_TABLE, owner).fetchone()
            ids[owner] = number
        connection.execute(statements.make_insert(1), (position, number, *rest))
