"""Opens the logs that the settings and the store name, each with the back-end of its kind.

Back-ends are imported when they are asked for, so that a command that reads no log does not pay.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Protocol

from treadle.errors import InternalError, OperatorError, RetriableError
from treadle.log import remote_registry
from treadle.log.closed import ClosedReader
from treadle.log.joined import JoinedAppender, JoinedReader, Part, SourceNumbers, join_spaces
from treadle.log.protocol import (
    FIRST_LOG,
    LogAppender,
    LogInfo,
    LogReader,
    LogSnapshot,
    LogState,
)
from treadle.log.quota import LogLook, LogQuota
from treadle.log.salvage_report import KnownLog, SalvageReport
from treadle.log.transfer import LogExport

logger = logging.getLogger("treadle.log")

SQLITE: Final = "sqlite"
"""The kind of a log that is a file in the data folder."""


class LogSettings(Protocol):
    """The settings that name a log and bound it (`treadle.config`)."""

    @property
    def log_path(self) -> Path:
        """The log's file."""

    @property
    def log_bytes(self) -> int:
        """Bytes that the log may hold; 0 for no bound."""

    @property
    def disk_reserve_bytes(self) -> int:
        """Bytes of the log's disk that are left for loading."""


class KnownInfo(Protocol):
    """What the store has of a log."""

    @property
    def number(self) -> int:
        """The log number."""

    @property
    def log_id(self) -> str:
        """The log's name."""

    @property
    def kind(self) -> str:
        """The kind of its back-end."""

    @property
    def url(self) -> str:
        """Where it is; empty for the data folder."""

    @property
    def state(self) -> str:
        """A value of `LogState`."""


class LogBook(Protocol):
    """Knows the logs of an installation and those of sources, as the store does."""

    @property
    def is_shared(self) -> bool:
        """Whether logs may be added while servers run: commands of other machines use the store."""

    def list_logs(self) -> Sequence[KnownInfo]:
        """Return all logs that a server has opened, by number."""

    def get_number(self, source_id: int) -> int:
        """Return the number of a source's log."""


def name_log_file(settings: LogSettings, number: int) -> Path:
    """Return the file of a log in the data folder."""
    path = settings.log_path
    return path if number == FIRST_LOG else path.with_name(f"{path.stem}-{number}{path.suffix}")


def name_log_place(settings: LogSettings, log: LogInfo) -> str:
    """Return where a log is, without secrets: its database, or its file."""
    if log.url:
        return remote_registry.name_remote_place(log.url)
    return str(name_log_file(settings, log.number))


def list_log_files(settings: LogSettings) -> dict[int, Path]:
    """Return log number -> file, of the logs that are in the data folder; no store is asked."""
    first = settings.log_path
    found = {FIRST_LOG: first} if first.exists() else {}
    for path in first.parent.glob(f"{first.stem}-*{first.suffix}"):
        number = path.stem.removeprefix(f"{first.stem}-")
        if number.isascii() and number.isdigit() and name_log_file(settings, int(number)) == path:
            found[int(number)] = path
    return dict(sorted(found.items()))


def has_log(settings: LogSettings, book: LogBook | None = None) -> bool:
    """Return whether there is a log; opening the first one where it is not there makes it.

    Args:
        settings: name the first log.
        book: knows those that are not in the data folder.
    """
    if settings.log_path.exists():
        return True
    return book is not None and any(one.url for one in book.list_logs())


def make_quota(settings: LogSettings) -> LogQuota:
    """Return the bounds of the log."""
    return LogQuota(settings.log_bytes, settings.disk_reserve_bytes)


