"""How many tables a source may have: exact over all appenders, and only its own request fails."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from treadle.log.protocol import IdempotencyKey, NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.quotas import QuotaReachedError


def entries(source_id: int, *tables: str) -> list[NewEntry]:
    return [NewEntry(source_id, table, 1, 1, b"x") for table in tables]


def open_log(path: Path, tables_max: int) -> SqliteAppender:
    return SqliteAppender(
        path, get_tables_max=lambda source_id: tables_max if source_id == 1 else 0
    )


def list_tables(path: Path) -> list[tuple[int, str]]:
    reader = SqliteReader(path)
    try:
        return sorted(reader.statistics.list_tables())
    finally:
        reader.close()


async def append_all(
    log: SqliteAppender, requests: Sequence[Sequence[NewEntry]]
) -> list[int | BaseException]:
    return await asyncio.gather(*map(log.append, requests), return_exceptions=True)


def test_a_request_with_too_many_tables_leaves_nothing_and_others_of_its_group_are_stored(
    log_path: Path,
) -> None:
    async def run() -> None:
        log = open_log(log_path, 3)
        found = await append_all(
            log,
            [
                entries(1, "a", "b", "a"),
                entries(1, "c", "d"),
                entries(2, "a", "b", "c", "d", "e"),
                entries(1, "a"),
                entries(1, "c"),
                entries(1, "d"),
            ],
        )
        await log.aclose()
        first, refused, second, third, fourth, last = found
        assert (first, second, third, fourth) == (1, 4, 9, 10)
        for error in (refused, last):
            assert isinstance(error, QuotaReachedError)
            assert (error.source_id, error.quota) == (1, "tables")

    asyncio.run(run())
    assert list_tables(log_path) == [
        *((1, name) for name in "abc"),
        *((2, name) for name in "abcde"),
    ]
    reader = SqliteReader(log_path)
    assert sum(backlog.entries for backlog in reader.list_backlogs()) == 10
    reader.close()


def test_the_tables_of_all_appenders_count(log_path: Path) -> None:
    async def run() -> None:
        one, two = open_log(log_path, 4), open_log(log_path, 4)
        await one.append(entries(1, "a"))
        await two.append(entries(1, "b"))
        await one.append(entries(1, "c"))
        await two.append(entries(1, "d"))
        for log in (one, two):
            with pytest.raises(QuotaReachedError, match="4 tables"):
                await log.append(entries(1, "e"))
        await one.append(entries(1, *"abcd"))
        await one.aclose()
        await two.aclose()

    asyncio.run(run())
    assert len(list_tables(log_path)) == 4


def test_many_at_once_take_the_last_places_and_no_more(log_path: Path) -> None:
    async def run() -> None:
        logs = [open_log(log_path, 50) for _ in range(3)]
        found = await asyncio.gather(
            *(
                append_all(log, [entries(1, f"{at} {n}") for n in range(40)])
                for at, log in enumerate(logs)
            )
        )
        answers = [one for its in found for one in its]
        assert sum(isinstance(one, int) for one in answers) == 50
        assert sum(isinstance(one, QuotaReachedError) for one in answers) == 70
        for log in logs:
            await log.aclose()

    asyncio.run(run())
    assert len(list_tables(log_path)) == 50


def test_a_refused_request_leaves_its_idempotency_key_free(log_path: Path) -> None:
    async def run() -> None:
        most = [1]
        log = SqliteAppender(log_path, get_tables_max=lambda _: most[0])
        key = IdempotencyKey(b"k" * 32, b"d" * 32)
        with pytest.raises(QuotaReachedError):
            await log.append_once(entries(1, "a", "b"), key)
        most[0] = 2
        stored = await log.append_once(entries(1, "a", "b"), key)
        assert not stored.duplicate
        assert (await log.append_once(entries(1, "a", "b"), key)).duplicate
        await log.aclose()

    asyncio.run(run())


def test_a_repeated_request_adds_no_tables_and_needs_no_room_for_any(log_path: Path) -> None:
    key = IdempotencyKey(b"k" * 32, b"d" * 32)
    other = IdempotencyKey(b"k" * 32, b"e" * 32)

    async def run() -> None:
        log = open_log(log_path, 2)
        assert (await log.append_once(entries(1, "a"), key)).first == 1
        for once in (key, other):
            found = await log.append_once(entries(1, "b", "c", "d"), once)
            assert (found.first, found.duplicate, found.digest) == (1, True, key.digest)
        await log.append(entries(1, "b"))
        await log.aclose()

    asyncio.run(run())
    assert list_tables(log_path) == [(1, "a"), (1, "b")]


def test_a_table_that_was_only_marked_counts_like_the_others(log_path: Path) -> None:
    async def run() -> None:
        log = open_log(log_path, 2)
        await log.append(entries(1, "a"))
        reader = SqliteReader(log_path)
        reader.mark_loaded(1, "marked", 1)
        reader.list_backlogs()
        reader.close()
        with pytest.raises(QuotaReachedError):
            await log.append(entries(1, "c"))
        await log.append(entries(1, "marked"))
        await log.aclose()

    asyncio.run(run())
