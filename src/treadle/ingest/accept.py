"""The common end of every write: batches into the log, then 201."""

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import TryLater
from treadle.ingest.health import Health
from treadle.log.protocol import Appender, NewEntry
from treadle.records.message import Batch, pack
from treadle.store.model import Pusher
from treadle.web import Json, compact

ACCEPTED = compact({"status": "OK", "message": "Batch Accepted!"})


class Accepted(Response):
    """The answer to an accepted request. The most frequent answer of all, so it is ready made."""

    def __init__(self, status: int = 201) -> None:
        self.status_code = status
        self.body = ACCEPTED
        self.background = None
        self.raw_headers = [
            (b"content-length", b"%d" % len(ACCEPTED)),
            (b"content-type", Json.media_type.encode()),
        ]


class Acceptor:
    """Makes batches durable and says so."""

    def __init__(self, log: Appender, health: Health, clock: Callable[[], int]) -> None:
        """Nothing is opened.

        Args:
            log: where batches go.
            health: told whether the log takes data.
            clock: microseconds since 1970, UTC.
        """
        self._log = log
        self._health = health
        self._clock = clock

    async def accept(
        self, request: Request, pusher: Pusher, batches: Sequence[Batch], *, status: int = 201
    ) -> Response:
        """Answer once the batches are durable, all or none.

        Raises:
            TryLater: nothing of the batches is in the log.
        """
        now = self._clock()
        entries = [
            NewEntry(pusher.source_id, batch.table_name, now, len(batch), pack(batch))
            for batch in batches
        ]
        try:
            await self._log.append(entries)
        except TryLater as later:
            self._health.failed(later)
            raise
        self._health.took()
        return Accepted(status)
