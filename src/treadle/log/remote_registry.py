"""Makes and opens logs that are named by a URL, by its scheme.

Beside `registry`, which opens what the settings name. Drivers are imported when they are asked for.
"""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Final

from treadle.errors import OperatorError
from treadle.log.protocol import LogAppender, LogReader
from treadle.log.quota import LogQuota

POSTGRES: Final = "postgres"
"""The kind of a log in a PostgreSQL database."""

_KINDS: Final = {"postgres": POSTGRES, "postgresql": POSTGRES}


def find_kind(url: str) -> str:
    """Return the kind of the log that a URL names.

    Raises:
        OperatorError: there is none of that scheme.
    """
    scheme, found, _ = url.partition("://")
    if not found or scheme not in _KINDS:
        # Not the URL itself: it may hold a password.
        raise OperatorError(
            f"a log's URL begins with postgresql://, found {scheme[:20] if found else 'no scheme'}"
        )
    return _KINDS[scheme]


def make_remote_log(url: str, number: int) -> str:
    """Make a log where there is none of that number; return its name.

    Raises:
        OperatorError: the URL names no log, or its database refuses.
        RetriableError: the database is not available now.
    """
    module = _import_module(find_kind(url), "installation")
    log_id: str = module.make_log(url, number)
    return log_id


def check_remote_log(url: str, durability: str) -> list[str]:
    """Check that the database of a log keeps what it takes; return what an operator should know.

    Args:
        url: of the log.
        durability: "replicated": on the disks of two servers; "single": on that of one;
            "storage": as that, and the provider keeps copies of the disk.

    Raises:
        OperatorError: it does not, or cannot be asked.
        RetriableError: the database is not available now.
    """
    module = _import_module(find_kind(url), "installation")
    found = module.judge_server(module.look_at_server(url), module.LogDurability(durability))
    if found.refusals:
        raise OperatorError("; ".join(found.refusals))
    return list(found.warnings)


def open_remote_appender(
    url: str,
    number: int,
    *,
    quota: LogQuota | None = None,
    report_failure: Callable[[], None] = lambda: None,
    get_tables_max: Callable[[int], int] = lambda source_id: 0,
    report_commit: Callable[[int], None] = lambda microseconds: None,
) -> LogAppender:
    """Open a log for writing; blocks until its database is there. See `registry.open_appender`.

    Raises:
        OperatorError: there is no such log, or its database refuses.
        RetriableError: the database is not available now.
    """
    module = _import_module(find_kind(url), "appender")
    appender: LogAppender = module.PostgresAppender(
        url,
        number,
        quota=quota,
        report_failure=report_failure,
        get_tables_max=get_tables_max,
        report_commit=report_commit,
    )
    return appender


def open_remote_reader(url: str, number: int) -> LogReader:
    """Open a log for reading, for one thread; raises like `open_remote_appender`."""
    module = _import_module(find_kind(url), "reader")
    reader: LogReader = module.PostgresReader(url, number)
    return reader


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
