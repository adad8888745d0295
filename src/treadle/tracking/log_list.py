"""The logs of an installation as people see them: where they are, and what waits in each."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from treadle.errors import OperatorError, RetriableError
from treadle.log.joined import JoinedReader
from treadle.log.protocol import LogReader, LogState, TableBacklog
from treadle.log.registry import InstallationDirectory, LogBook, LogSettings, name_log_place
from treadle.traces.log_server_note import LogServerSight


@dataclass(frozen=True, slots=True)
class PlacedLog:
    """A log, and where it is.

    Attributes:
        number: of the log.
        kind: of its back-end.
        state: what it takes.
        place: its database without secrets, or its file.
        is_remote: it is in a database, which other machines reach, too.
    """

    number: int
    kind: str
    state: LogState
    place: str
    is_remote: bool


class BacklogTotal(NamedTuple):
    """The backlogs of all tables of a log together.

    Attributes:
        tables: with something that waits.
        entries: that wait.
        records: that they hold.
        size: bytes of their payloads, not compressed.
        oldest: when the oldest was accepted, microseconds since 1970; None where nothing waits.
    """

    tables: int = 0
    entries: int = 0
    records: int = 0
    size: int = 0
    oldest: int | None = None


@dataclass(frozen=True, slots=True)
class LogMeasure:
    """What a log holds.

    Attributes:
        waiting: what waits in it; None where it cannot be asked.
        used_bytes: on its disk; None as above.
        trouble: why it cannot be asked; None where it can.
    """

    waiting: BacklogTotal | None = None
    used_bytes: int | None = None
    trouble: str | None = None


NOTHING_KEPT: Final = LogMeasure(BacklogTotal(), 0)
"""Of a log that is closed."""


@dataclass(frozen=True, slots=True)
class ListedLog:
    """A log as people see it.

    Attributes:
        log: the log.
        sources: how many are on it.
        measure: what it holds.
        server: what the last look at the server of its database found; None for a file, and where
            nobody has looked lately.
    """

    log: PlacedLog
    sources: int
    measure: LogMeasure
    server: LogServerSight | None = None


def place_logs(settings: LogSettings, book: LogBook) -> list[PlacedLog]:
    """Return the logs of an installation, and where they are, by number.

    Args:
        settings: name the first log.
        book: knows the logs.
    """
    return [
        PlacedLog(one.number, one.kind, one.state, name_log_place(settings, one), bool(one.url))
        for one in InstallationDirectory(settings, book).list_logs()
    ]


def sum_log(backlogs: Iterable[TableBacklog]) -> BacklogTotal:
    """Return what waits of all tables of a log together. Pure."""
    tables = entries = records = size = 0
    oldest: int | None = None
    for one in backlogs:
        tables += 1
        entries += one.entries
        records += one.records
        size += one.size
        oldest = one.oldest if oldest is None else min(oldest, one.oldest)
    return BacklogTotal(tables, entries, records, size, oldest)


def measure_log(open_reader: Callable[[], LogReader]) -> LogMeasure:
    """Ask a log what it holds; one that cannot be asked has a trouble.

    Args:
        open_reader: returns a reader of this log alone, which the caller closes; raises as
            `log.registry.open_reader`.
    """
    try:
        reader = open_reader()
        waiting = sum_log(reader.list_backlogs())
        return LogMeasure(waiting, reader.statistics.measure_space().used_bytes)
    except (OperatorError, RetriableError) as error:
        return LogMeasure(trouble=str(error))


def measure_logs(reader: LogReader, logs: Iterable[PlacedLog]) -> dict[int, LogMeasure]:
    """Ask each log what it holds; return log number -> answer.

    Args:
        reader: of all logs.
        logs: those that are wanted.
    """
    return {
        log.number: NOTHING_KEPT
        if log.state is LogState.CLOSED
        else measure_log(partial(_choose_part, reader, log.number))
        for log in logs
    }


@dataclass(frozen=True, slots=True)
class ReadBacklogs:
    """What waits in all logs that can be read.

    Attributes:
        backlogs: of their tables.
        troubles: log number -> why it cannot be read.
    """

    backlogs: Sequence[TableBacklog] = ()
    troubles: Mapping[int, str] = field(default_factory=dict)


def read_backlogs(reader: LogReader, logs: Iterable[PlacedLog]) -> ReadBacklogs:
    """Return what waits in all logs that can be read, and which cannot.

    Args:
        reader: of all logs.
        logs: all of them.
    """
    backlogs: list[TableBacklog] = []
    troubles: dict[int, str] = {}
    for log in logs:
        if log.state is LogState.CLOSED:
            continue
        try:
            backlogs += _choose_part(reader, log.number).list_backlogs()
        except (OperatorError, RetriableError) as error:
            troubles[log.number] = str(error)
    return ReadBacklogs(backlogs, troubles)


def _choose_part(reader: LogReader, number: int) -> LogReader:
    """Return the reader of a log, of one that may stand for several; opened where it was not.

    Raises:
        OperatorError, RetriableError: it cannot be opened.
    """
    return reader.get_part(number) if isinstance(reader, JoinedReader) else reader


def describe_logs(
    logs: Sequence[PlacedLog],
    sources: Mapping[int, int],
    measures: Mapping[int, LogMeasure],
    servers: Iterable[LogServerSight] = (),
) -> list[ListedLog]:
    """Return logs as people see them, in the order of `logs`. Pure.

    Args:
        logs: all of them.
        sources: log number -> how many are on it.
        measures: log number -> what it holds.
        servers: what the last look at servers of logs found.
    """
    of_place = {one.place: one for one in servers}
    return [
        ListedLog(
            one,
            sources.get(one.number, 0),
            measures.get(one.number, LogMeasure(trouble="it was added a moment ago")),
            of_place.get(one.place) if one.is_remote else None,
        )
        for one in logs
    ]
