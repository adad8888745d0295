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
from typing import Final

import msgspec
from starlette.types import Scope

from treadle.errors import TreadleError
from treadle.http.authentication import read_bearer_token
from treadle.http.headers import read_peer, select_headers
from treadle.store.model import KnownToken
from treadle.text import digest_text
from treadle.traces.refusal_file import RefusalFile
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


class RefusalKeeper:
    """Keeps the refusals of one worker.

    Args:
        file: of the worker.
        list_tokens: returns digest -> token, for all tokens of the store, at most so many as it is
            given; called in a thread.
        get_revision: returns a number that is another one after tokens were changed; called in the
            same thread.
        clock: microseconds since 1970.
    """

    def __init__(
        self,
        file: RefusalFile,
        list_tokens: Callable[[int], Mapping[bytes, KnownToken]],
        get_revision: Callable[[], int],
        clock: Callable[[], int],
    ) -> None:
        self._file = file
        self._list_tokens = list_tokens
        self._get_revision = get_revision
        self._clock = clock
        self._revision = -1
        self._tokens: Mapping[bytes, KnownToken] = {}
        self._unknown: dict[int, tuple[bytes, RefusalGroup]] = {}
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
        """Close the file."""
        self._is_closed = True
        if self._look is not None:
            self._look.cancel()
        if self._task is not None:
            await self._task
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
        if digest is not None and known is None:
            if len(self._unknown) >= UNKNOWN_MAX:
                del self._unknown[next(iter(self._unknown))]
            self._unknown[number] = digest, group
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
        for number, (digest, group) in unknown.items():
            known = self._tokens.get(digest)
            if known is not None:
                self._file.assign(number, _name_owner(group, known))

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