def open_appender(
    settings: LogSettings,
    book: LogBook | None = None,
    report_failure: Callable[[], None] = lambda: None,
    get_tables_max: Callable[[int], int] = lambda source_id: 0,
    report_commit: Callable[[int], None] = lambda microseconds: None,
    numbers: SourceNumbers | None = None,
) -> LogAppender:
    """Open the logs for writing; blocks for a moment.

    Args:
        settings: name the first log, and bound all.
        book: knows the logs; None for the first one alone.
        report_failure: called for each group of requests that the disk did not take.
        get_tables_max: source id -> how many tables it may have, 0 for any. The thread that writes
            calls it.
        report_commit: called with the microseconds of each commit, by the same thread.
        numbers: of the logs of sources; None to ask the book.

    Raises:
        OperatorError: a log cannot be opened, is no log, or is a newer treadle's.
        RetriableError: the disk failed.
    """
    quota = make_quota(settings)

    def open_one(log: LogInfo) -> LogAppender:
        if log.kind != SQLITE:
            return remote_registry.open_remote_appender(
                log,
                quota=quota,
                report_failure=report_failure,
                get_tables_max=get_tables_max,
                report_commit=report_commit,
            )
        from treadle.log.sqlite.log import SqliteAppender

        return SqliteAppender(
            name_log_file(settings, log.number),
            quota=quota,
            report_failure=report_failure,
            get_tables_max=get_tables_max,
            report_commit=report_commit,
        )

    return InstallationDirectory(settings, book, open_one, numbers=numbers).open_appenders()


def open_reader(settings: LogSettings, book: LogBook | None = None) -> LogReader:
    """Open the logs for reading; raises like `open_appender`."""
    return InstallationDirectory(settings, book).open_readers()


def open_glance(settings: LogSettings, book: LogBook | None = None) -> LogReader:
    """Open the logs for somebody who looks now and then: the readers keep little in memory."""

    def open_lean(path: Path) -> LogReader:
        from treadle.log.sqlite.log import SqliteReader
        from treadle.log.sqlite.log_file import GLANCE_CACHE_KIB

        return SqliteReader(path, cache_kib=GLANCE_CACHE_KIB)

    return InstallationDirectory(settings, book, open_file=open_lean).open_readers()


def open_file(settings: LogSettings, number: int) -> LogReader:
    """Open one log of the data folder for reading; raises like `open_appender`."""
    return _open_file_reader(name_log_file(settings, number))


def open_folder(settings: LogSettings) -> dict[int, LogReader]:
    """Open the logs of the data folder by number, also where the store is lost."""
    with ExitStack() as stack:
        opened: dict[int, LogReader] = {}
        for number in list_log_files(settings):
            opened[number] = open_file(settings, number)
            stack.callback(opened[number].close)
        stack.pop_all()
    return opened


def open_remote_logs(settings: LogSettings, book: LogBook) -> dict[int, LogReader]:
    """Open the logs that are not in the data folder by number; raises like `open_appender`."""
    remote = remote_registry.RemoteReaders()
    with ExitStack() as stack:
        opened: dict[int, LogReader] = {}
        for one in list_remote_logs(settings, book):
            opened[one.number] = remote.open_reader(one)
            stack.callback(opened[one.number].close)
        stack.pop_all()
    return opened


def _open_file_reader(path: Path) -> LogReader:
    from treadle.log.sqlite.log import SqliteReader

    return SqliteReader(path)


