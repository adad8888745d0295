"""The directory against a real store that other processes change."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.servers.ingest import CLIENT

from treadle.errors import RetriableError
from treadle.ingest import token_cache as directories
from treadle.ingest.store_watch import POLL_SECONDS, StoreWatch
from treadle.ingest.token_cache import TokenCache
from treadle.store.model import TokenOwner
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store
from treadle.store.tokens import TokenFilter, TokenRepository
from treadle.text import digest_text


class Counted(TokenRepository):
    """The real tokens, counting what they are asked and failing when told to."""

    lookups = 0
    first_uses = 0
    down = False

    def find_sender(self, sha256: bytes) -> TokenOwner | None:
        self.lookups += 1
        if self.down:
            raise RetriableError("the store is away")
        return super().find_sender(sha256)

    def record_first_use(self, token_id: int, at: int) -> bool:
        self.first_uses += 1
        time.sleep(0.02)
        if self.down:
            raise RetriableError("the store is away")
        return super().record_first_use(token_id, at)

    def record_uses(
        self, uses: Mapping[int, tuple[int, int]], origins: Mapping[int, str] | None = None
    ) -> None:
        if self.down:
            raise RetriableError("the store is away")
        super().record_uses(uses, origins)


class World:
    """One store, seen by this process and changed by another."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder / 'store.sqlite'}"
        self.elsewhere = Store.open(url, SecretCipher(bytes(32)))
        self.store = Store.open(url, SecretCipher(bytes(32)))
        self.store.tokens = self.tokens = Counted(self.store._database)
        self.elsewhere.accounts.create_account("ours", client_id=CLIENT)
        self.source = self.elsewhere.sources.create_source(
            CLIENT, type="import_api", display_name="a", name="a", bootstrap_token=True
        )
        (self.bootstrap,) = self.elsewhere.tokens.list_tokens(self.source.id)

    @property
    def token(self) -> str:
        assert self.bootstrap.secret is not None
        return self.bootstrap.secret

    def new_token(self) -> str:
        secret = self.elsewhere.tokens.create_token(CLIENT, self.source.id).secret
        assert secret is not None
        return secret

    def uses(self) -> tuple[int, int | None, int | None]:
        (token, *_) = self.elsewhere.tokens.list_tokens(self.source.id)
        return token.uses, token.first_used_at, token.last_used_at


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()
    world.elsewhere.close()


@asynccontextmanager
async def following(
    world: World, *, poll_seconds: float = POLL_SECONDS, **settings: Any
) -> AsyncIterator[TokenCache]:
    directory = TokenCache(world.store, lambda: 1000, **settings)
    watch = StoreWatch(world.store.get_revision, poll_seconds)
    watch.add(directory)
    await directory.start()
    watch.start()
    try:
        yield directory
    finally:
        await watch.aclose()
        await directory.aclose()


def run(
    world: World, test: Callable[[TokenCache], Coroutine[object, object, None]], **settings: Any
) -> None:
    async def main() -> None:
        async with following(world, **settings) as directory:
            await test(directory)

    asyncio.run(main())


async def soon(check: Callable[[], Awaitable[bool]]) -> None:
    """Another process is looked at twice a second; a busy machine may take its time."""
    async with asyncio.timeout(60.0):
        while not await check():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.01)


def test_known_tokens_need_no_look_up(world: World) -> None:
    async def test(directory: TokenCache) -> None:
        found = await directory.find_owner(world.token)
        assert found is not None
        assert (found.account_id, found.source_id, found.active) == (CLIENT, world.source.id, True)
        assert await directory.find_owner(None) is None
        assert world.tokens.lookups == 0

    run(world, test)


def test_a_new_token_works_at_once(world: World) -> None:
    async def test(directory: TokenCache) -> None:
        assert await directory.find_owner(world.new_token()) is not None

    run(world, test, poll_seconds=60.0)


def test_a_wrong_token_is_looked_up_once(world: World) -> None:
    async def test(directory: TokenCache) -> None:
        for _ in range(5):
            assert await directory.find_owner("nobody's") is None
        assert world.tokens.lookups == 1

    run(world, test, poll_seconds=60.0)


def test_wrong_tokens_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "UNKNOWN_TOKENS_MAX", 2)

    async def test(directory: TokenCache) -> None:
        for token in ("a", "b", "c"):
            await directory.find_owner(token)
        await directory.find_owner("c")
        assert world.tokens.lookups == 3
        await directory.find_owner("a")
        assert world.tokens.lookups == 4

    run(world, test, poll_seconds=60.0)


