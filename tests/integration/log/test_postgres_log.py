"""The log on PostgreSQL when connections, commits, pages and servers fail."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.faults.proxy import Cut, Proxy, before
from tests.integration.log.kinds import PostgresKind
from tests.servers.database_server import NoServerError
from tests.servers.postgres import PostgresServer

from treadle.errors import OperatorError, RetriableError
from treadle.log import remote_registry
from treadle.log.postgres import appender as appending
from treadle.log.postgres import lane, reading, session, statements
from treadle.log.postgres.appender import PostgresAppender
from treadle.log.postgres.installation import (
    look_at_server,
    make_log,
)
from treadle.log.postgres.keeper import KeeperConnection, LogKeeper
from treadle.log.postgres.reader import MARK_SECONDS, PostgresReader
from treadle.log.postgres.schema import MARK_LOCK, SCHEMA_LOCK
from treadle.log.postgres.segment_choice import RESCUE_PAUSE_US
from treadle.log.postgres.statements import POSITION_JUMP
from treadle.log.protocol import (
    AppendResult,
    AppendUnknownError,
    DamagedEntry,
    IdempotencyKey,
    LogEntry,
    LogInfo,
    LogReader,
    NewEntry,
    TrimPoint,
)
from treadle.log.quota import LogQuota
from treadle.log.slots import SLOTS, compute_slot

AT = 1_700_000_000_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that these tests may stop, kill and damage."""
    try:
        made = PostgresServer()
    except NoServerError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have a PostgreSQL server: {error}")
        pytest.skip(str(error))
    with made as running:
        yield running


@pytest.fixture
def kind(server: PostgresServer) -> Iterator[PostgresKind]:
    server.start()
    url = server.lend_database()
    yield PostgresKind(url)
    server.start()
    server.take_back(url)


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[Proxy]:
    with before("127.0.0.1", server.port) as proxy:
        yield proxy


def entry(payload: bytes = b"[1]", table: str = "orders") -> NewEntry:
    return NewEntry(1, table, AT, 1, payload)


def once(name: str) -> IdempotencyKey:
    return IdempotencyKey(name.encode().ljust(32), b"d" * 32)


def through(kind: PostgresKind, server: PostgresServer, proxy: Proxy) -> PostgresAppender:
    """An appender that reaches the server by a proxy."""
    url = kind.url.replace(f":{server.port}/", f":{proxy.port}/")
    return PostgresAppender(url, kind.number)


def fill(kind: PostgresKind, *groups: Sequence[NewEntry]) -> None:
    """Accept groups of entries, one after the other."""

    async def append() -> None:
        appender = kind.open_appender()
        for group in groups:
            await appender.append(group)
        await appender.aclose()

    asyncio.run(append())


def count_waiting(reader: PostgresReader) -> dict[str, int]:
    """Table -> entries that wait, as a look tells."""
    return {one.table_name: one.entries for one in reader.list_backlogs()}


def payloads(kind: PostgresKind) -> list[tuple[int, bytes]]:
    with closing(kind.open_reader()) as reader:
        found = reader.find_entries(1, 10**7)
    assert all(isinstance(one, LogEntry) for one in found)
    return [(one.position, one.payload) for one in found if isinstance(one, LogEntry)]


async def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


# Answers that do not come


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("cut", ["before", "sent", "answered"])
def test_a_cut_connection_loses_and_doubles_nothing(
    kind: PostgresKind, server: PostgresServer, proxy: Proxy, cut: Cut, keyed: bool
) -> None:
    async def run() -> tuple[list[AppendResult | int], dict[str, int]]:
        appender = through(kind, server, proxy)
        await appender.append([entry(b"first")])
        proxy.mark, proxy.cut = b"cut here", cut

        async def one(number: int) -> AppendResult | int:
            given = [entry(b"cut here %d %d" % (number, part)) for part in (0, 1)]
            if keyed:
                return await appender.append_once(given, once(f"key {number}"))
            return await appender.append(given)

        found = await asyncio.gather(*[one(number) for number in range(5)])
        await appender.append([entry(b"last")])
        await appender.aclose()
        return found, appender.resolved

    found, resolved = asyncio.run(run())
    assert proxy.cuts == 1
    there = dict(payloads(kind))
    assert sorted(there) == list(range(1, 13))
    for number, one in enumerate(found):
        first = one.first if isinstance(one, AppendResult) else one
        assert not isinstance(one, AppendResult) or not one.duplicate
        assert [there[first], there[first + 1]] == [
            b"cut here %d 0" % number,
            b"cut here %d 1" % number,
        ]
    assert resolved["unknown"] == 0
    assert sum(resolved.values()) == 1
    if cut == "before":
        assert resolved["not stored"] == 1
    if cut == "answered":
        assert resolved["stored"] == 1


@contextlib.contextmanager
def without_standby(server: PostgresServer) -> Iterator[Callable[[], None]]:
    """Let commits wait for a standby that is not there; gives what ends that."""

    def set_names(names: str) -> None:
        server.execute(
            psycopg.sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(names)
        )
        server.execute(psycopg.sql.SQL("SELECT pg_reload_conf()"))

    set_names("nobody")
    try:
        yield lambda: set_names("")
    finally:
        set_names("")