class InstallationDirectory:
    """The logs of an installation as the settings and the store name them (`LogDirectory`).

    Args:
        settings: name the first log.
        book: knows the logs; None for the first one alone.
        open_appender: opens a log for writing; None where nobody writes.
        open_file: opens a file for reading.
        numbers: of the logs of sources; None to ask the book.
    """

    def __init__(
        self,
        settings: LogSettings,
        book: LogBook | None,
        open_appender: Callable[[LogInfo], LogAppender] | None = None,
        open_file: Callable[[Path], LogReader] = _open_file_reader,
        numbers: SourceNumbers | None = None,
    ) -> None:
        self._settings = settings
        self._book = book
        self._open_appender = open_appender
        self._open_file = open_file
        self._numbers = numbers or SourceNumbers(self._ask_number)

    def _ask_number(self, source_id: int) -> int:
        return FIRST_LOG if self._book is None else self._book.get_number(source_id)

    def list_logs(self) -> Sequence[LogInfo]:
        """Return all logs, by number; the first one is among them before it was opened, too."""
        known = [] if self._book is None else self._book.list_logs()
        found = [
            LogInfo(one.number, one.log_id, one.kind, one.url, LogState(one.state)) for one in known
        ]
        return found or [LogInfo(FIRST_LOG, "", SQLITE)]

    def find_log(self, source_id: int) -> LogInfo:
        """Return the log of a source; see `protocol.LogDirectory.find_log`."""
        return self._get_log(self._numbers.get_number(source_id))

    def open_appender(self, number: int) -> LogAppender:
        """Open a log for writing; see `protocol.LogDirectory.open_appender`."""
        log = self._get_log(number)
        _check_kind(log)
        if self._open_appender is None:
            raise InternalError("a directory for reading opens no log for writing")
        return self._open_appender(log)

    def open_reader(self, number: int) -> LogReader:
        """Open a log for reading; see `protocol.LogDirectory.open_reader`."""
        return self._open_reader(self._get_log(number), remote_registry.RemoteReaders())

    def open_appenders(self) -> LogAppender:
        """Open all logs for writing: the first one as it is where there can be no other."""
        known = self.list_logs()
        follow = self._make_follower(self.open_appender)
        if follow is None and [one.number for one in known] == [FIRST_LOG]:
            return self.open_appender(FIRST_LOG)
        wanted = [one for one in known if one.state is not LogState.CLOSED]
        opened = _open_parts(wanted, lambda one: self.open_appender(one.number))
        return JoinedAppender(opened, self._numbers, follow)

    def open_readers(self) -> LogReader:
        """Open all logs for reading, in one thread: the first one as it is if it is alone."""
        remote = remote_registry.RemoteReaders()
        wanted = self.list_logs()
        follow = self._make_follower(
            lambda number: self._open_reader(self._get_log(number), remote)
        )
        if follow is None and [one.number for one in wanted] == [FIRST_LOG]:
            return self._open_reader(wanted[0], remote)
        with ExitStack() as stack:

            def open_one(one: LogInfo) -> LogReader:
                reader = self._open_reader(one, remote)
                stack.callback(reader.close)
                return reader

            opened = _open_parts(wanted, open_one)
            stack.pop_all()
        return JoinedReader(opened, self._numbers, follow)

    def _open_reader(self, log: LogInfo, remote: remote_registry.RemoteReaders) -> LogReader:
        _check_kind(log)
        if log.state is LogState.CLOSED:
            return ClosedReader(log.log_id)
        if log.kind == SQLITE:
            return self._open_file(name_log_file(self._settings, log.number))
        return remote.open_reader(log)

    def _make_follower(self, open_part: Callable[[int], Part]) -> "_DirectoryFollower[Part] | None":
        """Make what opens logs that are added; None where none can be while a server runs."""
        if self._book is None or not self._book.is_shared:
            return None
        return _DirectoryFollower(self.list_logs, open_part)

    def _get_log(self, number: int) -> LogInfo:
        for one in self.list_logs():
            if one.number == number:
                return one
        raise OperatorError(f"there is no log {number}")


@dataclass(frozen=True, slots=True)
class _DirectoryFollower(Generic[Part]):
    """Finds and opens logs that are added (`joined.LogFollower`)."""

    list_logs: Callable[[], Sequence[LogInfo]]
    open_part: Callable[[int], Part]


def _open_parts(logs: Sequence[LogInfo], open_one: Callable[[LogInfo], Part]) -> dict[int, Part]:
    """Open logs; one on another machine that is not available now is left out, unless all are."""
    opened: dict[int, Part] = {}
    failed: RetriableError | None = None
    for one in logs:
        try:
            opened[one.number] = open_one(one)
        except RetriableError as error:
            if not one.url:
                raise
            logger.warning("log %d is not available now, and opened later: %s", one.number, error)
            failed = error
    if failed is not None and not opened:
        raise failed
    return opened


def _check_kind(log: LogInfo) -> None:
    if log.kind not in (SQLITE, *remote_registry.KINDS):
        raise OperatorError(
            f"log {log.number} is a log of kind {log.kind}, which this treadle does not know: "
            "install the one that added it"
        )


def look_at_log(settings: LogSettings, book: LogBook | None = None) -> LogLook | None:
    """Return how full the logs are, and how old; None where there is none.

    A server may be using them.

    Args:
        settings: name the first log.
        book: knows those that are not in the data folder.

    Raises:
        OperatorError, RetriableError: a log cannot be read.
    """
    looks = [look for path in list_log_files(settings).values() if (look := _look_at_file(path))]
    looks += [remote_registry.look_at_remote_log(one) for one in list_remote_logs(settings, book)]
    oldest = [look.oldest for look in looks if look.oldest is not None]
    if not looks:
        return None
    return LogLook(join_spaces([look.space for look in looks]), min(oldest, default=None))


