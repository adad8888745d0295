"""Task processes: what they do, when they are ended, and whose turn it is."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message
from tests.servers.processes import runs

from treadle.errors import InternalError, OperatorError, RequestRefusedError, RetriableError
from treadle.ingest.client_watch import finish_unless_left
from treadle.ingest.task_pool import WAITING_MAX, TaskPool, TaskTurns, WaitingTask
from treadle.tasks.task_channel import (
    AnswerKind,
    TaskAnswer,
    TaskRequest,
    decode_error,
    encode_error,
)
from treadle.tasks.task_process import TaskLimitError, TaskProcess

EVALUATE = "builtins:eval"
"""Python's own function of bytes: the payload is an expression."""

SLEEP = b"__import__('time').sleep(60)"
SPIN = b"sum(iter(int, 1))"
"""One call of foreign code that does not end and notices no signal handler of Python."""

FILL = b"[bytes(1 << 20) for _ in iter(int, 1)]"


def run_with_pool(use: Callable[[TaskPool], Awaitable[None]], processes: int = 2) -> None:
    """Run a coroutine with a pool; nothing of the pool may be left."""

    async def run() -> None:
        pool = TaskPool(processes)
        try:
            await use(pool)
        finally:
            started = pool.list_processes()
            pool.close()
        assert [pid for pid in started if runs(pid)] == []

    asyncio.run(run())


def wait_until_dead(pid: int, seconds: float = 60.0) -> None:
    due = time.monotonic() + seconds
    while runs(pid):
        assert time.monotonic() < due, f"process {pid} lives on"
        time.sleep(0.01)


def begin(folder: Path, work: bytes) -> bytes:
    """Work that says first that it has begun."""
    return f"(open({str(folder / 'begun')!r}, 'w').close(), {work.decode()})[1]".encode()


async def await_begin(folder: Path) -> None:
    while not (folder / "begun").exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.01)


def test_a_large_payload_goes_there_and_back() -> None:
    payload = os.urandom(1 << 20) * 20

    async def use(pool: TaskPool) -> None:
        packed = await pool.run(1, "zlib:compress", payload)
        assert zlib.decompress(packed) == payload
        assert await pool.run(1, "zlib:decompress", packed) == payload
        assert len(pool.list_processes()) == 1

    run_with_pool(use)


@pytest.mark.parametrize(
    "error",
    [
        RequestRefusedError(422, {"error": "é", "n": [1, None]}, (("Retry-After", "2"),)),
        RetriableError("later"),
        OperatorError("look at it"),
        InternalError("a promise"),
    ],
)
def test_errors_of_ours_cross_the_channel(error: Exception) -> None:
    assert isinstance(error, RequestRefusedError | RetriableError | OperatorError | InternalError)
    kind, payload = encode_error(error)
    found = decode_error(TaskAnswer(kind, 0, payload))
    assert type(found) is type(error)
    assert str(found) == str(error)
    if isinstance(error, RequestRefusedError):
        assert isinstance(found, RequestRefusedError)
        assert (found.status, found.body, found.headers) == (
            error.status,
            error.body,
            error.headers,
        )
        assert kind is AnswerKind.REFUSAL


def test_any_other_error_is_internal_and_the_process_goes_on() -> None:
    async def use(pool: TaskPool) -> None:
        with pytest.raises(InternalError, match="ZeroDivisionError"):
            await pool.run(1, EVALUATE, b"1 / 0")
        before = pool.list_processes()
        assert await pool.run(1, EVALUATE, b"b'x'") == b"x"
        assert pool.list_processes() == before

    run_with_pool(use)


def test_a_task_that_takes_too_long_is_ended_and_the_next_one_is_done() -> None:
    async def use(pool: TaskPool) -> None:
        with pytest.raises(TaskLimitError, match="1 s of processor time"):
            await pool.run(1, EVALUATE, SPIN, seconds=1)
        assert await pool.run(1, EVALUATE, b"b'x'") == b"x"

    run_with_pool(use)


