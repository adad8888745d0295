"""Opens logs that are added while a worker runs, and those that were not available at its start."""

import logging
import threading

from treadle.errors import TreadleError
from treadle.log.joined import FOLLOW_SECONDS, MISSING_SECONDS, JoinedAppender
from treadle.log.protocol import LogAppender

logger = logging.getLogger("treadle.server")


def start_following(appender: LogAppender) -> threading.Event:
    """Open logs that are missing, in a thread; return what ends it when set.

    There is no thread where no log can be added while the server runs.
    """
    stop = threading.Event()
    if isinstance(appender, JoinedAppender) and appender.follows:
        threading.Thread(
            target=follow_logs, args=(appender, stop), name="logs", daemon=True
        ).start()
    return stop


def follow_logs(appender: JoinedAppender, stop: threading.Event) -> None:
    """Open logs that are missing, until `stop` is set: each second while one is known to be."""
    said = ""
    while not stop.wait(FOLLOW_SECONDS if appender.is_complete else MISSING_SECONDS):
        try:
            appender.open_missing()
            said = ""
        except TreadleError as error:
            if str(error) != said:
                logger.warning("a log cannot be opened: %s", error)
            said = str(error)