def test_revoked_elsewhere(world: World) -> None:
    async def test(directory: TokenCache) -> None:
        assert await directory.find_owner(world.token) is not None
        world.elsewhere.tokens.revoke_token(CLIENT, world.source.id, world.bootstrap.id)

        async def gone() -> bool:
            return await directory.find_owner(world.token) is None

        await soon(gone)

    run(world, test)


def test_no_flood_of_wrong_tokens_delays_a_revocation(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    look_up = world.tokens.find_sender

    def look_up_slowly(sha256: bytes) -> TokenOwner | None:
        over.wait(60)
        return look_up(sha256)

    monkeypatch.setattr(world.tokens, "find_sender", look_up_slowly)

    async def test(directory: TokenCache) -> None:
        flood = [asyncio.ensure_future(directory.find_owner(f"at_{n:064x}")) for n in range(50)]
        await asyncio.sleep(0)
        world.elsewhere.tokens.revoke_token(CLIENT, world.source.id, world.bootstrap.id)

        async def gone() -> bool:
            return directory.get_known_owner(digest_text(world.token)) is None

        await soon(gone)
        over.set()
        assert await asyncio.gather(*flood) == [None] * 50

    run(world, test)


def test_paused_and_resumed_elsewhere(world: World) -> None:
    async def test(directory: TokenCache) -> None:
        for paused_at, active in ((1, False), (None, True)):
            world.elsewhere.sources.update_source(CLIENT, world.source.id, paused_at=paused_at)

            async def changed(active: bool = active) -> bool:
                found = await directory.find_owner(world.token)
                return found is not None and found.active is active

            await soon(changed)

    run(world, test)


def test_forget_works_before_the_next_poll(world: World) -> None:
    async def test(directory: TokenCache) -> None:
        assert await directory.find_owner(world.token) is not None
        world.elsewhere.tokens.revoke_token(CLIENT, world.source.id, world.bootstrap.id)
        directory.invalidate()
        assert await directory.find_owner(world.token) is None

    run(world, test, poll_seconds=60.0)


def test_first_use_is_in_the_store_at_once_and_once(world: World) -> None:
    async def test(directory: TokenCache) -> None:
        found = await directory.find_owner(world.token)
        assert found is not None
        assert found.unused
        assert world.uses() == (0, None, None)
        said = await asyncio.gather(*[directory.record_use(found) for _ in range(5)])
        assert said == [True] * 5
        assert world.uses()[1] == 1000
        assert await directory.record_use(found)
        assert world.tokens.first_uses == 1

    run(world, test, poll_seconds=60.0, flush_seconds=60.0)
    assert world.uses() == (6, 1000, 1000)


def test_uses_are_written_from_time_to_time(world: World) -> None:
    async def test(directory: TokenCache) -> None:
        found = await directory.find_owner(world.token)
        assert found is not None
        await directory.record_use(found)

        async def written() -> bool:
            return world.uses()[0] == 1

        await soon(written)

    run(world, test, flush_seconds=0.05)


def test_a_token_replaced_before_its_first_use_is_refused(world: World) -> None:
    async def test(directory: TokenCache) -> None:
        found = await directory.find_owner(world.token)
        assert found is not None
        world.new_token()
        world.new_token()  # takes the place of the bootstrap token
        assert await directory.record_use(found) is False
        assert await directory.find_owner(world.token) is None

    run(world, test, poll_seconds=60.0)


def test_known_tokens_stay_good_while_the_store_is_away(world: World) -> None:
    async def test(directory: TokenCache) -> None:
        found = await directory.find_owner(world.token)
        assert found is not None
        world.tokens.down = True
        assert await directory.find_owner(world.token) == found
        with pytest.raises(RetriableError):
            await directory.find_owner("unheard of")
        with pytest.raises(RetriableError):
            await directory.record_use(found)
        world.tokens.down = False
        assert await directory.record_use(found)

    run(world, test, poll_seconds=60.0)


@pytest.mark.parametrize("asks_first", ["endpoint", "fast path"])
def test_a_token_expires_while_the_store_does_not_answer_its_watch(
    world: World, asks_first: str
) -> None:
    ends_at = time.time_ns() // 1000 + 3_600_000_000
    world.elsewhere.tokens.expire_token(TokenFilter(("import",)), world.bootstrap.id, ends_at)
    now = ends_at - 1

    async def test() -> None:
        nonlocal now
        directory = TokenCache(world.store, lambda: now)
        await directory.start()  # and no watch: it waits for the store
        known = await directory.find_owner(world.token)
        assert known is not None
        assert await directory.record_use(known)
        assert directory.get_known_owner(digest_text(world.token)) == known
        world.tokens.down = True
        now = ends_at
        if asks_first == "fast path":
            assert directory.get_known_owner(digest_text(world.token)) is None
        with pytest.raises(RetriableError):
            await directory.find_owner(world.token)
        assert directory.get_known_owner(digest_text(world.token)) is None
        world.tokens.down = False
        await directory.aclose()

    asyncio.run(test())


def test_no_token_is_good_when_the_store_was_away_for_too_long(world: World) -> None:
    now = [100.0]
    ask = world.store.get_revision

    def refuse() -> int:
        raise RetriableError("the store is away")

    async def test(directory: TokenCache) -> None:
        found = await directory.find_owner(world.token)
        assert found is not None
        assert await directory.record_use(found)
        await directory.refresh()
        found = await directory.find_owner(world.token)
        assert found is not None
        sha256 = digest_text(world.token)
        now[0] += 3600.0
        assert not directory.is_outdated(ask(), now[0])  # the watch asked; nothing has changed
        directory.judge_age()
        assert directory.find_staleness() is None
        world.store.get_revision = refuse  # type: ignore[method-assign]
        now[0] += 59.0
        directory.judge_age()
        assert directory.find_staleness() is None
        assert await directory.find_owner(world.token) == found
        assert directory.get_known_owner(sha256) is not None
        now[0] += 2.0
        directory.judge_age()
        assert directory.find_staleness() == (
            "tokens cannot be checked: the store was not reached for 61 s"
        )
        assert directory.get_known_owner(sha256) is None  # as the fast path asks
        with pytest.raises(RetriableError, match="tokens cannot be checked"):
            await directory.find_owner(world.token)
        with pytest.raises(RetriableError):
            await directory.refresh()
        world.store.get_revision = ask  # type: ignore[method-assign]
        world.elsewhere.tokens.revoke_token(CLIENT, world.source.id, found.token_id)
        await directory.refresh()
        assert directory.find_staleness() is None
        assert await directory.find_owner(world.token) is None  # what was revoked meanwhile

    run(world, test, poll_seconds=3600.0, stale_seconds=60.0, monotonic=lambda: now[0])


def test_tokens_of_a_file_do_not_become_stale(world: World) -> None:
    now = [100.0]

    async def test(directory: TokenCache) -> None:
        now[0] += 1e6
        directory.judge_age()
        assert directory.find_staleness() is None
        assert await directory.find_owner(world.token) is not None

    run(world, test, poll_seconds=3600.0, monotonic=lambda: now[0])


def test_a_store_that_answers_nothing_is_not_awaited_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "ANSWER_SECONDS_MAX", 0.05)
    answered = threading.Event()

    def hang(sha256: bytes) -> TokenOwner | None:
        answered.wait(60.0)
        return None

    async def test(directory: TokenCache) -> None:
        monkeypatch.setattr(world.tokens, "find_sender", hang)
        with pytest.raises(RetriableError, match="does not answer"):
            await directory.find_owner("unheard of")
        assert await directory.find_owner(world.token) is not None
        answered.set()

    run(world, test, poll_seconds=3600.0, stale_seconds=60.0)