def end_waits(server: PostgresServer, how: str) -> int:
    """End the statements that wait for a standby; returns how many did."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        rows = connection.execute(
            f"SELECT {how}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'".encode()
        ).fetchall()
    return len(rows)


def count_waits(server: PostgresServer) -> int:
    """How many statements wait for a standby."""
    return end_waits(server, "abs")


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_commit_whose_wait_for_a_standby_was_ended_is_not_answered_before_it_is_confirmed(
    kind: PostgresKind, server: PostgresServer, how: str
) -> None:
    """A cancelled wait answers success, though no standby has the rows."""

    async def run() -> tuple[int, int, dict[str, int]]:
        appender = kind.open_appender()
        done = await appender.append([entry(b"0")])  # which adds the table
        with without_standby(server) as finish:
            while True:  # until the server knows its setting
                asked = asyncio.ensure_future(appender.append([entry(b"%d" % done)]))
                await until(lambda asked=asked: asked.done() or count_waits(server))  # type: ignore[misc]  # bound now
                if not asked.done():
                    break
                done = await asked
            assert await asyncio.to_thread(end_waits, server, how) == 1
            # The rows are visible now, and a write that waits makes sure of them.
            await until(lambda: len(payloads(kind)) == done + 1)
            await until(lambda: count_waits(server))
            assert not asked.done()
            finish()
            found = await asked
        await appender.aclose()
        return done, found, appender.resolved

    done, found, resolved = asyncio.run(run())
    assert found == done + 1
    assert resolved == {"stored": 1, "not stored": 0, "unknown": 0}
    assert payloads(kind) == [(position + 1, b"%d" % position) for position in range(found)]


def test_a_session_is_ended_however_often_the_next_one_is_lost(
    kind: PostgresKind, server: PostgresServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has under way would be visible after all, when it was appended again."""
    monkeypatch.setattr(session, "SILENCE_SECONDS_MAX", 1.0)

    def list_waits() -> list[str]:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            rows = connection.execute(
                "SELECT query FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            ).fetchall()
        return ["confirm" if "confirms" in query else "append" for (query,) in rows]

    async def run() -> tuple[int, int]:
        appender = through(kind, server, proxy)
        done = await appender.append([entry(b"0")])
        with without_standby(server) as finish:
            proxy.mark, proxy.cut = b"pg_terminate_backend", "before"
            while True:  # until the server knows its setting
                asked = asyncio.ensure_future(appender.append([entry(b"%d" % done)]))
                await until(lambda asked=asked: asked.done() or list_waits())  # type: ignore[misc]  # bound now
                if not asked.done():
                    break
                done = await asked
            await until(lambda: proxy.cuts)
            await until(lambda: list_waits() == ["confirm"])
            finish()
            found = await asked
        await appender.aclose()
        return done, found

    done, found = asyncio.run(run())
    assert found == done + 1
    assert payloads(kind) == [(position + 1, b"%d" % position) for position in range(found)]


def test_a_process_that_stands_still_in_the_middle_of_an_append_keeps_nobody_waiting(
    kind: PostgresKind, server: PostgresServer
) -> None:
    """The server waits for the rest of a pipeline, and no timeout of it counts meanwhile."""

    def is_held() -> bool:
        with psycopg.connect(kind.url) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'still'"
                " AND wait_event = 'ClientRead' AND backend_xid IS NOT NULL"
            ).fetchone()
        return row == (1,)

    async def run() -> list[int]:
        appender = kind.open_appender()
        found = [await appender.append([entry(b"0")])]
        still = psycopg.connect(kind.url, application_name="still").pgconn
        still.enter_pipeline_mode()
        for statement in ("BEGIN", "UPDATE treadle_log.logs SET last = last + 100"):
            still.send_query_params(statement.encode(), [])
        still.flush()
        await until(is_held)
        found.append(await appender.append([entry(b"1")]))
        assert not is_held()
        still.finish()
        await appender.aclose()
        return found

    first, second = asyncio.run(run())
    assert second == first + 1
    assert payloads(kind) == [(first, b"0"), (second, b"1")]


def begin_still(
    kind: PostgresKind, name: str, statement: str, values: Sequence[int | bytes]
) -> "psycopg.pq.abc.PGconn":
    """Begin a transaction in a pipeline whose end does not come."""
    still = psycopg.connect(kind.url, application_name=name).pgconn
    still.enter_pipeline_mode()
    still.send_query_params(b"BEGIN", [])
    encoded = [one if isinstance(one, bytes) else b"%d" % one for one in values]
    formats = [int(isinstance(one, bytes)) for one in values]
    still.send_query_params(statement.encode(), encoded, param_formats=formats)
    still.send_flush_request()
    still.flush()
    return still


def find_still(kind: PostgresKind) -> set[str]:
    """The sessions that hold something and wait for their clients."""
    with psycopg.connect(kind.url) as connection:
        rows = connection.execute(
            """
            SELECT a.application_name FROM pg_stat_activity AS a
            WHERE a.application_name LIKE 'still %' AND a.wait_event = 'ClientRead'
                AND EXISTS (
                    SELECT FROM pg_locks AS l WHERE l.pid = a.pid AND (
                        l.locktype = 'advisory' AND l.granted OR l.mode = 'RowExclusiveLock'
                    )
                )
            """
        ).fetchall()
    return {name for (name,) in rows}


