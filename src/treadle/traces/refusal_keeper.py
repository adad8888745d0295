"""Keeps the requests that a worker refuses, with whose token was sent.

It is called for refusals only, on the event loop. Whose a token is comes from memory: all tokens of
the store by their digest, also those that have ended, read again in a thread when a token is not
among them. So the refusals of a revoked token are those of its account, and no flood of unknown
tokens becomes a flood of questions.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import msgspec
from starlette.types import Scope

from treadle.errors import TreadleError
from treadle.http.authentication import read_bearer_token
from treadle.http.headers import read_peer, select_headers
from treadle.store.model import KnownToken
from treadle.text import digest_text
from treadle.traces.refusal_file import RefusalFile
from treadle.traces.refusal_lines import RefusalLines, SourceNote
from treadle.traces.refusals import (
    ADDRESS_CHARACTERS_MAX,
    KeptRefusal,
    RefusalGroup,
    keep_body,
    name_reason,
)

TOKENS_MAX: Final = 10_000
"""Most tokens of the store that are known here, the newest ones: about 3 MB."""

LOOK_SECONDS: Final = 1.0
"""Least time between two looks for tokens of the store."""

UNKNOWN_MAX: Final = 500
"""Most refusals that wait to learn whose token was sent."""

_WEBHOOK_PREFIX: Final = "/v1/clients/"

logger = logging.getLogger(__name__)


class UnknownRefusal(NamedTuple):
    """A refusal that waits to learn whose token was sent."""

    digest: bytes
    group: RefusalGroup
    address: str
    request: str


class RefusalKeeper:
    """Keeps the refusals of one worker.

    Args:
        file: of the worker.
        list_tokens: returns digest -> token, for all tokens of the store, at most so many as it is
            given; called in a thread.
        get_revision: returns a number that is another one after tokens were changed; called in the
            same thread.
        clock: microseconds since 1970.
        list_sources: returns id -> source, for log lines; called in the same thread.
    """

    def __init__(
        self,
        file: RefusalFile,
        list_tokens: Callable[[int], Mapping[bytes, KnownToken]],
        get_revision: Callable[[], int],
        clock: Callable[[], int],
        list_sources: Callable[[], Mapping[int, SourceNote]] = dict,
    ) -> None:
        self._file = file
        self._list_tokens = list_tokens
        self._get_revision = get_revision
        self._clock = clock
        self._list_sources = list_sources
        self._sources: Mapping[int, SourceNote] = {}
        self._lines = RefusalLines()
        self._line_timer: asyncio.TimerHandle | None = None
        self._line_task: asyncio.Task[None] | None = None
        self._revision = -1
        self._tokens: Mapping[bytes, KnownToken] = {}
        self._unknown: dict[int, UnknownRefusal] = {}
        self._look: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="refusals")
        self._is_closed = False

    def keep_answer(self, scope: Scope, endpoint: str, status: int, body: bytes) -> None:
        """Keep a refused request.

        Args:
            scope: of the request.
            endpoint: as in the metrics.
            status: of the answer.
            body: of the answer, or its beginning.
        """
        headers = select_headers(scope)
        token = read_bearer_token(headers) or _read_path_token(scope.get("path", ""))
        declared = headers.get("content-length", "")
        self._keep(
            RefusalGroup(endpoint, status, name_reason(status, body)),
            token,
            read_peer(scope) or "",
            int(declared) if declared.isascii() and declared.isdigit() else 0,
            keep_body(body, token),
        )

    def keep_unread(self, status: int, address: str, why: str) -> None:
        """Keep what was refused before it was read as a request."""
        said = why.encode("utf-8", "replace")
        group = RefusalGroup("other", status, name_reason(status, said))
        self._keep(group, None, address, 0, keep_body(said, None))

    def keep_of_source(
        self, endpoint: str, status: int, body: bytes, account_id: int, source_id: int
    ) -> None:
        """Keep a refused request of which only the source is known."""
        group = RefusalGroup(endpoint, status, name_reason(status, body), account_id, source_id)
        self._keep(group, None, "", 0, keep_body(body, None))

    async def aclose(self) -> None:
        """Write the lines that wait, and close the file."""
        self._is_closed = True
        for timer in (self._look, self._line_timer):
            if timer is not None:
                timer.cancel()
        for task in (self._task, self._line_task):
            if task is not None:
                await task
        for refusal in self._unknown.values():
            self._lines.add(refusal.group, refusal.address, refusal.request)
        self._write_lines(None)
        self._thread.shutdown()
        self._file.close()

    def _keep(
        self, group: RefusalGroup, token: str | None, address: str, size: int, body: str
    ) -> None:
        if self._is_closed:
            return
        digest = None if token is None else digest_text(token)
        known = None if digest is None else self._tokens.get(digest)
        if known is not None:
            group = _name_owner(group, known)
        number = self._file.add(
            KeptRefusal(
                self._clock(),
                group,
                "" if digest is None else digest.hex()[:8],
                address[:ADDRESS_CHARACTERS_MAX],
                min(size, 2**63),
                body,
            )
        )
        request = self._file.name_request(number)
        if digest is None or known is not None:
            self._tell(group, address, request)
        else:
            if len(self._unknown) >= UNKNOWN_MAX:
                del self._unknown[next(iter(self._unknown))]
            self._unknown[number] = UnknownRefusal(digest, group, address, request)
            if self._look is None:
                loop = asyncio.get_running_loop()
                self._look = loop.call_later(LOOK_SECONDS, self._begin_look)

    def _begin_look(self) -> None:
        self._task = asyncio.create_task(self._look_for_tokens())

    async def _look_for_tokens(self) -> None:
        unknown, self._unknown = self._unknown, {}
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._read_tokens)
        except TreadleError as error:
            logger.warning("Whose tokens were refused cannot be found out now: %s", error)
        finally:
            self._look = None
        if self._is_closed:
            return
        for number, refusal in unknown.items():
            group = refusal.group
            known = self._tokens.get(refusal.digest)
            if known is not None:
                group = _name_owner(group, known)
                self._file.assign(number, group)
            self._tell(group, refusal.address, refusal.request)

    def _tell(self, group: RefusalGroup, address: str, request: str) -> None:
        """Count a refusal for the log lines, of which the first one is written soon."""
        self._lines.add(group, address, request)
        self._wait_for_lines(LOOK_SECONDS)

    def _wait_for_lines(self, seconds: float) -> None:
        waits = self._lines.find_next(self._clock())
        if self._line_timer is None and waits is not None and not self._is_closed:
            loop = asyncio.get_running_loop()
            self._line_timer = loop.call_later(max(seconds, waits / 1e6), self._begin_lines)

    def _begin_lines(self) -> None:
        self._line_task = asyncio.create_task(self._tell_lines())

    async def _tell_lines(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            self._sources = await loop.run_in_executor(self._thread, self._list_sources)
        except TreadleError as error:
            logger.warning("Whose requests were refused cannot be found out now: %s", error)
        finally:
            self._line_timer = None
        if not self._is_closed:
            self._write_lines(self._clock())
            self._wait_for_lines(LOOK_SECONDS)

    def _write_lines(self, now: int | None) -> None:
        for line in self._lines.take_lines(now, self._sources):
            logger.warning("%s", line.text, extra={"fields": line.fields})

    def _read_tokens(self) -> None:
        """Read the tokens again, if any were changed."""
        revision = self._get_revision()
        if revision != self._revision:
            self._tokens = self._list_tokens(TOKENS_MAX)
            self._revision = revision


def _name_owner(group: RefusalGroup, known: KnownToken) -> RefusalGroup:
    return msgspec.structs.replace(
        group,
        account_id=known.account_id or 0,
        source_id=known.source_id or 0,
        token_id=known.token_id,
    )


def _read_path_token(path: str) -> str | None:
    """Return the token in the path of an incoming webhook; None for another path."""
    if not path.startswith(_WEBHOOK_PREFIX):
        return None
    parts = path.split("/")
    return parts[5] if len(parts) > 5 and parts[4] == "token" and parts[5] else None
