"""The log's file and its write lock.

`open_sqlite` is the seam through which everything reaches the disk: pass another one to see what
the log does when the disk fails.
"""

import errno
import fcntl
import os
import sqlite3
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from treadle.errors import OperatorError, RetriableError
from treadle.files import make_private_file, open_private_file, sync_folder
from treadle.log.sqlite import statements

FileConnector = Callable[[Path], sqlite3.Connection]

# Only what does not take the lock below (a backup, the sqlite3 command) can make a writer wait.
BUSY_TIMEOUT_S: Final = 30.0

PAGE_SIZE: Final = 4096
CACHE_KIB: Final = 16_384
GLANCE_CACHE_KIB: Final = 128
"""The cache of a reader that looks now and then. A worker has several of these, and with 10,000
tables each of them filled its cache."""


def open_sqlite(path: Path) -> sqlite3.Connection:
    """Open the file with SQLite; transactions are begun and ended by statement."""
    return sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


class LogWriteLock:
    """A lock that lets one writer at a time write, in all processes.

    SQLite's own lock is polled with growing pauses; here the next writer is woken at once. Not for
    several threads: each writer has its own.

    Args:
        path: the lock file, made where missing. It holds nothing and is never removed.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = open_private_file(path)

    def __enter__(self) -> Self:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return self

    def __exit__(self, *exc: object) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the lock file."""
        os.close(self._descriptor)


def open_log_file(
    path: Path, connect: FileConnector, *, durable: bool, cache_kib: int = CACHE_KIB
) -> tuple[sqlite3.Connection, LogWriteLock, str]:
    """Open a log and make it where it is missing; several processes may do so at once.

    Args:
        path: the file; its folder must exist.
        connect: opens it.
        durable: commits are fsynced before they return. Without, a power cut may undo the last
            ones; the file stays sound.
        cache_kib: kibibytes of the file that the connection keeps in memory at most.

    Returns:
        The connection, the lock to hold around its write transactions, and the log's name.

    Raises:
        OperatorError: the file cannot be opened, is no log, or is a newer treadle's.
        RetriableError: the disk failed.
    """
    try:
        lock = LogWriteLock(path.with_name(path.name + "-lock"))
    except OSError as error:
        raise _open_error(path, error) from error
    try:
        with translate_errors(), lock:
            try:
                make_private_file(path)
            except OSError as error:
                raise _open_error(path, error) from error
            connection = connect(path)
            try:
                log_id = _prepare_connection(connection, path, durable=durable)
                connection.execute(f"PRAGMA cache_size = -{cache_kib:d}")
            except BaseException:
                connection.close()
                raise
    except BaseException:
        lock.close()
        raise
    return connection, lock, log_id


def _prepare_connection(connection: sqlite3.Connection, path: Path, *, durable: bool) -> str:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    new = application_id == 0 and version == 0 and _is_empty(connection)
    if not new and application_id != statements.APPLICATION_ID:
        raise OperatorError(f"{path} is another program's database, no log: name another file")
    if version > statements.SCHEMA_VERSION:
        raise OperatorError(
            f"the log {path} was made by a newer treadle (its form is {version}, this one knows "
            f"{statements.SCHEMA_VERSION}): install that version again"
        )
    if not new and version < statements.SCHEMA_VERSION:
        raise OperatorError(
            f"the log {path} has form {version}, which no release of treadle wrote: name another "
            f"file"
        )
    if new:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise OperatorError(
            f"the log {path} cannot be written ahead (journal mode {mode}): put it on a local disk"
        )
    connection.execute("PRAGMA synchronous = FULL")
    if new:
        _create_tables(connection, path)
    if not durable:
        connection.execute("PRAGMA synchronous = NORMAL")
    (log_id,) = connection.execute(statements.LOG_ID).fetchone()
    return str(log_id)


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None