@pytest.mark.release
def test_what_a_process_that_stands_still_holds_is_taken_from_it(
    kind: PostgresKind, server: PostgresServer
) -> None:
    """A key and the lists of tables, those of a process of the release before too."""
    key = once("a")
    put_key = """
        INSERT INTO treadle_log.requests (name, digest, log, first, at) VALUES ($1, $2, 1, 0, 0)
        """
    holding: dict[str, tuple[str, list[int | bytes]]] = {
        "still key": (put_key, [key.name, key.digest]),
        "still table": (statements.LOCK_TABLES, [kind.number]),
        "still before": (
            "SELECT pg_advisory_xact_lock($1, $2)",
            [SCHEMA_LOCK, kind.number],
        ),
    }

    async def run(name: str) -> tuple[int, bool, int]:
        appenders = [kind.open_appender() for _ in range(2)]
        await appenders[0].append([entry()])
        still = begin_still(kind, name, *holding[name])
        await until(lambda: find_still(kind) == {name})
        keyed, added = await asyncio.gather(
            appenders[0].append_once([entry(b"keyed")], key),
            appenders[1].append([entry(b"added", f"of {name}")]),
        )
        assert find_still(kind) == set()
        still.finish()
        for appender in appenders:
            await appender.aclose()
        return keyed.first, keyed.duplicate, added

    found = [asyncio.run(run(name)) for name in holding]
    [first] = {first for first, _, _ in found}
    assert [duplicate for _, duplicate, _ in found] == [False, True, True]
    there = dict(payloads(kind))
    assert there[first] == b"keyed"
    assert [there[added] for _, _, added in found] == [b"added"] * 3


@pytest.mark.release
def test_an_import_is_not_taken_for_a_process_that_stands_still(kind: PostgresKind) -> None:
    """It sends keys for as long as it takes, and the server waits for them meanwhile."""
    with psycopg.connect(kind.url, application_name="still import") as importing:
        importing.execute(statements.LOCK_IMPORT.replace("$1", "99"))
        put_key = "INSERT INTO treadle_log.requests VALUES ('x', 'y', 99, 0, 0)"
        importing.execute(put_key.encode())
        with psycopg.connect(kind.url, autocommit=True) as connection:
            wait = (
                "SELECT pg_sleep(0.1) FROM pg_stat_activity WHERE application_name = 'still import'"
            )
            old = " AND state_change < clock_timestamp() - interval '2.1 seconds'"
            while not connection.execute((wait + old).encode()).fetchall():
                pass
            assert connection.execute(statements.END_HOLDERS.encode()).rowcount == 0
        assert importing.execute("SELECT count(*) FROM treadle_log.requests").fetchone() == (1,)


def test_a_loader_that_stands_still_while_it_writes_marks_keeps_nobody_waiting(
    kind: PostgresKind,
) -> None:
    """Marks are hints: other loaders write theirs later, and gates add tables meanwhile."""

    fill(kind, [entry(table="a")], [entry(table="b")])
    with closing(kind.open_reader()) as reader, closing(kind.open_reader()) as other:
        assert count_waiting(reader) == count_waiting(other) == {"a": 1, "b": 1}
        with psycopg.connect(kind.url, application_name="still marks") as still:
            still.execute(f"SELECT pg_advisory_xact_lock({MARK_LOCK}, {kind.number})".encode())
            reader.mark_loaded(1, "a", 1)
            assert count_waiting(reader) == {"b": 1}
            assert count_waiting(reader) == {"b": 1}
            assert count_waiting(other) == {"a": 1, "b": 1}
            fill(kind, [entry(table="c")])
            assert find_still(kind) == {"still marks"}
            assert count_waiting(reader) == {"b": 1, "c": 1}
        assert count_waiting(reader) == count_waiting(other) == {"b": 1, "c": 1}


def test_a_loader_of_the_release_before_that_stands_still_keeps_no_loader_waiting(
    kind: PostgresKind,
) -> None:
    """It holds what was the one lock of marks and of tables."""

    fill(kind, [entry(table="a"), entry(table="b")])
    with closing(kind.open_reader()) as reader:
        with psycopg.connect(kind.url) as still:
            still.execute(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK}, {kind.number})".encode())
            reader.mark_loaded(1, "a", 1)
            assert [one.table_name for one in reader.list_backlogs()] == ["b"]
        reader.list_backlogs()
        with closing(kind.open_reader()) as other:
            assert [one.table_name for one in other.list_backlogs()] == ["b"]


