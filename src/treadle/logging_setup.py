"""Sets up log lines on standard error: text for people, or JSON for log collectors."""

import logging
import sys

import msgspec

from treadle.config import Config
from treadle.timestamps import format_milliseconds


class TextFormatter(logging.Formatter):
    """Formats a line as `2026-01-01T00:00:00.000Z INFO    loader: loaded ...`."""

    def __init__(self, role: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {role}: %(message)s")

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
        return msgspec.json.encode(line).decode()


def _format_logged_at(record: logging.LogRecord) -> str:
    return format_milliseconds((int(record.created) * 1000 + int(record.msecs)) * 1000)


def set_up_logging(config: Config, role: str = "server") -> None:
    """Log as the settings say. Each process calls it once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(role) if config.log_format == "json" else TextFormatter(role)
    )
    logging.basicConfig(level=config.log_level.upper(), handlers=[handler], force=True)
    # Their lines repeat what ours say.
    for name in ("uvicorn.error", "httpx", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
