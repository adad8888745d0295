"""The owners of import and webhook tokens in memory, never more than a second old.

The store is the source of truth. Every process keeps all active tokens, by their digest, and a
`StoreWatch` has it read them again when anything changed. A token that is not among them is looked
up in the store before it is refused, so that a new one works at once. That answer is kept for a
while too, so that a wrong token does not become a query each time it is sent.

While the store cannot be asked, the last known tokens stay valid until they expire: accepting goes
on. A store on a server may be away while another machine revokes tokens there. So with it they stay
valid for a while only, and then every token is answered as one that cannot be checked.

Webhook tokens are kept apart from import tokens: they are never looked up for a header.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from treadle.errors import RetriableError
from treadle.store.model import TokenOwner
from treadle.store.store import Store
from treadle.text import digest_text

FLUSH_SECONDS = 5.0
"""Time between two writes of the uses that were counted in memory."""

UNKNOWN_TOKENS_MAX = 10_000
"""Most unknown tokens that are remembered; the oldest is forgotten first."""

REFUSED_TOKENS_MAX = 1_000
"""Most tokens whose refused requests are counted between two writes."""

ANSWER_SECONDS_MAX: Final = 10.0
"""Longest wait of a request for a store on a server, which may hold a commit for any time."""

AGE_LOOK_SECONDS: Final = 0.25
"""Time between two looks how old the knowledge is, with a store on a server."""

STALE: Final = "tokens cannot be checked: the store was not reached for {seconds:.0f} s"

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class TokenCache:
    """Knows whom tokens belong to.

    It is used by one event loop; `invalidate` and `is_outdated` may be called from any thread.
    """

    follows: Final = "changes of import tokens"

    def __init__(
        self,
        store: Store,
        clock: Callable[[], int],
        *,
        flush_seconds: float = FLUSH_SECONDS,
        stale_seconds: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
        is_open: Callable[[int, int], bool] = lambda source_id, number: True,
    ) -> None:
        """Read nothing before `start`.

        Args:
            store: the source of truth.
            clock: microseconds since 1970, UTC.
            flush_seconds: how often uses are written.
            stale_seconds: how long tokens stay valid while the store cannot be asked; 0 for ever.
            monotonic: seconds.
            is_open: called with the source and the log number of each owner that is read; returns
                whether this process can append to that log.
        """
        self._store = store
        self._clock = clock
        self._flush_seconds = flush_seconds
        self._is_open = is_open
        # Following has a thread of its own, so that no flood of unknown tokens, which are looked up
        # in the others, delays a revocation.
        self._following = ThreadPoolExecutor(1, thread_name_prefix="tokens")
        self._asking = ThreadPoolExecutor(2, thread_name_prefix="token-lookups")
        # Writing has one, too: a commit that waits for a standby must not make tokens stale.
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="token-uses")
        self._stale_seconds = stale_seconds
        self._monotonic = monotonic
        self._fresh_at = monotonic()
        self._is_stale = False
        self._owners: dict[bytes, TokenOwner] = {}  # of import tokens
        self._webhook_owners: dict[bytes, TokenOwner] = {}
        self._expires_at = math.inf  # of the token that expires next
        self._unknown_tokens: dict[bytes, None] = {}
        self._revision = -1
        self._generation = 0
        self._answers: dict[tuple[int, Callable[[int], Any]], Any] = {}
        self._first_uses: set[int] = set()
        self._first_use_tasks: dict[int, asyncio.Task[bool]] = {}
        self._uses: dict[int, tuple[int, int]] = {}
        self._origins: dict[int, str] = {}
        self._refusals: dict[bytes, tuple[int, int]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Read all tokens, and write their uses from now on; a `StoreWatch` tells of changes."""
        await self.refresh()
        self._tasks = [asyncio.create_task(self._flush_again_and_again())]
        if self._stale_seconds:
            self._tasks.append(asyncio.create_task(self._watch_age()))

    async def aclose(self) -> None:
        """Write the uses that were not written yet; a watch that calls this was closed before."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self.flush_uses()
        except Exception:
            logger.exception("The last uses of import tokens could not be written")
        self._following.shutdown()
        self._asking.shutdown()
        self._writing.shutdown()

    async def find_owner(self, token: str | None) -> TokenOwner | None:
        """Return whom an import token belongs to; None for an unknown or ended one.

        Raises:
            RetriableError: the token is not in memory and the store cannot be asked.
        """
        found = None if token is None else await self.find_sender(token)
        return None if found is None or found.webhook is not None else found

    async def find_sender(self, token: str) -> TokenOwner | None:
        """Return whom an import or webhook token belongs to; None for an unknown or ended one.

        Raises:
            RetriableError: the token is not in memory and the store cannot be asked, or what is in
                memory is stale.
        """
        if self._is_stale:
            raise RetriableError(self.find_staleness())
        if self._expires_at < math.inf:
            self._drop_expired()  # `refresh` does not while the store does not answer its watch
        sha256 = digest_text(token)
        known = self._owners.get(sha256) or self._webhook_owners.get(sha256)
        if known is not None:
            return known
        if sha256 in self._unknown_tokens:
            self.count_refusal(sha256)
            return None
        generation = self._generation
        found = await self._run(self._asking, self._store.tokens.find_sender, sha256)
        if found is not None and not self._is_open(found.source_id, found.log):
            raise RetriableError(
                f"source {found.source_id} is on log {found.log}, which is not open in this "
                "process: it is not available now, or was added while the server ran and needs "
                "another start"
            )
        if generation == self._generation:
            if found is not None:
                kept = self._owners if found.webhook is None else self._webhook_owners
                kept[sha256] = found
                self._expires_at = min(self._expires_at, _get_expiry(found))
            else:
                if len(self._unknown_tokens) >= UNKNOWN_TOKENS_MAX:
                    del self._unknown_tokens[next(iter(self._unknown_tokens))]
                self._unknown_tokens[sha256] = None
        if found is None:
            self.count_refusal(sha256)
        return found

    def get_account(self, sha256: bytes) -> int | None:
        """Return the account of a token, by its digest; None where memory knows of none."""
        found = self._owners.get(sha256)
        return None if found is None else found.account_id

    def count_refusal(self, sha256: bytes) -> None:
        """Count a request with a token that is none now; it may have been one."""
        count, _ = self._refusals.get(sha256, (0, 0))
        if count or len(self._refusals) < REFUSED_TOKENS_MAX:
            self._refusals[sha256] = (count + 1, self._clock())

    def get_known_owner(self, sha256: bytes) -> TokenOwner | None:
        """Return who may push with a token, where nothing has to be asked first; otherwise None.

        Args:
            sha256: of the token.
        """
        if self._expires_at < math.inf:
            self._drop_expired()
        found = self._owners.get(sha256)
        if found is None or not found.active:
            return None
        return None if found.unused and found.token_id not in self._first_uses else found

    def count_use(self, owner: TokenOwner) -> None:
        """Count a use of a token that was used before."""
        count, _ = self._uses.get(owner.token_id, (0, 0))
        self._uses[owner.token_id] = (count + 1, self._clock())

    async def record_use(self, owner: TokenOwner, origin: str | None = None) -> bool:
        """Count a use of the token; return when its first use is in the store.

        A token that was never used may be replaced silently (connect-api.md 2.6), so its first use
        has to be known before the sender gets its answer.

        Args:
            owner: of the token.
            origin: the address of the client.

        Returns:
            Whether the token is still valid: it may be replaced just before its first use.

        Raises:
            RetriableError: it is the first use and the store cannot be written.
        """
        token = owner.token_id
        now = self._clock()
        if owner.unused and token not in self._first_uses:
            task = self._first_use_tasks.get(token)
            if task is None:
                task = asyncio.create_task(self._record_first_use(token, now))
                self._first_use_tasks[token] = task
            if not await asyncio.shield(task):
                return False
        self.add_use(token, origin)
        return True

    def add_use(self, token_id: int, origin: str | None) -> None:
        """Count a use of a token of any kind.

        Args:
            token_id: the token.
            origin: the address of the client.
        """
        count, _ = self._uses.get(token_id, (0, 0))
        self._uses[token_id] = (count + 1, self._clock())
        if origin is not None:
            self._origins[token_id] = origin

    async def _record_first_use(self, token: int, now: int) -> bool:
        try:
            valid = await self._run(self._asking, self._store.tokens.record_first_use, token, now)
        finally:
            del self._first_use_tasks[token]
        if valid:
            self._first_uses.add(token)
        else:
            self.invalidate()
        return valid

    async def get_cached(self, source_id: int, ask: Callable[[int], T]) -> T:
        """Return what `ask` says of a source; it is asked once until anything in the store changes.

        Args:
            source_id: the source.
            ask: a blocking question to the store, a method that is remembered with its answer.

        Raises:
            RetriableError: it is not in memory and the store cannot be asked.
        """
        generation = self._generation
        known: tuple[int, T] | None = self._answers.get((source_id, ask))
        if known is not None and known[0] == generation:
            return known[1]
        found = await self._run(self._asking, ask, source_id)
        if known is not None or len(self._answers) < UNKNOWN_TOKENS_MAX:
            self._answers[source_id, ask] = (generation, found)
        return found

    def find_staleness(self) -> str | None:
        """Return why no token is valid now; None while tokens can be checked."""
        return STALE.format(seconds=self.age) if self._is_stale else None

    @property
    def age(self) -> float:
        """Seconds since the store answered last."""
        return self._monotonic() - self._fresh_at

    def judge_age(self) -> None:
        """Let no token be valid when the store did not answer for too long."""
        if self._is_stale or not self._stale_seconds or self.age < self._stale_seconds:
            return
        logger.error("Requests are answered 503: %s", STALE.format(seconds=self.age))
        # Without them the fast path knows nobody, and asks `find_sender`, too.
        self.invalidate()
        self._is_stale = True

    async def _watch_age(self) -> None:
        while True:
            await asyncio.sleep(AGE_LOOK_SECONDS)
            self.judge_age()

    def invalidate(self) -> None:
        """Forget all answers: tokens or sources were changed in this process a moment ago."""
        self._generation += 1
        self._revision = -1
        self._owners = {}
        self._webhook_owners = {}
        self._unknown_tokens = {}

    def is_outdated(self, revision: int | None, asked_at: float) -> bool:
        """Return whether `refresh` has something to do; see `StoreFollower`."""
        changed = revision is not None and revision != self._revision
        if revision is not None and not changed:
            self._fresh_at = max(self._fresh_at, asked_at)
        return changed or self._clock() >= self._expires_at

    async def refresh(self) -> None:
        """Read all tokens again if anything changed.

        Raises:
            RetriableError: the store cannot be asked.
        """
        self._drop_expired()
        generation = self._generation
        asked_at = self._monotonic()
        # The revision first: what it counts is then surely among the tokens read after it.
        revision = await self._run(self._following, self._store.get_revision)
        if revision == self._revision and generation == self._generation:
            self._fresh_at = asked_at
            return
        known = await self._run(self._following, self._store.tokens.list_senders)
        # Who pushes to a log that is not open here is looked up, and told so.
        known = {sha: one for sha, one in known.items() if self._is_open(one.source_id, one.log)}
        if generation == self._generation:
            self._generation += 1
            self._owners = {sha: one for sha, one in known.items() if one.webhook is None}
            self._webhook_owners = {
                sha: one for sha, one in known.items() if one.webhook is not None
            }
            self._expires_at = min(map(_get_expiry, known.values()), default=math.inf)
            self._unknown_tokens = {}
            self._revision = revision
            self._note_answer(asked_at)
            self._first_uses &= {p.token_id for p in known.values() if p.unused}

    def _note_answer(self, asked_at: float) -> None:
        self._fresh_at = asked_at
        if self._is_stale:
            logger.info("Tokens can be checked again")
        self._is_stale = False

    async def flush_uses(self) -> None:
        """Write the uses counted since the last time, and from where they came.

        Raises:
            RetriableError: the store cannot be written; the uses are kept for the next time.
        """
        await self._flush_refusals()
        uses, self._uses = self._uses, {}
        origins, self._origins = self._origins, {}
        if not uses:
            return
        try:
            await self._run(self._writing, self._store.tokens.record_uses, uses, origins)
        except BaseException:
            self._origins = origins | self._origins
            for token, (count, at) in uses.items():
                more, later = self._uses.get(token, (0, 0))
                self._uses[token] = (count + more, max(at, later))
            raise

    async def _flush_refusals(self) -> None:
        refusals, self._refusals = self._refusals, {}
        if not refusals:
            return
        try:
            await self._run(self._writing, self._store.tokens.record_refusals, refusals)
        except BaseException:
            for sha256, (count, at) in refusals.items():
                more, later = self._refusals.get(sha256, (0, 0))
                self._refusals[sha256] = (count + more, max(at, later))
            raise

    def _drop_expired(self) -> None:
        """Forget tokens that have expired, also while the store cannot be asked."""
        now = self._clock()
        if now < self._expires_at:
            return
        self._owners = {sha: o for sha, o in self._owners.items() if _get_expiry(o) > now}
        self._webhook_owners = {
            sha: o for sha, o in self._webhook_owners.items() if _get_expiry(o) > now
        }
        left = [*self._owners.values(), *self._webhook_owners.values()]
        self._expires_at = min(map(_get_expiry, left), default=math.inf)

    async def _run(
        self, thread: ThreadPoolExecutor, question: Callable[P, T], *args: P.args, **_: P.kwargs
    ) -> T:
        asked = asyncio.get_running_loop().run_in_executor(thread, question, *args)
        if not self._stale_seconds or thread is not self._asking:
            return await asked
        await asyncio.wait((asked,), timeout=ANSWER_SECONDS_MAX)
        if not asked.done():
            asked.add_done_callback(_forget_answer)
            raise RetriableError("the store does not answer")
        return await asked

    async def _flush_again_and_again(self) -> None:
        """Write uses now and then; a failure is logged once until it works again."""
        failing = False
        while True:
            await asyncio.sleep(self._flush_seconds)
            try:
                await self.flush_uses()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try may succeed
                if not failing:
                    logger.warning(
                        "Writing uses of import tokens failed and is tried again: %s", error
                    )
                failing = True
            else:
                failing = False


def _forget_answer(answered: "asyncio.Future[Any]") -> None:
    """Look at the outcome that nobody waits for any more, which would be logged otherwise."""
    if not answered.cancelled():
        answered.exception()


def _get_expiry(owner: TokenOwner) -> float:
    return math.inf if owner.expires_at is None else owner.expires_at