def test_a_transaction_of_marks_ends_soon_when_its_process_stands_still(
    kind: PostgresKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(kind, [entry()])
    seen: list[str] = []
    change_rows = reading.ReaderConnection.change

    def change(self: reading.ReaderConnection, statement: str, *values: Any) -> int:
        [(timeout,)] = self.execute("SHOW idle_in_transaction_session_timeout")
        seen.append(timeout)
        return change_rows(self, statement, *values)

    monkeypatch.setattr(reading.ReaderConnection, "change", change)
    with closing(kind.open_reader()) as reader:
        reader.mark_loaded(1, "orders", 1)
        reader.list_backlogs()
    assert seen == ["3s"]


def test_a_loader_goes_on_where_its_marks_are_not_taken(
    kind: PostgresKind, caplog: pytest.LogCaptureFixture
) -> None:
    """As when the disk of the server is full: what is loaded makes room."""

    fill(kind, [entry(table="a"), entry(table="b")])
    refuse = "ADD CONSTRAINT unmarked CHECK (marked = 0) NOT VALID"
    with closing(kind.open_reader()) as reader, closing(kind.open_reader()) as other:
        change(kind, f"ALTER TABLE treadle_log.tables {refuse}")
        reader.mark_loaded(1, "a", 1)
        for _ in range(2):
            assert [one.table_name for one in reader.list_backlogs()] == ["b"]
        assert [one.table_name for one in other.list_backlogs()] == ["a", "b"]
        [said] = [record.message for record in caplog.records]
        assert said.startswith("log 1 does not take how far tables are loaded, and is told again: ")
        change(kind, "ALTER TABLE treadle_log.tables DROP CONSTRAINT unmarked")
        reader.list_backlogs()
        assert [one.table_name for one in other.list_backlogs()] == ["b"]


def test_a_killed_server_is_waited_for(kind: PostgresKind, server: PostgresServer) -> None:
    async def run() -> list[int]:
        appender = kind.open_appender()
        done: list[int] = []

        async def push(number: int) -> None:
            for turn in range(20):
                position = await appender.append([entry(b"%d %d" % (number, turn))])
                done.append(position)  # at once: others look at it

        pushing = asyncio.gather(*[push(number) for number in range(8)])
        await until(lambda: len(done) > 20)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await pushing
        await appender.aclose()
        return done

    done = asyncio.run(run())
    there = payloads(kind)
    assert len(done) == len(set(done)) == len(there) == 160
    assert {position for position, _ in there} == set(done)
    assert len({payload for _, payload in there}) == 160


def test_what_was_sent_is_unknown_and_what_was_not_is_refused(
    kind: PostgresKind,
    server: PostgresServer,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane, "APPEND_SECONDS_MAX", 2.0)
    monkeypatch.setattr(appending, "SILENCE_SECONDS_MAX", 0.5)

    async def run() -> tuple[Any, Any, int]:
        appender = through(kind, server, proxy)
        await appender.append([entry(b"first")])
        proxy.mark, proxy.cut = b"cut here", "answered"
        sent = asyncio.ensure_future(appender.append([entry(b"cut here")]))
        await until(lambda: proxy.cuts)
        server.kill()
        waiting = asyncio.ensure_future(appender.append([entry(b"waits")]))
        await asyncio.sleep(0.6)
        with pytest.raises(RetriableError, match="has not answered for"):
            await appender.append([entry(b"turned away")])
        found = await asyncio.gather(sent, waiting, return_exceptions=True)
        server.start()
        await until(lambda: appender.find_refusal() is None)
        last = await appender.append([entry(b"last")])
        await appender.aclose()
        return found[0], found[1], last

    sent, waiting, last = asyncio.run(run())
    # Between the cut and the kill the lane may have found it out.
    assert isinstance(sent, AppendUnknownError | int)
    assert isinstance(waiting, RetriableError)
    assert payloads(kind)[-1] == (last, b"last")
    assert b"waits" not in {payload for _, payload in payloads(kind)}


def test_too_much_waiting_is_turned_away(kind: PostgresKind) -> None:
    async def run() -> None:
        appender = PostgresAppender(kind.url, kind.number, pending_bytes_max=10_000)
        await appender.append([entry()])
        with psycopg.connect(kind.url) as connection:
            connection.execute("SELECT 1 FROM treadle_log.logs FOR UPDATE")
            first = asyncio.ensure_future(appender.append([entry(b"x" * 8_900)]))
            await asyncio.sleep(0)
            with pytest.raises(RetriableError, match="bytes wait for the log's database"):
                await appender.append([entry(b"x" * 1_000)])
        assert await first == 2
        assert await appender.append([entry(b"x" * 20_000)]) == 3
        await appender.aclose()

    asyncio.run(run())


def test_a_full_log_refuses_until_some_is_removed(
    kind: PostgresKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "MEASURE_SECONDS", 0.0)
    monkeypatch.setattr(appending, "RECOVER_SECONDS", 0.05)

    async def run() -> int:
        appender = PostgresAppender(kind.url, kind.number, quota=LogQuota(bytes_max=600_000))
        accepted, said = 0, ""
        while not said:
            try:
                await appender.append([entry(os.urandom(50_000))])
                accepted += 1
            except RetriableError as error:
                said = str(error)
        assert said.startswith("the log holds ")
        with closing(kind.open_reader()) as reader:
            reader.mark_loaded(1, "orders", accepted)
            assert reader.trim([TrimPoint(1, "orders", accepted)]) == 0
            assert len(reader.find_entries(1, accepted)) == accepted
            kind.keep(bytes_max=600_000)  # it seals the segment, which goes at once
            assert reader.find_entries(1, accepted) == []
        await until(lambda: appender.find_refusal() is None)
        assert await appender.append([entry()]) == accepted + 1
        await appender.aclose()
        return accepted

    assert 3 < asyncio.run(run()) < 15


# Processes that die


DYING = """
import asyncio, sys
from treadle import failpoint
from treadle.log.postgres.appender import PostgresAppender
from treadle.log.postgres.keeper import KeeperConnection, LogKeeper
from treadle.log.postgres.reader import PostgresReader
from treadle.log.protocol import IdempotencyKey, NewEntry, TrimPoint

url, plan, work = sys.argv[1:]

async def append():
    appender = PostgresAppender(url, 1)
    failpoint.arm(plan)
    given = [NewEntry(1, "orders", 1_700_000_000_000_000, 1, b"first")] * 2
    await appender.append_once(given, IdempotencyKey(b"a".ljust(32), b"d" * 32))

def keep():
    failpoint.arm(plan)
    always = lambda *values, has_entries: True
    LogKeeper(KeeperConnection(url), 1, 1, should_switch_segment=always).keep()

def trim():
    failpoint.arm(plan)
    reader = PostgresReader(url, 1)
    reader.mark_loaded(1, "orders", 2)
    reader.trim([TrimPoint(1, "orders", 2)])

asyncio.run(append()) if work == "append" else keep() if work == "keep" else trim()
"""


def die(kind: PostgresKind, folder: Path, point: str, work: str) -> None:
    """Let a process do some work, and die at a failpoint."""
    plan = folder / "plan"
    plan.write_text(json.dumps({"point": point}))
    done = subprocess.run(
        [sys.executable, "-c", DYING, kind.url, str(plan), work], check=False, timeout=120
    )
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("point", "stored"),
    [("log.pg.before-append", False), ("log.pg.after-append", True), ("log.answer", True)],
)
def test_what_a_killed_process_stored_is_told_to_who_repeats(
    kind: PostgresKind, tmp_path: Path, point: str, stored: bool
) -> None:
    die(kind, tmp_path, point, "append")

    async def run() -> AppendResult:
        appender = kind.open_appender()
        found = await appender.append_once([entry(b"again")] * 2, once("a"))
        await appender.aclose()
        return found

    assert asyncio.run(run()) == AppendResult(1, b"d" * 32, duplicate=stored)
    assert payloads(kind) == [(n, b"first" if stored else b"again") for n in (1, 2)]


