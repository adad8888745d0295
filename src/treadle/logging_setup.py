"""Sets up log lines on standard error or in a file: text for people, or JSON for log collectors.

Whoever logs gives what a program wants to know of a line beside its text:

    logger.info("loaded %s", name, extra={"fields": {"source": "shop", "rows": 3}})
"""

import json
import logging
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import msgspec

from treadle.config import Config
from treadle.errors import OperatorError
from treadle.text import escape_json, escape_lines, escape_unprintable
from treadle.timestamps import format_milliseconds


class TextFormatter(logging.Formatter):
    """Formats a line as `2026-01-01T00:00:00.000Z INFO    loader: loaded ...`."""

    def __init__(self, role: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {role}: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return one line, whatever the values in the message are."""
        return escape_unprintable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return a traceback; the texts of errors may quote what a client sent."""
        return escape_lines(super().formatException(ei))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return the time of a line."""
        return _format_logged_at(record)


class JsonFormatter(logging.Formatter):
    """Formats a line as JSON: time, level, role, logger, message, its fields, error with traceback.

    No field takes the place of the keys that every line has.
    """

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": _format_logged_at(record),
            "level": record.levelname.lower(),
            "role": self._role,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields: Mapping[str, object] = getattr(record, "fields", {})
        line |= {name: value for name, value in fields.items() if name not in line}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return escape_json(encode_json_text(line))


def encode_json_text(value: object) -> str:
    """Return JSON without blanks; an unpaired surrogate, which UTF-8 lacks, is an escape."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))


def make_formatter(config: Config, role: str) -> logging.Formatter:
    """Return what formats the log lines of a process."""
    return JsonFormatter(role) if config.log_format == "json" else TextFormatter(role)


def _format_logged_at(record: logging.LogRecord) -> str:
    return format_milliseconds((int(record.created) * 1000 + int(record.msecs)) * 1000)


class LogFileHandler(logging.StreamHandler[TextIO]):
    """Appends lines to a file, which is opened anew when somebody has moved it away and says so.

    Several processes append to one file. Each line is one write, so lines do not mix.

    Args:
        path: of the file, which is made if it is missing, as its folder is.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(path.open("a", encoding="utf-8", errors="backslashreplace"))
        self._path = path
        self._is_moved = False

    def request_reopening(self) -> None:
        """Have the next line open the file anew; a signal handler may call it."""
        self._is_moved = True

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        if self._is_moved:
            self._is_moved = False
            self._reopen()
        super().emit(record)

    def close(self) -> None:
        """Close the file."""
        super().close()
        self.stream.close()

    def _reopen(self) -> None:
        try:
            opened = self._path.open("a", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            # Better there than nowhere.
            self.stream.write(f"The log file {self._path} cannot be opened anew: {error}\n")
            return
        before = self.setStream(opened)
        if before is not None:
            before.close()


def reopen_log_file() -> None:
    """Have this process write its next log line into a new file, if it logs into a file.

    After `logrotate` has moved the file away. A signal handler may call it.
    """
    for handler in logging.root.handlers:
        if isinstance(handler, LogFileHandler):
            handler.request_reopening()


def set_up_logging(config: Config, role: str = "server") -> None:
    """Log as the settings say. Each process calls it once.

    Raises:
        OperatorError: the log file cannot be opened.
    """
    handler: logging.StreamHandler[TextIO] = logging.StreamHandler(sys.stderr)
    if config.log_file is not None:
        try:
            handler = LogFileHandler(config.log_file)
        except OSError as error:
            raise OperatorError(
                f"The log file {config.log_file} cannot be opened: {error.strerror}; make its "
                "folder writable for the user treadle runs as, or name another file in log_file."
            ) from error
    handler.setFormatter(make_formatter(config, role))
    logging.basicConfig(level=config.log_level.upper(), handlers=[handler], force=True)
    # What nobody caught is printed by Python as it is, with whatever a client sent in it.
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda found: _log_uncaught(
        found.exc_type, found.exc_value, found.exc_traceback
    )
    # Their lines repeat what ours say.
    for name in ("uvicorn.error", "httpx", "alembic", "pyiceberg"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    if error is not None and not issubclass(kind, SystemExit):
        logging.getLogger("treadle").critical(
            "an error was not expected: %s", error, exc_info=(kind, error, traceback)
        )
