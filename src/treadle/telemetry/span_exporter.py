"""Sends spans to a collector: OTLP over HTTP, as JSON, from a thread of its own.

Nobody waits for a collector. Spans that it does not take in time are left out and counted: they
tell of records, and are none.
"""

import http.client
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from treadle.telemetry.span import Span, render_spans

QUEUE_MAX: Final = 5_000
"""Most spans that wait; about 3 MB."""

BATCH_MAX: Final = 1_000
SEND_SECONDS: Final = 1.0
"""Between two requests to the collector, unless much waits."""

ANSWER_SECONDS: Final = 5.0
LINE_SECONDS: Final = 60.0
"""Least time between two log lines about a collector that takes nothing."""

TRACES_PATH: Final = "/v1/traces"

logger = logging.getLogger(__name__)


class CollectorError(Exception):
    """A collector did not take spans."""


class SpanExporter:
    """Sends the spans of one process. Any thread may add some.

    Args:
        send: takes spans to the collector; raises CollectorError, OSError or HTTPException.
        monotonic: seconds.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Span]], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._monotonic = monotonic
        self._waiting: deque[Span] = deque()
        self._left_out = 0
        self._told_at = -LINE_SECONDS
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def add(self, spans: Sequence[Span]) -> None:
        """Have spans sent soon; those for which there is no room are left out."""
        room = QUEUE_MAX - len(self._waiting)
        if room < len(spans):
            self._left_out += len(spans) - max(0, room)
            spans = spans[: max(0, room)]
        self._waiting.extend(spans)

    def close(self) -> None:
        """Send what waits, once, and end the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(ANSWER_SECONDS + 1)

    def send_waiting(self) -> bool:
        """Send up to BATCH_MAX spans; return whether more wait, and could be sent."""
        count = min(len(self._waiting), BATCH_MAX)
        if not count:
            return False
        batch = [self._waiting.popleft() for _ in range(count)]
        try:
            self._send(batch)
        except (CollectorError, OSError, http.client.HTTPException) as error:
            self._left_out += len(batch)
            self._tell(str(error) or type(error).__name__)
            return False
        return bool(self._waiting)

    def _tell(self, why: str) -> None:
        now = self._monotonic()
        if now - self._told_at < LINE_SECONDS:
            return
        logger.warning(
            "the collector of spans does not take them: %s; %d left out", why, self._left_out
        )
        self._told_at, self._left_out = now, 0

    def _run(self) -> None:
        while not self._stop.wait(SEND_SECONDS):
            while self.send_waiting():
                pass
        self.send_waiting()


def make_sender(endpoint: str, version: str, process: str) -> Callable[[Sequence[Span]], None]:
    """Make what sends spans to a collector.

    No proxy of the environment is used.

    Args:
        endpoint: its URL, `http://127.0.0.1:4318`; the path of traces is added.
        version: of treadle.
        process: the role of this process.
    """
    url = urlsplit(endpoint)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    host = url.hostname or ""

    def send(spans: Sequence[Span]) -> None:
        body = json.dumps(render_spans(spans, version, process), separators=(",", ":"))
        connection = kind(host, url.port, timeout=ANSWER_SECONDS)
        try:
            connection.request(
                "POST",
                url.path.rstrip("/") + TRACES_PATH,
                body.encode(),
                {"Content-Type": "application/json"},
            )
            answer = connection.getresponse()
            answer.read(65_536)
        finally:
            connection.close()
        if answer.status >= 300:
            raise CollectorError(f"it answered {answer.status}")

    return send
