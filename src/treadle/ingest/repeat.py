"""`Idempotency-Key`: a request that is sent again is answered again and not stored again.

Two notes are kept in the store under a key: a *try* before the entries go into the log, and *done*
after. Who finds a try that was never done asks the log itself whether the entries are in it, so
that a crash between the two neither loses the request nor doubles it.
"""

import asyncio
import contextlib
import functools
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from treadle.errors import Refused, TryLater
from treadle.ingest.progress import Progress
from treadle.log.protocol import Entry, NewEntry
from treadle.records.message import Batch, unpack
from treadle.store.model import Remembered

HEADER = "idempotency-key"
KEY_CHARACTERS = 255
"""Longest key: what other services with this header allow."""

PATIENCE_SECONDS = 10.0
"""How long a repetition waits for another process that is answering the same request."""

ORPHAN_SECONDS = 30.0
"""When a request that was begun elsewhere and not done counts as crashed. Appending takes
milliseconds; a log that takes longer than this turns requests away."""

LOOK_SECONDS = 0.05
"""Between two looks at another's notes."""

FAILED_MAX = 10_000
"""Tries remembered as failed; of further ones the log is asked, after ORPHAN_SECONDS."""

WRONG_KEY = {
    "status": "ERROR",
    "message": f"Idempotency-Key is to be a text of 1 to {KEY_CHARACTERS} characters",
}
OTHER_REQUEST = {
    "status": "ERROR",
    "message": "This Idempotency-Key was used with another request",
}
BUSY = {
    "status": "ERROR",
    "message": "The first request with this Idempotency-Key is not finished. Try again later.",
}


class Begun(msgspec.Struct, frozen=True):
    """A try: entries received at `at` may be in the log, at a position above `above`."""

    at: int
    above: int


class Done(msgspec.Struct, frozen=True):
    """The entries are in the log, from this position on."""

    first: int


_encode = msgspec.msgpack.Encoder().encode
_begun = msgspec.msgpack.Decoder(Begun).decode
_done = msgspec.msgpack.Decoder(Done).decode

Entries = Callable[[int], list[NewEntry]]
"""The entries of a request, given when it was received."""

Append = Callable[[Sequence[NewEntry]], Awaitable[int]]


class Keys(Protocol):
    """The part of the store that keeps notes under keys."""

    def remember(self, scope: str, key: str, digest: bytes, answer: bytes, at: int) -> bool:
        """Keep a note; False when another was kept before."""

    def recall(self, scope: str, key: str) -> Remembered | None:
        """The note kept under a key."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request with a key.

    Attributes:
        digest: of what was asked.
        scope: whose keys they are; the same key in two scopes is two keys.
    """

    source_id: int
    key: str
    digest: bytes
    scope: str = "source"


def digest_of(target: str, body: bytes) -> bytes:
    """What tells two requests apart.

    Args:
        target: path and whatever else decides what the body means.
        body: as received, inflated.
    """
    found = hashlib.sha256(target.encode("utf-8", "surrogatepass") + b"\n")
    found.update(body)
    return found.digest()


def asked(source_id: int, key: str, digest: bytes) -> Asked:
    """A request with a key.

    Args:
        source_id: who asks; keys of two sources are two keys.
        key: as sent.
        digest: of the request.

    Raises:
        Refused: 400, the key is none.
    """
    if not 0 < len(key) <= KEY_CHARACTERS:
        raise Refused(400, WRONG_KEY)
    return Asked(source_id, key, digest)