def test_a_task_that_takes_too_much_memory_is_ended() -> None:
    async def use(pool: TaskPool) -> None:
        with pytest.raises(TaskLimitError, match="bytes of memory"):
            await pool.run(1, EVALUATE, FILL)
        assert await pool.run(1, EVALUATE, b"b'x'") == b"x"

    run_with_pool(use)


def test_a_process_that_holds_much_memory_is_not_kept() -> None:
    async def use(pool: TaskPool) -> None:
        keep = b"(__import__('sys').modules.update(kept=b'x' * (200 << 20)), b'')[1]"
        assert await pool.run(1, EVALUATE, keep) == b""
        assert pool.list_processes() == []

    run_with_pool(use)


def test_a_process_that_has_reserved_much_memory_is_not_kept() -> None:
    # As an allocator does: it holds nothing of it, and the limit counts it all the same.
    reserve = (
        b"(__import__('sys').modules.update(kept=__import__('mmap').mmap("
        b"-1, 200 << 20, flags=__import__('mmap').MAP_PRIVATE)), b'')[1]"
    )

    async def use(pool: TaskPool) -> None:
        assert await pool.run(1, EVALUATE, reserve) == b""
        assert pool.list_processes() == []

    run_with_pool(use)


def test_a_process_that_is_killed_from_outside_is_replaced(tmp_path: Path) -> None:
    async def use(pool: TaskPool) -> None:
        await pool.run(1, EVALUATE, b"b''")
        [idle] = pool.list_processes()
        os.kill(idle, signal.SIGKILL)
        await asyncio.to_thread(wait_until_dead, idle)
        assert await pool.run(1, EVALUATE, b"b'x'") == b"x"
        running = asyncio.ensure_future(pool.run(1, EVALUATE, begin(tmp_path, SLEEP)))
        await await_begin(tmp_path)
        [busy] = pool.list_processes()
        assert busy != idle
        os.kill(busy, signal.SIGKILL)
        with pytest.raises(RetriableError, match="from outside"):
            await running

    run_with_pool(use)


def test_signals_for_the_whole_group_do_not_end_a_task() -> None:
    async def use(pool: TaskPool) -> None:
        await pool.run(1, EVALUATE, b"b''")
        [pid] = pool.list_processes()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
        assert await pool.run(1, EVALUATE, b"b'x'") == b"x"
        assert pool.list_processes() == [pid]

    run_with_pool(use)


@pytest.mark.parametrize("work", [SLEEP, SPIN])
def test_a_task_ends_when_its_client_leaves(work: bytes, tmp_path: Path) -> None:
    async def use(pool: TaskPool) -> None:
        await pool.run(1, EVALUATE, b"b''")
        [pid] = pool.list_processes()

        async def receive() -> Message:
            await await_begin(tmp_path)
            return {"type": "http.disconnect"}

        with pytest.raises(ClientDisconnect):
            await finish_unless_left(receive, pool.run(1, EVALUATE, begin(tmp_path, work)))
        await asyncio.to_thread(wait_until_dead, pid)
        assert await pool.run(1, EVALUATE, b"b'x'") == b"x"

    run_with_pool(use)


def test_work_that_is_done_before_the_client_leaves_is_answered() -> None:
    async def receive() -> Message:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def use(pool: TaskPool) -> None:
        assert await finish_unless_left(receive, pool.run(1, EVALUATE, b"b'x'")) == b"x"
        with pytest.raises(InternalError, match="ZeroDivisionError"):
            await finish_unless_left(receive, pool.run(1, EVALUATE, b"1 / 0"))

    run_with_pool(use)


def test_a_pool_that_closes_ends_what_runs_and_what_waits() -> None:
    async def run() -> None:
        pool = TaskPool(1)
        tasks = [asyncio.ensure_future(pool.run(n, EVALUATE, SPIN)) for n in range(3)]
        await asyncio.sleep(0.3)
        began = time.monotonic()
        pool.close()
        assert time.monotonic() - began < 60  # what runs would never end
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, Exception) for one in found)
        with pytest.raises(RetriableError):
            await pool.run(1, EVALUATE, b"b''")

    asyncio.run(run())