def test_a_keeper_that_dies_leaves_whole_segments(kind: PostgresKind, tmp_path: Path) -> None:
    async def run() -> int:
        appender = kind.open_appender()
        found = await appender.append([entry()])
        await appender.aclose()
        return found

    assert asyncio.run(run()) == 1
    die(kind, tmp_path, "keeper.switch", "keep")
    assert asyncio.run(run()) == 2
    kind.roll()
    assert asyncio.run(run()) == 3
    die(kind, tmp_path, "keeper.drop", "trim")
    with closing(kind.open_reader()) as reader:
        assert [one.position for one in reader.find_entries(1, 9)] == [1, 2, 3]
        assert reader.trim([]) == 2  # its table remembers how far it may be trimmed
        assert [one.position for one in reader.find_entries(1, 9)] == [3]


# Another server, another log


def change(kind: PostgresKind, statement: str) -> None:
    with psycopg.connect(kind.url, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_positions_jump_on_another_timeline(kind: PostgresKind) -> None:
    """A lost end of the log may have been loaded, so none of its positions is given again."""

    async def run() -> list[int]:
        found = []
        for _ in range(2):
            appender = kind.open_appender()
            found += [await appender.append([entry()] * 2), await appender.append([entry()])]
            await appender.aclose()
            change(kind, "UPDATE treadle_log.logs SET timeline = timeline - 1")
        return found

    reader = kind.open_reader()
    first = asyncio.run(run())
    assert first == [1, 3, POSITION_JUMP + 4, POSITION_JUMP + 6]
    assert [one.entries for one in reader.list_backlogs()] == [6]
    reader.close()
    with closing(kind.open_reader()) as reader:  # which sees that the server is another one, too
        reader.mark_loaded(1, "orders", 2 * POSITION_JUMP)
        assert reader.list_backlogs() == []


def test_a_lane_appends_to_no_other_log(
    kind: PostgresKind, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        appender = kind.open_appender()
        await appender.append([entry()])
        change(kind, "UPDATE treadle_log.logs SET log_id = 'another'")
        change(
            kind,
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE application_name LIKE 'treadle %' AND pid <> pg_backend_pid()",
        )
        with pytest.raises((RetriableError, AppendUnknownError), match="another log has taken"):
            await appender.append([entry()])
        await appender.aclose()

    asyncio.run(run())
    assert len(payloads(kind)) == 1


def test_a_closed_log_takes_nothing(kind: PostgresKind) -> None:
    change(kind, "UPDATE treadle_log.logs SET state = 'closed'")

    async def run() -> None:
        appender = kind.open_appender()
        for appended in (appender.append([entry()]), appender.append_once([entry()], once("a"))):
            with pytest.raises(RetriableError, match="log 1 is closed"):
                await appended
        await appender.aclose()

    asyncio.run(run())
    assert payloads(kind) == []
    with closing(kind.open_reader()) as reader:
        assert reader.statistics.find_keys([once("a").name]) == {}


def test_a_reader_goes_on_after_its_connection_was_lost(
    kind: PostgresKind, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Otherwise it would not try to connect for a while, and a server may start in less.
    monkeypatch.setattr(reading, "RETRY_SECONDS", 0.0)

    async def run() -> None:
        appender = kind.open_appender()
        await appender.append([entry(b"a"), entry(b"b")])
        await appender.aclose()

    asyncio.run(run())
    with closing(kind.open_reader()) as reader:
        assert [one.entries for one in reader.list_backlogs()] == [2]
        server.kill()
        with pytest.raises(RetriableError, match="not available now"):
            reader.list_backlogs()
        server.start()
        assert [one.entries for one in reader.list_backlogs()] == [2]
        assert len(reader.read(1, "orders", 0, 10, 10)) == 2


def open_remote_reader(url: str, number: int) -> LogReader:
    """Open the log of that number, whatever its name is."""
    with closing(PostgresReader(url, number)) as reader:
        log_id = reader.log_id
    return remote_registry.open_remote_reader(
        LogInfo(number, log_id, remote_registry.POSTGRES, url)
    )


def test_what_cannot_be_opened_says_why(kind: PostgresKind, server: PostgresServer) -> None:
    with pytest.raises(OperatorError, match="has no log 9"):
        PostgresAppender(kind.url, 9)
    with pytest.raises(OperatorError, match="has no log 9"):
        open_remote_reader(kind.url, 9)
    wrong = server.url(password="secret-word")
    every: tuple[Callable[[str, int], object], ...] = (
        PostgresAppender,
        open_remote_reader,
        make_log,
    )
    for opens in every:
        with pytest.raises((OperatorError, RetriableError)) as found:
            opens(wrong, 1)
        assert "password authentication failed" in str(found.value)
        assert "secret-word" not in str(found.value)
    for url in ("nats://h/x?token=secret-word", "secret-word"):
        with pytest.raises(OperatorError, match=r"begins with postgresql://") as refused:
            remote_registry.make_remote_log(url, 1, "here")
        assert "secret-word" not in str(refused.value)
    with pytest.raises(OperatorError, match="is not a PostgreSQL URL") as refused:
        open_remote_reader("postgresql://u:secret@word@h/d", 1)
    assert "secret" not in str(refused.value)
    change(kind, "UPDATE treadle_log.logs SET form = 99")
    for opens in every:
        with pytest.raises(OperatorError, match=r"made by a newer treadle \(its form is 99"):
            opens(kind.url, kind.number)


def explain(kind: PostgresKind, statement: str, *values: str) -> str:
    """How the server runs a statement where it takes an index if it can."""
    with psycopg.connect(kind.url) as connection:
        connection.execute("SET LOCAL enable_seqscan = off")
        for number, value in enumerate(values, start=1):
            statement = statement.replace(f"${number}", value)
        rows = connection.execute(f"EXPLAIN {statement}".encode()).fetchall()
    return "\n".join(line for (line,) in rows)


# Segments


def test_segments_go_when_all_of_their_tables_may(kind: PostgresKind) -> None:
    fill(kind, [entry(table="a")], [entry(table="b")], [entry(table="a")])
    kind.roll()
    fill(kind, [entry(table="a")], [entry(table="b")])
    kind.roll()
    fill(kind, [entry(table="a")])
    with closing(kind.open_reader()) as reader:
        assert [one.entries for one in reader.list_backlogs()] == [4, 2]
        reader.mark_loaded(1, "a", 6)
        reader.mark_loaded(1, "b", 2)
        assert reader.trim([TrimPoint(1, "a", 6)]) == 0
        assert reader.trim([TrimPoint(1, "b", 2)]) == 3
        assert [one.position for one in reader.find_entries(1, 10)] == [4, 5, 6]
        assert [(one.table_name, one.entries) for one in reader.list_backlogs()] == [("b", 1)]
        reader.mark_loaded(1, "b", 6)
        # A reader in a look keeps a segment, for now.
        with psycopg.connect(kind.url) as connection:
            connection.execute("SELECT 1 FROM treadle_log.e_1_2")
            assert reader.trim([TrimPoint(1, "b", 6)]) == 0
        assert reader.trim([]) == 2
        assert [one.position for one in reader.find_entries(1, 10)] == [6]


def test_what_cannot_be_loaded_is_copied_out_of_an_old_segment(kind: PostgresKind) -> None:
    for _ in range(2):
        fill(kind, [entry(b"%d" % n, "stuck" if n == 7 else "a") for n in range(30)])
        kind.roll()
    with closing(kind.open_reader()) as reader:
        reader.mark_loaded(1, "a", 60)
        waiting = reader.list_backlogs()
        assert [(one.table_name, one.entries) for one in waiting] == [("stuck", 2)]
        kind.keep(retention_us=10, now=100)
        assert [one.position for one in reader.find_entries(1, 100)] == [8, 38]
        assert reader.list_backlogs() == waiting
        assert [one.position for one in reader.read(1, "stuck", 0, 10, 100)] == [8, 38]
        with closing(kind.open_reader()) as other:
            assert other.list_backlogs() == waiting
        assert [one.position for one in reader.statistics.list_entries_below(None, 1)] == [38]
        reader.mark_loaded(1, "stuck", 8)
        assert reader.trim([TrimPoint(1, "stuck", 38)]) == 1
        assert [one.position for one in reader.read(1, "stuck", 0, 10, 100)] == [38]


def test_what_waits_of_an_old_segment_is_counted_once_an_hour(
    kind: PostgresKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A destination may be away for weeks, and there is a segment for each hour of them."""
    counted: list[int] = []
    make_count_stuck = statements.make_count_stuck

    def count(log: int, segment: int) -> str:
        counted.append(segment)
        return make_count_stuck(log, segment)

    monkeypatch.setattr(statements, "make_count_stuck", count)

    for _ in range(2):
        fill(kind, [entry(table="stuck" if n % 2 else "a") for n in range(20)])
        kind.roll()
    now = 10**6
    with closing(kind.open_reader()) as reader, closing(KeeperConnection(kind.url)) as connection:
        reader.mark_loaded(1, "a", 40)
        reader.list_backlogs()
        keeper = LogKeeper(connection, kind.number, 10, clock=lambda: now)
        for _ in range(2):
            keeper.keep()
        assert counted == [1, 2]
        reader.mark_loaded(1, "stuck", 20)
        reader.list_backlogs()
        now += RESCUE_PAUSE_US - 1
        keeper.keep()
        assert counted == [1, 2]
        now += 1
        for _ in range(2):
            keeper.keep()
        assert counted == [1, 2, 1, 2]
        assert [one.position for one in reader.find_entries(1, 99)] == list(range(21, 41))
    assert "e_1_2_by_table" in explain(kind, make_count_stuck(1, 2), "3")


def test_what_was_rescued_lies_between_what_other_segments_hold(kind: PostgresKind) -> None:
    for stuck in (range(1, 11), (8,), (3,)):
        fill(kind, [entry(table="stuck" if n in stuck else "a") for n in range(1, 21)])
        kind.roll()
    with closing(kind.open_reader()) as reader:
        reader.mark_loaded(1, "a", 60)
        reader.list_backlogs()
        kind.keep(retention_us=10, now=100)
        # Much of the first segment waits, so it is kept as it is.
        for loaded, expected in (
            (0, [*range(1, 11), 28, 43]),
            (5, [*range(6, 11), 28, 43]),
            (28, [43]),
            (9, [10, 28, 43]),
            (43, []),
        ):
            reader.mark_loaded(1, "stuck", loaded)
            assert [one.position for one in reader.read(1, "stuck", loaded, 99, 999)] == expected
            with closing(kind.open_reader()) as other:
                for its in (reader.list_backlogs(), other.list_backlogs()):
                    assert [one.entries for one in its] == ([len(expected)] if expected else [])


def test_what_another_loader_has_not_loaded_stays(kind: PostgresKind) -> None:
    """Its source was moved, and the former destination has more of it than the new one."""

    fill(kind, *[[entry(table="mine"), entry(table="others")]] * 2)
    kind.roll()
    with closing(kind.open_reader()) as keeping, closing(kind.open_reader()) as other:
        keeping.share_tables(frozenset({compute_slot(1, "mine")}), {})
        assert count_waiting(keeping) == {"mine": 2}
        keeping.mark_loaded(1, "mine", 3)
        other.mark_loaded(1, "others", 2)
        assert count_waiting(other)["others"] == 1
        points = [TrimPoint(1, "mine", 3), TrimPoint(1, "others", 4)]
        assert keeping.trim(points) == 0
        with closing(kind.open_reader()) as another:
            assert count_waiting(other) == count_waiting(another) == {"others": 1}
            assert len(another.read(1, "others", 2, 9, 99)) == 1
        other.mark_loaded(1, "others", 4)
        assert count_waiting(other) == {}
        assert keeping.trim(points) == 4


def test_an_append_goes_on_in_the_next_segment(kind: PostgresKind) -> None:
    async def run() -> list[int]:
        appender = kind.open_appender()
        found = []
        for number in range(4):
            found.append(await appender.append([entry(b"%d" % number)]))
            await asyncio.to_thread(kind.roll)
            key = once(f"key {number}")
            found.append((await appender.append_once([entry(b"keyed")], key)).first)
            await asyncio.to_thread(kind.roll)
        await appender.aclose()
        return found

    assert asyncio.run(run()) == list(range(1, 9))
    assert [position for position, _ in payloads(kind)] == list(range(1, 9))
    change(kind, "ANALYZE treadle_log.e_1_1")  # it is there


def test_a_reader_counts_the_tables_of_its_slots(kind: PostgresKind) -> None:
    tables = [f"t{n}" for n in range(12)]

    slots = frozenset(compute_slot(1, table) for table in tables[:4])
    mine = {table for table in tables if compute_slot(1, table) in slots}
    fill(kind, *[[entry(table=table) for table in tables]] * 2)
    with closing(kind.open_reader()) as reader:
        assert {one.table_name for one in reader.list_backlogs()} == set(tables)
        reader.share_tables(slots, {(1, "t0"): 1, (1, "t1"): 14, (1, "t11"): 3})
        found = count_waiting(reader)
        assert found == dict.fromkeys(mine - {"t0", "t1"}, 2) | {"t0": 1}


def test_who_takes_tables_over_writes_the_marks_of_a_lost_loader(kind: PostgresKind) -> None:
    """It knows from the store how far they are loaded; other readers have only the log."""

    fill(
        kind,
        [entry(table=table) for table in ("all", "half", "none", "all")],
        [entry(table="half")],
    )
    loaded = {(1, "all"): 4, (1, "half"): 2, (1, "older copy"): 9}
    with closing(kind.open_reader()) as successor:
        successor.share_tables(frozenset(range(SLOTS)), loaded)
        for _ in range(2):
            waiting = count_waiting(successor)
            assert waiting == {"half": 1, "none": 1}
        with closing(kind.open_reader()) as other:
            assert count_waiting(other) == waiting


def test_a_mark_that_was_set_back_is_known_to_who_set_it_back(kind: PostgresKind) -> None:
    """A former destination tells what it had, between what the new one told and the next write."""

    fill(kind, [entry(table="t")] * 9)
    now = 0.0
    with closing(PostgresReader(kind.url, kind.number, clock=lambda: now)) as reader:
        reader.mark_loaded(1, "t", 5)
        now += MARK_SECONDS
        assert [one.loaded for one in reader.list_backlogs()] == [5]
        reader.mark_loaded(1, "t", 9)
        assert reader.list_backlogs() == []
        reader.mark_loaded(1, "t", 5)
        now += MARK_SECONDS
        assert [one.loaded for one in reader.list_backlogs()] == [5]
        with closing(kind.open_reader()) as other:
            assert [one.loaded for one in other.list_backlogs()] == [5]


def test_what_is_loaded_beyond_the_end_of_a_log_is_not_marked(kind: PostgresKind) -> None:
    """The log is an older copy then: its next entries get those positions."""

    fill(kind, *[[entry(table="t")]] * 2)
    with closing(kind.open_reader()) as successor:
        successor.share_tables(frozenset(range(SLOTS)), {(1, "t"): 7})
        for _ in range(2):
            assert successor.list_backlogs() == []
    with closing(kind.open_reader()) as other:
        assert [one.entries for one in other.list_backlogs()] == [2]


# Logs of earlier releases


def test_who_keeps_a_log_adds_the_index_that_it_lacks(
    kind: PostgresKind, caplog: pytest.LogCaptureFixture
) -> None:
    """A look would read all tables of the database to see whether a log has a new one."""
    caplog.set_level("INFO", logger="treadle.log")
    look = (statements.LOOK, "'{1}'")
    new_tables = (statements.NEW_TABLES, "1", "7")
    for asked in (look, new_tables):
        assert "tables_by_id" in explain(kind, *asked)
    kind.keep()
    assert caplog.records == []
    change(kind, "DROP INDEX treadle_log.tables_by_id")
    with psycopg.connect(kind.url) as using:
        using.execute("LOCK TABLE treadle_log.tables IN ROW EXCLUSIVE MODE")
        kind.keep()  # it does what else is due
    assert "tables_by_id" not in explain(kind, *look)
    kind.keep()
    for asked in (look, new_tables):
        assert "tables_by_id" in explain(kind, *asked)
    name = "treadle_log.tables_by_id"
    assert [record.message for record in caplog.records] == [
        f"the index {name} cannot be made now: ERROR: canceling statement due to lock timeout",
        f"made the index {name}, which an earlier release did not know",
    ]


# Damage


def test_a_damaged_page_hides_only_its_own_entries(
    kind: PostgresKind, server: PostgresServer
) -> None:
    fill(kind, [entry(b"%d" % n * 40, "ab"[n % 3 == 0]) for n in range(300)])
    with psycopg.connect(kind.url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT pg_relation_filepath('treadle_log.e_1_1')").fetchone()
        lost = connection.execute(
            "SELECT position FROM treadle_log.e_1_1 WHERE (ctid::text::point)[0] = 2"
        ).fetchall()
    assert row is not None
    server.stop()
    with (server._root / "data" / row[0]).open("r+b") as file:
        file.seek(2 * 8192 + 4000)
        [byte] = file.read(1)
        file.seek(2 * 8192 + 4000)
        file.write(bytes([byte ^ 1]))
    server.start()
    damaged = sorted(position for (position,) in lost)
    assert 10 < len(damaged) < 100
    with closing(kind.open_reader()) as reader:
        assert sum(one.entries for one in reader.list_backlogs()) == 300
        assert reader.list_backlogs() != []
        found = reader.find_entries(1, 300)
        assert [one.position for one in found] == list(range(1, 301))
        assert [one.position for one in found if isinstance(one, DamagedEntry)] == damaged
        assert any("invalid page" in one.why for one in found if isinstance(one, DamagedEntry))
        both = [reader.read(1, table, 0, 10**6, 10**9) for table in "ab"]
        assert sorted(one.position for its in both for one in its) == list(range(1, 301))
        for its in both:
            assert [one.position for one in its] == sorted(one.position for one in its)
        assert (
            sorted(one.position for its in both for one in its if isinstance(one, DamagedEntry))
            == damaged
        )
        assert reader.get_anchor(damaged[0]) is None
        assert reader.get_anchor(1) is not None


def test_readers_of_a_database_share_a_connection_and_a_look(
    kind: PostgresKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LOOK_SECONDS", 60.0)
    shared = reading.connect_shared(kind.url)
    for number in (2, 3):
        make_log(kind.url, number)
    readers = [PostgresReader(kind.url, number, shared=shared) for number in (1, 2, 3)]
    said: list[str] = []
    execute = shared.open().execute

    def note(statement: bytes, *values: Any) -> Any:
        said.append(statement.decode())
        return execute(statement, *values)

    monkeypatch.setattr(shared.open(), "execute", note)
    first = [reader.list_backlogs() for reader in readers]
    assert first == [[]] * 3
    assert said.count(statements.LOOK) == 1
    del said[:]
    for reader in readers:
        reader.list_backlogs()
    assert said == [statements.LOOK]  # nothing is new

    async def fill() -> None:
        appender = PostgresAppender(kind.url, 2)
        await appender.append([entry()])
        await appender.aclose()

    asyncio.run(fill())
    assert [len(reader.list_backlogs()) for reader in readers] == [0, 1, 0]
    for reader in readers[:2]:
        reader.close()
    assert shared.is_open
    readers[2].close()
    assert not shared.is_open


# Checks


def test_a_server_is_looked_at(server: PostgresServer, kind: PostgresKind) -> None:
    found = look_at_server(kind.url)
    assert (found.fsync, found.data_checksums, found.standbys) == (False, True, 0)
    assert found.sees_standbys
    with pytest.raises(OperatorError, match="fsync is off"):
        remote_registry.check_remote_log(kind.url, "single")