def _create_tables(connection: sqlite3.Connection, path: Path) -> None:
    with write_transaction(connection):
        for statement in statements.SCHEMA:
            connection.execute(statement)
        log_id = str(uuid.uuid4())
        connection.execute(statements.PUT_META, ("log_id", log_id))
        connection.execute(statements.PUT_META, ("check", checksum_log_id(log_id)))
        connection.execute(statements.PUT_META, ("form", str(statements.SCHEMA_VERSION)))
        connection.execute(statements.PUT_META, ("failures", "0"))
        connection.execute(f"PRAGMA application_id = {statements.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {statements.SCHEMA_VERSION}")
    sync_folder(path.parent)


def checksum_log_id(log_id: str) -> str:
    """Compute the checksum that is kept beside a log's name."""
    return f"{zlib.crc32(log_id.encode()):08x}"


def read_end_position(connection: sqlite3.Connection) -> int:
    """Return the greatest position ever given."""
    (end,) = connection.execute(statements.END_POSITION).fetchone()
    return int(end)


@contextmanager
def write_transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block in a transaction, undone when it raises; the caller holds the lock."""
    connection.execute(statements.BEGIN_WRITE)
    try:
        yield
        connection.execute(statements.COMMIT)
    except BaseException:
        if connection.in_transaction:
            connection.execute(statements.ROLLBACK)
        raise


WAL_HEADER_BYTES: Final = 32
FRAME_HEADER_BYTES: Final = 24
"""Of each page in the write-ahead log; sqlite.org/fileformat2, section 4."""


def cut_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Cut off what stands in the write-ahead log behind its live end, durably.

    A commit whose fsync failed, or whose process was killed in it, leaves complete frames there,
    the one with the commit mark among them. SQLite writes over them from the first on, and never
    reads the rest: its chain of checksums ends before. But that rest has the look of commits that
    follow a damaged frame, and nothing in it tells which of the two it is: a checksum says only
    what it went on from. So it must not stay.

    Cutting is right while others read, which a checkpoint that begins the file anew is not: it
    waits for the longest of them, a backup perhaps. A reader looks at no frame behind the end that
    it began with, and no process keeps the size of the file. Nor does anything but a commit move
    the end, and each commit holds the lock.

    The caller holds the lock, and is in no transaction.

    Raises:
        sqlite3.Error, OSError: the rest may be there still.
    """
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    # It copies into the file what nobody needs from the log any more, and tells the end.
    _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if frames < 0:
        raise sqlite3.OperationalError("another process takes the write-ahead log in")
    end = WAL_HEADER_BYTES + frames * (FRAME_HEADER_BYTES + PAGE_SIZE)
    # Closing it takes no lock away: SQLite has its locks on other files.
    descriptor = os.open(f"{path}-wal", os.O_RDWR)
    try:
        if os.fstat(descriptor).st_size > end:
            os.ftruncate(descriptor, end)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_error(path: Path, error: OSError) -> OperatorError:
    what = "its folder is missing" if error.errno == errno.ENOENT else error.strerror
    return OperatorError(
        f"the log {path} cannot be opened ({what}): make its folder, readable and writable for "
        f"the user treadle runs as"
    )


_DAMAGE_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_OPERATOR_CODES: Final = frozenset(
    {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH}
)


def get_result_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code; -1 where the driver gives none."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else int(code) & 0xFF


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether SQLite found something that it never wrote."""
    return get_result_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_TOOBIG)


def integer_or_zero(value: object) -> int:
    """Return a whole number as it is, and 0 for anything that damage made of it."""
    return value if isinstance(value, int) else 0


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn errors of SQLite and the system into those of treadle, by whose fault they are."""
    try:
        yield
    except sqlite3.Error as error:
        if get_result_code(error) in _DAMAGE_CODES:
            raise OperatorError(
                f"the log is damaged ({error}): stop treadle and run `treadle log salvage`, or "
                "start treadle again; both put it aside and go on with what can be read"
            ) from error
        if get_result_code(error) in _OPERATOR_CODES:
            raise OperatorError(
                f"the log cannot be used ({error}): check its file's rights and its disk"
            ) from error
        raise RetriableError(f"the log is not available now ({error})") from error
    except OSError as error:
        raise RetriableError(f"the log's disk failed ({error.strerror})") from error