def list_remote_logs(settings: LogSettings, book: LogBook | None) -> list[LogInfo]:
    """Return the logs that are not in the data folder, but for closed ones."""
    directory = InstallationDirectory(settings, book)
    return [one for one in directory.list_logs() if one.url and one.state is not LogState.CLOSED]


def _look_at_file(path: Path) -> LogLook | None:
    from treadle.log.sqlite import statistics

    return statistics.look_at_log(path)


def find_log_shortage(settings: LogSettings, appender: LogAppender) -> str | None:
    """Return why one of the logs of the data folder, or every other one, takes no more.

    Args:
        settings: name the first log.
        appender: of all logs.

    Returns:
        None where they take something.

    Raises:
        OperatorError, RetriableError: a log cannot be read.
    """
    quota = make_quota(settings)
    files = list_log_files(settings) or {FIRST_LOG: settings.log_path}
    if isinstance(appender, JoinedAppender):
        refusal = appender.find_refusal()
        if refusal is not None:
            return refusal
        files = {number: path for number, path in files.items() if appender.has_part(number)}
    for number, path in files.items():
        look = _look_at_file(path)
        if look is None:  # anybody may be told so, and needs no path
            return f"the file of log {number} is gone"
        shortage = quota.find_shortage(look.space)
        if shortage is not None:
            return shortage
    return None


def repair_log(
    settings: LogSettings, known: KnownLog, number: int = FIRST_LOG
) -> SalvageReport | None:
    """Replace a log that cannot be used; return None when it is well, or is not there.

    Only while no other process has the log open.

    Args:
        settings: name the first log.
        known: what others remember of the log.
        number: of the log.

    Raises:
        OperatorError: the log cannot be read or replaced, or is a newer treadle's.
        RetriableError: the disk failed.
    """
    from treadle.log.sqlite.recovery import salvage

    return salvage.repair_log(name_log_file(settings, number), known)


def find_damage(
    settings: LogSettings, known: KnownLog, number: int = FIRST_LOG, *, whole: bool = False
) -> str | None:
    """Return why a log cannot be used; None when it can. A server may be using it.

    Args:
        settings: name the first log.
        known: what others remember of the log.
        number: of the log.
        whole: look at all of it, however long it is.

    Raises:
        OperatorError, RetriableError: the disk or its rights are at fault, not the log.
    """
    from treadle.log.sqlite.recovery import salvage

    return salvage.find_damage(name_log_file(settings, number), known, whole=whole)


def salvage_log(
    settings: LogSettings, known: KnownLog, reason: str, number: int = FIRST_LOG
) -> SalvageReport:
    """Move a log aside and make a new one of what can be read; see `repair_log`."""
    from treadle.log.sqlite.recovery import salvage

    return salvage.salvage_log(name_log_file(settings, number), known, reason)


def open_log_snapshot(
    settings: LogSettings, number: int = FIRST_LOG
) -> AbstractContextManager[LogSnapshot]:
    """Open a log to copy it, also while a server uses it.

    Raises:
        OperatorError: it cannot be opened, is damaged, or is a newer treadle's.
        RetriableError: the disk failed.
    """
    from treadle.log.sqlite import snapshot

    return snapshot.open_log_snapshot(name_log_file(settings, number))


def open_log_export(
    settings: LogSettings, number: int = FIRST_LOG
) -> AbstractContextManager[LogExport]:
    """Open a log of the data folder to write all of it into another back-end.

    Nobody may write it meanwhile. Raises like `open_log_snapshot`.
    """
    from treadle.log.sqlite import export

    return export.open_log_export(name_log_file(settings, number), number)


def check_copy(path: Path) -> str | None:
    """Return why a copy of a log cannot be used by this release; None when it can.

    Raises:
        OperatorError, RetriableError: the disk or its rights are at fault, not the copy.
    """
    from treadle.log.sqlite import snapshot, statements
    from treadle.log.sqlite.recovery import salvage

    form = snapshot.read_log_form(path)
    if form != statements.SCHEMA_VERSION:
        return f"its form is {form}, and this treadle knows {statements.SCHEMA_VERSION}"
    return salvage.find_damage(path, KnownLog(), whole=True)


def continue_log(path: Path) -> int:
    """Let a copy go on as the log; return the position behind which new entries begin.

    Raises:
        OperatorError: it is no log, or has no positions left.
        RetriableError: the disk failed.
    """
    from treadle.log.sqlite import snapshot

    return snapshot.continue_log(path)
