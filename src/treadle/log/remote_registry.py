"""Makes, opens and checks logs that are named by a URL, by its scheme.

`registry` opens those that the store names. Drivers are imported when they are asked for.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, Protocol

from treadle.errors import OperatorError
from treadle.log.database_look import DatabaseLook
from treadle.log.protocol import LogAppender, LogInfo, LogReader, LogState
from treadle.log.quota import LogLook, LogQuota
from treadle.log.transfer import LogExport, ReportProgress, TransferResult

POSTGRES: Final = "postgres"
"""The kind of a log in a PostgreSQL database."""

KINDS: Final = (POSTGRES,)
"""The kinds of all logs that are named by a URL."""

_SCHEMES: Final = {"postgres": POSTGRES, "postgresql": POSTGRES}


def find_kind(url: str) -> str:
    """Return the kind of the log that a URL names.

    Raises:
        OperatorError: there is none of that scheme.
    """
    scheme, found, _ = url.partition("://")
    if not found or scheme not in _SCHEMES:
        # Not the URL itself: it may hold a password.
        raise OperatorError(
            f"a log's URL begins with postgresql://, found {scheme[:20] if found else 'no scheme'}"
        )
    return _SCHEMES[scheme]


def name_remote_place(url: str) -> str:
    """Return where a log is, without secrets.

    Raises:
        OperatorError: the URL names no log.
    """
    name: str = _import_module(find_kind(url), "connection").name_place(url)
    return name


def make_remote_log(url: str, number: int, installation: str) -> str:
    """Make a log where there is none of that number; return its name.

    Args:
        url: of the log.
        number: of the log, from 0.
        installation: the id of the store that it is made for.

    Raises:
        OperatorError: the URL names no log, its database refuses, or the log of that number is
            another installation's.
        RetriableError: the database is not available now.
    """
    module = _import_module(find_kind(url), "installation")
    log_id: str = module.make_log(url, number, installation)
    return log_id


def set_remote_state(log: LogInfo, state: LogState) -> None:
    """Note at a log what it takes; raises like `make_remote_log`."""
    module = _import_module(log.kind, "installation")
    module.set_log_state(log.url, log.number, log.log_id, state.value)


@dataclass(frozen=True, slots=True)
class ServerFaults:
    """What is wrong with the server of a log.

    Attributes:
        refusals: why it does not keep what it takes: no log is opened there.
        warnings: what an operator should know.
        troubles: what has to be mended while a server runs.
        waits_for: the standbys for which its commits wait, as its setting names them; empty where
            they wait for none.
        standbys: how many of those are connected; None where it does not show them.
    """

    refusals: Sequence[str] = ()
    warnings: Sequence[str] = ()
    troubles: Sequence[str] = ()
    waits_for: str = ""
    standbys: int | None = None


def find_remote_faults(url: str, durability: str) -> ServerFaults:
    """Return what is wrong with the server of a log.

    Args:
        url: of the log.
        durability: "replicated": on the disks of two servers; "single": on that of one;
            "storage": as that, and the provider keeps copies of the disk; "none": for data that may
            be lost.

    Raises:
        OperatorError: it cannot be asked.
        RetriableError: the database is not available now.
    """
    module = _import_module(find_kind(url), "installation")
    state = module.look_at_server(url)
    found = module.judge_server(state, module.LogDurability(durability))
    return ServerFaults(
        found.refusals,
        found.warnings,
        found.troubles,
        state.synchronous_standby_names,
        state.standbys if state.sees_standbys else None,
    )


def check_remote_log(url: str, durability: str) -> list[str]:
    """Check that the database of a log keeps what it takes; return what an operator should know.

    Raises:
        OperatorError: it does not, or cannot be asked.
        RetriableError: the database is not available now.
    """
    found = find_remote_faults(url, durability)
    if found.refusals:
        raise OperatorError(f"{name_remote_place(url)}: {'; '.join(found.refusals)}")
    return list(found.warnings)


def open_remote_appender(
    log: LogInfo,
    *,
    quota: LogQuota | None = None,
    report_failure: Callable[[], None] = lambda: None,
    get_tables_max: Callable[[int], int] = lambda source_id: 0,
    report_commit: Callable[[int], None] = lambda microseconds: None,
) -> LogAppender:
    """Open a log for writing; blocks until its database is there. See `registry.open_appender`.

    Raises:
        OperatorError: there is no such log, another one is in its place, or its database refuses.
        RetriableError: the database is not available now.
    """
    module = _import_module(log.kind, "appender")
    appender: LogAppender = module.PostgresAppender(
        log.url,
        log.number,
        log_id=log.log_id,
        quota=quota,
        report_failure=report_failure,
        get_tables_max=get_tables_max,
        report_commit=report_commit,
    )
    return appender


class RemoteReaders:
    """Opens readers of remote logs for one thread: those of one database share a connection."""

    def __init__(self) -> None:
        self._shared: dict[str, Any] = {}

    def open_reader(self, log: LogInfo) -> LogReader:
        """Open a log for reading; raises like `open_remote_appender`."""
        module = _import_module(log.kind, "reader")
        shared = self._shared.get(log.url)
        if shared is None:
            shared = self._shared[log.url] = _import_module(log.kind, "reading").connect_shared(
                log.url
            )
        reader: LogReader = module.PostgresReader(
            log.url, log.number, log_id=log.log_id, shared=shared
        )
        return reader


def open_remote_reader(log: LogInfo) -> LogReader:
    """Open one log for reading, for one thread; raises like `open_remote_appender`."""
    return RemoteReaders().open_reader(log)


def look_at_remote_log(log: LogInfo) -> LogLook:
    """Return how full a log is, and how old; raises like `open_remote_appender`."""
    found: LogLook = _import_module(log.kind, "statistics").look_at_log(log.url, log.number)
    return found


class RemoteKeepers:
    """Makes what keeps remote logs, for one thread: those of one database share a connection.

    Args:
        retention_us: how long entries are kept after they were loaded, microseconds.
        bytes_max: what each log may hold; 0 for any.
    """

    def __init__(self, retention_us: int, bytes_max: int = 0) -> None:
        self._retention_us = retention_us
        self._bytes_max = bytes_max
        self._connections: dict[str, Any] = {}

    def make_keeper(self, log: LogInfo) -> "RemoteKeeper":
        """Make what keeps a log; nothing is connected yet."""
        module = _import_module(log.kind, "keeper")
        connection = self._connections.get(log.url)
        if connection is None:
            connection = self._connections[log.url] = module.KeeperConnection(log.url)
        keeper: RemoteKeeper = module.LogKeeper(
            connection, log.number, self._retention_us, bytes_max=self._bytes_max
        )
        return keeper

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections.values():
            connection.close()


class RemoteKeeper(Protocol):
    """Keeps the parts of a log that treadle makes and removes by itself."""

    def keep(self) -> None:
        """Do what is due; to be called every 10 seconds.

        Raises:
            OperatorError: there is no such log, or the database refuses.
            RetriableError: the database is not available now; it is tried again the next time.
        """


def import_remote_log(
    url: str,
    number: int,
    source: LogExport,
    installation: str,
    report: ReportProgress = lambda progress: None,
    *,
    accepts_open: bool = False,
) -> TransferResult | None:
    """Copy a log of another back-end into a database, with its name and positions.

    Nobody can use it there before `open_imported_logs`. An import that was cut short is gone on
    with, and what it left is compared.

    Args:
        url: of the database.
        number: of the log.
        source: the log as it is now; nobody writes it.
        installation: the id of the store of the log.
        report: called several times a second with how far it is.
        accepts_open: an earlier run may have brought the import to its end.

    Returns:
        What arrived, as it was read back and compared; None where an earlier run did all of it.

    Raises:
        OperatorError: the database holds another log, or refuses.
        RetriableError: the database is not available now; it can be tried again.
    """
    module = _import_module(find_kind(url), "log_import")
    importing = module.PostgresLogImport(url, number, source, installation, report)
    result: TransferResult | None = importing.run(accepts_open=accepts_open)
    return result


def open_imported_logs(url: str, log_ids: Mapping[int, str]) -> int:
    """Let imported logs take entries; return how many did not before.

    Args:
        url: of their database.
        log_ids: number -> log id.

    Raises:
        OperatorError: the database refuses.
        RetriableError: the database is not available now.
    """
    count: int = _import_module(find_kind(url), "log_import").open_logs(url, log_ids)
    return count


def look_at_remote_server(url: str) -> DatabaseLook:
    """Ask the server of a database which one it is, about its standbys and its logs.

    Raises:
        OperatorError: it refuses.
        RetriableError: no server of it takes writes, or can be reached.
    """
    found: DatabaseLook = _import_module(find_kind(url), "server_look").look_at_database(url)
    return found


def _import_module(kind: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(f"treadle.log.{kind}.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("psycopg"):
            raise
        raise OperatorError(
            "a log on PostgreSQL needs the driver psycopg, which is not installed; run "
            'pip install "treadle[postgres]"'
        ) from error
