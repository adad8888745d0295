"""The watch of the store: who is called when, and what happens while the store cannot be asked."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from treadle.errors import RetriableError
from treadle.ingest.store_watch import StoreWatch


@dataclass(eq=False)
class KeptRevision:
    """Keeps a revision, and counts how often it was called."""

    store: "CountedStore"
    known: int = 1
    has_expired: bool = False
    calls: int = 0
    error: Exception | None = None
    hangs: asyncio.Event | None = None
    follows: str = "what is tried"

    def is_outdated(self, revision: int | None, asked_at: float) -> bool:
        return self.has_expired or (revision is not None and revision != self.known)

    async def refresh(self) -> None:
        self.calls += 1
        self.has_expired = False
        if self.hangs is not None:
            await self.hangs.wait()
        if self.error is not None:
            raise self.error
        self.known = self.store.revision


@dataclass
class CountedStore:
    """A store with a revision; it counts questions, and cannot be asked where it is down."""

    revision: int = 1
    questions: int = 0
    is_down: bool = False
    followers: list[KeptRevision] = field(default_factory=list)

    def get_revision(self) -> int:
        self.questions += 1
        if self.is_down:
            raise RetriableError("the store is away")
        return self.revision


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - a thread of its own asks
        await asyncio.sleep(0.005)


def run(test: Callable[[CountedStore, StoreWatch], Awaitable[None]], followers: int = 1) -> None:
    async def main() -> None:
        store = CountedStore()
        watch = StoreWatch(store.get_revision, 0.005)
        for _ in range(followers):
            store.followers.append(KeptRevision(store))
            watch.add(store.followers[-1])
        watch.start()
        try:
            await test(store, watch)
        finally:
            await watch.aclose()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_nobody_is_called_before_something_changes() -> None:
    async def test(store: CountedStore, watch: StoreWatch) -> None:
        [one] = store.followers
        await until(lambda: store.questions > 5)
        assert one.calls == 0
        store.revision = 2
        await until(lambda: one.known == 2)
        asked = store.questions
        await until(lambda: store.questions > asked + 5)
        assert one.calls == 1

    run(test)


def test_what_expires_is_forgotten_also_while_the_store_is_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(store: CountedStore, watch: StoreWatch) -> None:
        [one] = store.followers
        store.is_down = True
        await until(lambda: store.questions > 5)
        assert one.calls == 0
        one.has_expired = True
        await until(lambda: one.calls == 1)
        store.is_down, store.revision = False, 2
        await until(lambda: one.known == 2)

    with caplog.at_level(logging.WARNING):
        run(test)
    [record] = caplog.records
    assert record.getMessage() == (
        "Whether the store has changed cannot be asked now, what is known of it holds: the store "
        "is away"
    )


def test_what_fails_is_tried_again_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def test(store: CountedStore, watch: StoreWatch) -> None:
        [one] = store.followers
        one.error = RetriableError("the store is away")
        store.revision = 2
        await until(lambda: one.calls > 3)
        one.error = None
        await until(lambda: one.known == 2)

    with caplog.at_level(logging.WARNING):
        run(test)
    assert [record.getMessage() for record in caplog.records] == [
        "Reading what is tried failed and is tried again: the store is away"
    ]


def test_a_follower_that_waits_delays_no_other_and_is_given_up_at_the_end() -> None:
    async def test(store: CountedStore, watch: StoreWatch) -> None:
        slow, quick = store.followers
        slow.hangs = asyncio.Event()
        store.revision = 2
        await until(lambda: quick.known == 2)
        store.revision = 3
        await until(lambda: quick.known == 3)
        assert (slow.calls, slow.known) == (1, 1)

    run(test, followers=2)