class Repeats:
    """Appends what was not appended before."""

    def __init__(self, store: Keys, progress: Progress, clock: Callable[[], int]) -> None:
        """Nothing is asked before the first request with a key.

        Args:
            store: keeps the notes.
            progress: reads the log.
            clock: microseconds since 1970, UTC.
        """
        self._store = store
        self._progress = progress
        self._clock = clock
        self._turns = Turns()
        # Tries whose append is known to have left nothing in the log.
        self._failed: dict[tuple[str, int, str], Begun] = {}
        self._last = 0

    def appended(self, position: int) -> None:
        """Something was appended in this process: whatever follows is above it."""
        self._last = max(self._last, position)

    async def once(self, request: Asked, entries: Entries, append: Append) -> tuple[int, bool]:
        """Append the entries unless the request was answered before.

        Returns:
            The position of the first entry, and whether it was there before.

        Raises:
            Refused: 422 for another request with this key, 409 while the first is not finished.
            TryLater: nothing of the entries is in the log.
        """
        name = (request.scope, request.source_id, request.key)
        async with self._turns.of(name):
            done = await self._recall(request, "done")
            if done is not None:
                return _done(done).first, True
            found = await self._try(request)
            if isinstance(found, Done):
                return found.first, True
            if isinstance(found, list):
                before = await self._search(request, found, entries)
                if before is not None:
                    await self._remember(request, "done", Done(before))
                    return before, True
                found = await self._take(request, len(found))
            self._failed.pop(name, None)
            try:
                first = await append(entries(found.at))
            except TryLater:
                if len(self._failed) < FAILED_MAX:
                    self._failed[name] = found
                raise
            await self._remember(request, "done", Done(first))
            return first, False

    async def _try(self, request: Asked) -> Begun | Done | list[Begun]:
        """How to go on: a try of our own to make, the end of another's, or tries that crashed."""
        failed = self._failed.get((request.scope, request.source_id, request.key))
        if failed is not None and not self._is_orphan(failed):
            return failed  # nobody else takes it for crashed before its time
        begun = self._begin()
        if await self._remember(request, "try 0", begun):
            return begun
        deadline = self._clock() + _microseconds(PATIENCE_SECONDS)
        while True:
            tries = await self._tries(request)
            # Looked for after the tries: a try that ended meanwhile is not taken for a crash.
            done = await self._recall(request, "done")
            if done is not None:
                return _done(done)
            if self._is_orphan(tries[-1]):
                return tries
            if self._clock() >= deadline:
                raise Refused(409, BUSY, (("Retry-After", "5"),))
            await asyncio.sleep(LOOK_SECONDS)

    async def _take(self, request: Asked, number: int) -> Begun:
        """The next try, if nobody else made it first."""
        begun = self._begin()
        if not await self._remember(request, f"try {number}", begun):
            raise Refused(409, BUSY, (("Retry-After", "5"),))
        return begun

    def _is_orphan(self, begun: Begun) -> bool:
        return self._clock() - begun.at >= _microseconds(ORPHAN_SECONDS)

    def _begin(self) -> Begun:
        return Begun(self._clock(), self._last)

    async def _tries(self, request: Asked) -> list[Begun]:
        tries: list[Begun] = []
        while (note := await self._recall(request, f"try {len(tries)}")) is not None:
            tries.append(_begun(note))
        if not tries:
            raise TryLater("the notes of a request with an idempotency key were deleted just now")
        return tries

    async def _search(self, request: Asked, tries: list[Begun], entries: Entries) -> int | None:
        """The position of the first entry, if one of these tries came as far as the log."""
        expected = entries(0)[0]
        times = {found.at for found in tries}
        after = min(found.above for found in tries)
        while True:
            page = await self._progress.read(request.source_id, expected.table_name, after)
            for entry in page:
                if (
                    isinstance(entry, Entry)
                    and entry.received_at in times
                    and same(entry.payload, expected.payload)
                ):
                    return entry.position
            if not page:
                return None
            after = page[-1].position

    async def _remember(self, request: Asked, what: str, note: Begun | Done) -> bool:
        scope, now = _scope(request, what), self._clock()
        keep = functools.partial(
            self._store.remember, scope, request.key, request.digest, _encode(note), now
        )
        return await self._progress.ask(keep)

    async def _recall(self, request: Asked, what: str) -> bytes | None:
        scope = _scope(request, what)
        note = await self._progress.ask(lambda: self._store.recall(scope, request.key))
        if note is None:
            return None
        if note.digest != request.digest:
            raise Refused(422, OTHER_REQUEST)
        return note.answer


class Turns:
    """A lock for each name that somebody is waiting for."""

    def __init__(self) -> None:
        self._locks: dict[object, tuple[asyncio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def of(self, name: object) -> AsyncIterator[None]:
        """Wait for the turn of a name."""
        lock, users = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[name]
            if users == 1:
                del self._locks[name]
            else:
                self._locks[name] = (lock, users - 1)


def same(payload: bytes, expected: bytes) -> bool:
    """Whether two packed batches hold the same records; sequences may be made on arrival.

    A rejected record that is sent again is the same however it was edited.
    """
    if payload == expected:
        return True
    found, wanted = unpack(payload), unpack(expected)
    if wanted.resent:
        return found.resent == wanted.resent
    return _without_sequences(found) == _without_sequences(wanted)


def _without_sequences(batch: Batch) -> Batch:
    return msgspec.structs.replace(batch, sequences=[])


def scope_of_done(scope: str, source_id: int) -> str:
    """The scope in the store of the notes of what is done, to be read by `position`."""
    return f"{scope} {source_id} done"


def position(note: bytes) -> int:
    """The position of the first entry, from a note of what is done."""
    return _done(note).first


def _scope(request: Asked, what: str) -> str:
    return f"{request.scope} {request.source_id} {what}"


def _microseconds(seconds: float) -> int:
    return int(seconds * 1_000_000)
