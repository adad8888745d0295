"""Log lines on standard error, as text for people or as JSON for collectors."""

import logging
import sys
import time

import msgspec

from treadle.config import Config


class TextLines(logging.Formatter):
    """`2026-01-01T00:00:00.000Z info  loader: loaded ...`."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, role: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {role}: %(message)s")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, role, logger, message, and error with a traceback."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "role": self._role,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def set_up_logging(config: Config, role: str = "server") -> None:
    """Log as the settings say; called once a process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(role) if config.log_format == "json" else TextLines(role))
    logging.basicConfig(level=config.log_level.upper(), handlers=[handler], force=True)
    # Their routine lines repeat ours.
    for name in ("uvicorn.error", "httpx", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