def test_uses_survive_a_store_that_is_away(world: World) -> None:
    async def test(directory: TokenCache) -> None:
        found = await directory.find_owner(world.token)
        assert found is not None
        await directory.record_use(found)
        world.tokens.down = True
        with pytest.raises(RetriableError):
            await directory.flush_uses()
        await directory.record_use(found)
        world.tokens.down = False

    run(world, test, poll_seconds=60.0, flush_seconds=60.0)
    assert world.uses()[0] == 2


def test_requests_with_a_revoked_token_are_counted(world: World) -> None:
    world.elsewhere.tokens.revoke_token(CLIENT, world.source.id, world.bootstrap.id)

    async def test(directory: TokenCache) -> None:
        for _ in range(3):
            assert await directory.find_owner(world.token) is None
        assert await directory.find_owner("at_never_was") is None
        await directory.flush_uses()
        await directory.flush_uses()

    run(world, test)
    [token] = world.store.tokens.find_tokens(TokenFilter(("import",), CLIENT))
    assert (token.refused, token.refused_at) == (3, 1000)


def test_only_so_many_refused_tokens_are_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "REFUSED_TOKENS_MAX", 2)
    counted: list[int] = []
    monkeypatch.setattr(
        TokenRepository, "record_refusals", lambda _, refused: counted.append(len(refused))
    )

    async def test(directory: TokenCache) -> None:
        for number in range(5):
            assert await directory.find_owner(f"at_{number}") is None
        await directory.flush_uses()

    run(world, test)
    assert counted == [2]
