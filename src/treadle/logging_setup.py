"""Sets up log lines on standard error: text for people, or JSON for log collectors."""

import json
import logging
import sys
import threading
from types import TracebackType
from typing import Any

import msgspec

from treadle.config import Config
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
    """Formats a line as JSON: time, level, role, logger, message, and error with a traceback."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": _format_logged_at(record),
            "level": record.levelname.lower(),
            "role": self._role,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return escape_json(encode_json_text(line))


def encode_json_text(value: object) -> str:
    """Return JSON without blanks; an unpaired surrogate, which UTF-8 lacks, is an escape."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))


def _format_logged_at(record: logging.LogRecord) -> str:
    return format_milliseconds((int(record.created) * 1000 + int(record.msecs)) * 1000)


def set_up_logging(config: Config, role: str = "server") -> None:
    """Log as the settings say. Each process calls it once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(role) if config.log_format == "json" else TextFormatter(role)
    )
    logging.basicConfig(level=config.log_level.upper(), handlers=[handler], force=True)
    # What nobody caught is printed by Python as it is, with whatever a client sent in it.
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda found: _log_uncaught(
        found.exc_type, found.exc_value, found.exc_traceback
    )
    # Their lines repeat what ours say.
    for name in ("uvicorn.error", "httpx", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    if error is not None and not issubclass(kind, SystemExit):
        logging.getLogger("treadle").critical(
            "an error was not expected: %s", error, exc_info=(kind, error, traceback)
        )