def test_a_source_with_many_tasks_does_not_stand_before_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[object] = []
    take = TaskTurns.take_task

    def watch(turns: TaskTurns) -> WaitingTask | None:
        task = take(turns)
        if task is not None:
            taken.append(task.source)
        return task

    monkeypatch.setattr(TaskTurns, "take_task", watch)

    async def use(pool: TaskPool) -> None:
        tasks = [asyncio.ensure_future(pool.run("a", EVALUATE, b"b'x'")) for _ in range(10)]
        await asyncio.sleep(0)  # all of them wait now
        assert await pool.run("b", EVALUATE, b"b'x'") == b"x"
        await asyncio.gather(*tasks)

    run_with_pool(use)
    assert taken == ["a", "b", *["a"] * 9]


def test_one_source_never_has_all_processes() -> None:
    async def use(pool: TaskPool) -> None:
        stuck = [asyncio.ensure_future(pool.run("a", EVALUATE, SLEEP)) for _ in range(5)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(pool.run("b", EVALUATE, b"b'x'"), 30) == b"x"
        for one in stuck:
            one.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)

    run_with_pool(use)


def test_too_many_tasks_of_one_source_are_refused_and_those_of_another_are_not() -> None:
    async def use(pool: TaskPool) -> None:
        stuck = [
            asyncio.ensure_future(pool.run("a", EVALUATE, SLEEP)) for _ in range(WAITING_MAX + 1)
        ]
        await asyncio.sleep(0)
        with pytest.raises(RetriableError, match="wait already"):
            await pool.run("a", EVALUATE, b"b''")
        assert await pool.run("b", EVALUATE, b"b'x'") == b"x"
        for one in stuck:
            one.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)

    run_with_pool(use)


def test_turns_go_round_the_sources() -> None:
    turns = TaskTurns(3)

    def wait(source: str) -> WaitingTask:
        task = WaitingTask(source, TaskRequest(source, 1, b""), asyncio.Future(loop=loop))
        assert turns.add_task(task)
        return task

    loop = asyncio.new_event_loop()
    try:
        for source in "aaab":
            wait(source)
        first, second = turns.take_task(), turns.take_task()
        assert first is not None
        assert second is not None
        assert (first.source, second.source) == ("a", "b")
        third = turns.take_task()
        assert third is not None
        assert third.source == "a"
        assert turns.take_task() is None  # two of three are a source's share
        late = wait("c")
        turns.remove_task(late)
        assert turns.take_task() is None
        turns.end_task(first)
        fourth = turns.take_task()
        assert fourth is not None
        assert fourth.source == "a"
        assert turns.take_waiting() == []
    finally:
        loop.close()


KILLED_WORKER = """
import asyncio, os, signal
from treadle.ingest.task_pool import TaskPool

async def main():
    pool = TaskPool(1)
    await pool.run(1, "builtins:eval", b"b''")
    print(*pool.list_processes(), flush=True)
    asyncio.ensure_future(pool.run(1, "builtins:eval", b"sum(iter(int, 1))"))
    await asyncio.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_a_killed_worker_leaves_no_process_behind(tmp_path: Path) -> None:
    """Its task is one call of foreign code, which cannot notice anything."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WORKER], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_until_dead(int(done.stdout))


def test_a_task_process_knows_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_SECRET_KEY", "x")
    process = TaskProcess()
    try:
        names = process.run(
            TaskRequest(EVALUATE, 5, b"repr(sorted(__import__('os').environ)).encode()")
        )
        assert b"TREADLE" not in names
        imported = process.run(
            TaskRequest(EVALUATE, 5, b"repr([*__import__('sys').modules]).encode()")
        )
        for heavy in (b"starlette", b"uvicorn", b"sqlalchemy", b"asyncio", b"jsonschema_rs"):
            assert heavy not in imported
    finally:
        process.close()
