"""Opens the log that the settings name: the only place that knows which back-end that is.

Back-ends are imported when they are asked for, so that a command that reads no log does not pay.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from treadle.log.protocol import LogAppender, LogReader, LogSnapshot
from treadle.log.quota import LogLook, LogQuota
from treadle.log.salvage_report import KnownLog, SalvageReport


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


def has_log(settings: LogSettings) -> bool:
    """Return whether a log is there; opening one that is not makes it."""
    return settings.log_path.exists()


def make_quota(settings: LogSettings) -> LogQuota:
    """Return the bounds of the log."""
    return LogQuota(settings.log_bytes, settings.disk_reserve_bytes)


def open_appender(
    settings: LogSettings,
    report_failure: Callable[[], None] = lambda: None,
    get_tables_max: Callable[[int], int] = lambda source_id: 0,
    report_commit: Callable[[int], None] = lambda microseconds: None,
) -> LogAppender:
    """Open the log for writing; blocks for a moment.

    Args:
        settings: name the log.
        report_failure: called for each group of requests that the disk did not take.
        get_tables_max: source id -> how many tables it may have, 0 for any. The thread that writes
            calls it.
        report_commit: called with the microseconds of each commit, by the same thread.

    Raises:
        OperatorError: it cannot be opened, is no log, or is a newer treadle's.
        RetriableError: the disk failed.
    """
    from treadle.log.sqlite.log import SqliteAppender

    quota = make_quota(settings)
    return SqliteAppender(
        settings.log_path,
        quota=quota,
        report_failure=report_failure,
        get_tables_max=get_tables_max,
        report_commit=report_commit,
    )


def open_reader(settings: LogSettings) -> LogReader:
    """Open the log for reading; raises like `open_appender`."""
    from treadle.log.sqlite.log import SqliteReader

    return SqliteReader(settings.log_path)


def open_glance(settings: LogSettings) -> LogReader:
    """Open the log for somebody who looks at it now and then: the reader keeps little in memory."""
    from treadle.log.sqlite.log import SqliteReader
    from treadle.log.sqlite.log_file import GLANCE_CACHE_KIB

    return SqliteReader(settings.log_path, cache_kib=GLANCE_CACHE_KIB)


def look_at_log(settings: LogSettings) -> LogLook | None:
    """Return how full the log is, and how old; None where there is none. A server may be using it.

    Raises:
        OperatorError, RetriableError: the log cannot be read.
    """
    from treadle.log.sqlite import statistics

    return statistics.look_at_log(settings.log_path)


def find_log_shortage(settings: LogSettings) -> str | None:
    """Return why the log takes no more; None when it does. A server may be using it.

    Raises:
        OperatorError, RetriableError: the log cannot be read.
    """
    look = look_at_log(settings)
    if look is None:
        return f"the log {settings.log_path} is gone"
    return make_quota(settings).find_shortage(look.space)


def repair_log(settings: LogSettings, known: KnownLog) -> SalvageReport | None:
    """Replace a log that cannot be used; return None when it is well, or is not there.

    Only while no other process has the log open.

    Raises:
        OperatorError: the log cannot be read or replaced, or is a newer treadle's.
        RetriableError: the disk failed.
    """
    from treadle.log.sqlite.recovery import salvage

    return salvage.repair_log(settings.log_path, known)


def find_damage(settings: LogSettings, known: KnownLog, *, whole: bool = False) -> str | None:
    """Return why a log cannot be used; None when it can. A server may be using it.

    Args:
        settings: name the log.
        known: what others remember of it.
        whole: look at all of it, however long it is.

    Raises:
        OperatorError, RetriableError: the disk or its rights are at fault, not the log.
    """
    from treadle.log.sqlite.recovery import salvage

    return salvage.find_damage(settings.log_path, known, whole=whole)


def salvage_log(settings: LogSettings, known: KnownLog, reason: str) -> SalvageReport:
    """Move a log aside and make a new one of what can be read; see `repair_log`."""
    from treadle.log.sqlite.recovery import salvage

    return salvage.salvage_log(settings.log_path, known, reason)


def open_log_snapshot(settings: LogSettings) -> AbstractContextManager[LogSnapshot]:
    """Open the log to copy it, also while a server uses it.

    Raises:
        OperatorError: it cannot be opened, is damaged, or is a newer treadle's.
        RetriableError: the disk failed.
    """
    from treadle.log.sqlite import snapshot

    return snapshot.open_log_snapshot(settings.log_path)


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
