"""Bounds of the cost of strangers: senders whose token is missing or unknown.

A stranger is refused. On push and validate, an error in the body is answered before the missing
token (import-api.md 7.2), so a small part of a stranger's body is read and checked. All strangers
of a worker together have little memory and little processor time for that. Beyond it they are
refused at once, and the rest of what they send is not read.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from starlette.requests import Request

from treadle.errors import RequestRefusedError, TreadleError
from treadle.http.body_reader import inflate_body, read_raw_body
from treadle.http.limits import check_declared_length, read_declared_length

STRANGER_BODY_BYTES_MAX: Final = 64 * 1024
"""Bytes of a stranger's body that are looked at, as sent and as inflated (import-api.md 7.2)."""

STRANGER_MEMORY_BYTES: Final = 4 * 1024 * 1024
"""Bytes of bodies of all strangers in memory at once."""

STRANGER_WORK_SECONDS: Final = 0.25
"""Processor time for the bodies of all strangers that may be spent at once: some hundred bodies."""

STRANGER_WORK_SHARE: Final = 0.05
"""Share of one core: the allowance grows by it as time passes, up to STRANGER_WORK_SECONDS."""

CLOSE_HEADER: Final = ("Connection", "close")


@dataclass(slots=True)
class StrangerAllowance:
    """Memory and processor time that all strangers of a worker share.

    Attributes:
        monotonic: returns the time of a clock that never goes back, in seconds.
    """

    monotonic: Callable[[], float] = time.monotonic
    _held_bytes: int = 0
    _left_seconds: float = STRANGER_WORK_SECONDS
    _looked_at: float = 0.0

    async def refuse(
        self,
        request: Request,
        headers: Mapping[str, str],
        refusal: TreadleError,
        check_body: Callable[[bytes], object],
    ) -> NoReturn:
        """Refuse a request for its body, if that is small and wrong, or else for its token.

        Args:
            request: its body is not read yet.
            headers: of the request.
            refusal: what is said about its token.
            check_body: raises what is wrong with a decompressed body.

        Raises:
            RequestRefusedError: 413, 408, 415 or 400 for the body.
            TreadleError: `refusal`; the connection is closed where the body was not looked at.
        """
        try:
            check_declared_length(headers)
        except RequestRefusedError as refused:
            raise close_after(refused) from None
        if (read_declared_length(headers) or 0) > STRANGER_BODY_BYTES_MAX or not self._has_time():
            raise close_after(refusal)
        held = 0

        def took(count: int) -> None:
            nonlocal held
            if self._held_bytes + count > STRANGER_MEMORY_BYTES:
                raise close_after(refusal)
            self._held_bytes += count
            held += count

        try:
            try:
                raw = await read_raw_body(
                    headers, request.receive, limit=STRANGER_BODY_BYTES_MAX, took=took
                )
                # Again: many may have begun to send while there was time, and all end at once.
                if not self._has_time():
                    raise close_after(refusal)
                began = self.monotonic()
                try:
                    body = inflate_body(
                        raw, headers.get("content-encoding"), STRANGER_BODY_BYTES_MAX
                    )
                    check_body(body)
                finally:
                    self._left_seconds -= self.monotonic() - began
            except RequestRefusedError as refused:
                if refused.status != 413:
                    raise
                raise close_after(refusal) from None
        finally:
            self._held_bytes -= held
        raise refusal

    def _has_time(self) -> bool:
        """Return whether any of the processor time is left, after what was added since."""
        now = self.monotonic()
        gained = (now - self._looked_at) * STRANGER_WORK_SHARE
        self._looked_at = now
        self._left_seconds = min(STRANGER_WORK_SECONDS, self._left_seconds + gained)
        return self._left_seconds > 0


def close_after(refusal: TreadleError) -> TreadleError:
    """Return a refusal whose answer ends the connection, where it has an answer of its own."""
    if not isinstance(refusal, RequestRefusedError) or CLOSE_HEADER in refusal.headers:
        return refusal
    return RequestRefusedError(refusal.status, refusal.body, (*refusal.headers, CLOSE_HEADER))


def close_unread(refusal: RequestRefusedError, headers: Mapping[str, str]) -> TreadleError:
    """Return a refusal for before the body is read; it closes before a long or endless body."""
    declared = read_declared_length(headers)
    if declared is not None and declared <= STRANGER_BODY_BYTES_MAX:
        return refusal
    return close_after(refusal)
