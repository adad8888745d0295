"""Sends deliveries over HTTP, to addresses that were checked."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx

from treadle.courier.decisions import TryResult
from treadle.courier.hook_request import list_request_headers
from treadle.errors import TreadleError
from treadle.http.address_policy import AddressRefusedError
from treadle.http.outbound_url import OutboundRules, OutboundUrl
from treadle.store.model import DueDelivery

TRY_SECONDS: Final = 30.0
"""The time of a whole try: the look-up of the name, the connection, and the answer."""

CONNECT_SECONDS: Final = 10.0
"""The time for a connection to one address while there are others to try."""

ANSWER_BYTES_READ: Final = 64 * 1024
ANSWER_BYTES_KEPT: Final = 1024


def find_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host, as the system finds them. It may take its time."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def trust_authorities() -> ssl.SSLContext:
    """Return what certificates are trusted: those of the system, and those that httpx brings."""
    context = httpx.create_ssl_context()
    context.load_default_certs()
    return context


@dataclass(slots=True)
class HookSender:
    """Sends deliveries on one event loop.

    A name is looked up once for each try. Its addresses are checked, and the connection goes to one
    of these, so that the name cannot point elsewhere meanwhile. The certificate is still judged by
    the name. No proxy of the environment is used, because it would connect where it likes.

    Attributes:
        rules: which URLs and addresses are called.
        clock: microseconds since 1970, for the signature.
        find_addresses: host and port -> addresses; runs in a thread.
        make_context: makes the context of TLS, at the first delivery.
        try_seconds: the time of a whole try.
    """

    rules: OutboundRules
    clock: Callable[[], int]
    find_addresses: Callable[[str, int], Sequence[str]] = find_addresses
    make_context: Callable[[], ssl.SSLContext] = trust_authorities
    try_seconds: float = TRY_SECONDS
    _context: ssl.SSLContext | None = field(default=None, repr=False)

    async def send(self, delivery: DueDelivery) -> TryResult:
        """Send a delivery once; what goes wrong is in the result."""
        began = time.monotonic()
        status: int | None = None
        read = bytearray()
        error: str | None = None

        def note_status(found: int) -> None:
            nonlocal status
            status = found

        try:
            async with asyncio.timeout(self.try_seconds):
                await self._exchange(delivery, note_status, read)
        except TimeoutError:
            error = f"it did not answer within {self.try_seconds:.0f} s"
        except TreadleError as refused:
            error = str(refused)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as failed:
            error = f"the connection failed: {str(failed) or type(failed).__name__}"
        if status is not None:
            error = None  # the answer counts, however its body ended
        answer = bytes(read[:ANSWER_BYTES_KEPT]).decode("utf-8", "replace")
        return TryResult(status, answer, error, int((time.monotonic() - began) * 1_000_000))

    async def _exchange(
        self, delivery: DueDelivery, note_status: Callable[[int], None], read: bytearray
    ) -> None:
        url = self.rules.parse(delivery.url)
        addresses = await self._list_allowed(url)
        if self._context is None:
            self._context = self.make_context()
        headers = list_request_headers(delivery, url, self.clock() // 1_000_000)
        async with httpx.AsyncClient(
            verify=self._context, trust_env=False, follow_redirects=False
        ) as client:
            for place, address in enumerate(addresses, 1):
                is_last = place == len(addresses)
                request = httpx.Request(
                    "POST",
                    httpx.URL(
                        scheme=url.scheme,
                        host=address,
                        port=url.port,
                        raw_path=url.target.encode("ascii"),
                    ),
                    headers=headers,
                    content=delivery.body.encode(),
                    extensions={
                        "sni_hostname": url.host,
                        "timeout": {"connect": None if is_last else CONNECT_SECONDS},
                    },
                )
                try:
                    response = await client.send(request, stream=True)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    if is_last:
                        raise
                    continue  # nothing was sent yet
                try:
                    note_status(response.status_code)
                    await _read_beginning(response, read)
                finally:
                    await response.aclose()
                return

    async def _list_allowed(self, url: OutboundUrl) -> list[str]:
        """Return the addresses of a host that may be connected to; there is at least one.

        Raises:
            AddressRefusedError: none of them may be.
            OSError: it has none.
        """
        allowed: list[str] = []
        refused: AddressRefusedError | None = None
        for address in await self._look_up(url.host, url.port):
            try:
                self.rules.policy.check(address)
            except AddressRefusedError as error:
                refused = error
            else:
                allowed.append(address)
        if refused is not None and not allowed:
            raise refused
        if not allowed:
            raise OSError(f"{url.host} has no address")
        return allowed

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        """Look a name up in a thread that the end of the process does not wait for."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Sequence[str]] = loop.create_future()

        def settle(addresses: Sequence[str] | None, error: Exception | None) -> None:
            if found.done():
                return  # the time of the try was over
            if error is not None:
                found.set_exception(error)
            else:
                found.set_result(addresses or ())

        def look_up() -> None:
            addresses: Sequence[str] | None = None
            error: Exception | None = None
            try:
                addresses = self.find_addresses(host, port)
            except (OSError, UnicodeError) as failed:
                error = OSError(f"the name {host} is not found")
                error.__cause__ = failed
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle, addresses, error)

        threading.Thread(target=look_up, daemon=True, name="look-up").start()
        return await found


async def _read_beginning(response: httpx.Response, read: bytearray) -> None:
    """Read the beginning of a body as it was sent, not decompressed; an error ends it."""
    with contextlib.suppress(httpx.HTTPError):
        async for piece in response.aiter_raw():
            read += piece[: ANSWER_BYTES_READ - len(read)]
            if len(read) >= ANSWER_BYTES_READ:
                return
