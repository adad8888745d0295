"""The heads that a connection remembers of its requests."""

import asyncio
import re
from typing import Final

from treadle.ingest.fastpath.handler import RequestHead, read_head
from treadle.ingest.fastpath.head_template import HEAD_BYTES_MAX, HeadTemplate
from treadle.ingest.fastpath.request_framing import RequestFraming

HEADS_LEARNED_MAX: Final = 16
"""How often a connection may change the head that is remembered. Learning takes longer than the
fast path saves, so a connection whose heads all differ stops to learn."""

_UNUSUAL: Final = re.compile(
    rb"\r\n(?:content-encoding|expect|idempotency-key|prefer|transfer-encoding):", re.IGNORECASE
)
"""Headers of requests that are not plain. `read_head` knows it exactly and takes longer."""


class HeadMemory:
    """Two heads of a connection: the last plain one, and the last that went on as it came.

    Attributes:
        template: of the last plain head; None where there was none.
        head: what that head says.
        passed: template of the last request that the protocol behind got as it came.
    """

    __slots__ = ("_passed_left", "_plain_left", "head", "passed", "template")

    def __init__(self) -> None:
        self.template: HeadTemplate | None = None
        self.head: RequestHead | None = None
        self.passed: HeadTemplate | None = None
        self._plain_left = self._passed_left = HEADS_LEARNED_MAX

    def learn(
        self, framing: RequestFraming, data: bytes, passed: bytes, transport: asyncio.Transport
    ) -> None:
        """Remember the head of a request of somebody who is known.

        Args:
            framing: has just read the head.
            data: the request as received.
            passed: as the protocol behind gets it.
            transport: of the connection; nothing is learned while it closes.
        """
        plain = (
            self._plain_left > 0
            and (self.template is None or self.template.locate_body(data) is None)
            and _UNUSUAL.search(passed, 0, HEAD_BYTES_MAX) is None
        )
        if not plain and not self._passed_left:
            return
        template = HeadTemplate.from_request(data)
        if template is None or transport.is_closing() or not framing.keeps_alive:
            return
        if self._passed_left and passed == data:
            self._passed_left -= 1
            self.passed = template
        found = read_head(framing.method, framing.target, framing.fields) if plain else None
        if found is not None:
            self._plain_left -= 1
            self.template, self.head = template, found
