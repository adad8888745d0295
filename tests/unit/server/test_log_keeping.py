"""Who keeps logs on PostgreSQL, and what is told of their servers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from treadle.errors import RetriableError
from treadle.log.protocol import LogInfo
from treadle.log.remote_registry import ServerFaults
from treadle.server.log_keeping import TROUBLE_US, LogKeeping, LogServerWatch
from treadle.traces.log_server_note import (
    NOTE_US_MAX,
    LogServerSight,
    LogServerTrouble,
    read_log_servers,
    read_server_note,
)
from treadle.tracking.problem_finder import judge_log_servers

MINUTE = 60_000_000
LOGS = [LogInfo(n, f"id {n}", "postgres", f"postgresql://u:secret@h{n}/d") for n in (1, 2)]


@dataclass
class Keeper:
    kept: int = 0
    error: RetriableError | None = None

    def keep(self) -> None:
        if self.error is not None:
            raise self.error
        self.kept += 1


@dataclass
class World:
    logs: list[LogInfo] = field(default_factory=lambda: list(LOGS))
    held: set[int] = field(default_factory=lambda: {1, 2})
    keepers: dict[int, list[Keeper]] = field(default_factory=dict)

    def list_logs(self) -> Sequence[LogInfo]:
        return self.logs

    def make_keeper(self, log: LogInfo) -> Keeper:
        made = Keeper()
        self.keepers.setdefault(log.number, []).append(made)
        return made

    def count(self) -> dict[int, int]:
        return {number: sum(one.kept for one in its) for number, its in self.keepers.items()}


def test_a_process_keeps_the_logs_that_it_holds(caplog: pytest.LogCaptureFixture) -> None:
    world = World(held={2})
    keeping = LogKeeping(
        world.list_logs, world.make_keeper, lambda: None, lambda number: number in world.held
    )
    keeping.keep_all()
    assert world.count() == {2: 1}
    world.held = {1, 2}
    keeping.keep_all()
    keeping.keep_all()
    assert world.count() == {1: 2, 2: 3}
    assert [len(its) for its in world.keepers.values()] == [1, 1]
    world.keepers[1][0].error = RetriableError("away")
    for _ in range(3):  # the other one is kept all the same, and this is said once
        keeping.keep_all()
    assert world.count() == {1: 2, 2: 6}
    assert caplog.messages == ["log 1 is not kept now: away"]
    world.keepers[1][0].error = None
    keeping.keep_all()
    assert world.count() == {1: 3, 2: 7}


def test_what_is_wrong_with_a_server_for_a_minute_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = 10 * MINUTE
    faults: dict[str, ServerFaults | RetriableError] = {one.url: ServerFaults() for one in LOGS}

    def find(url: str) -> ServerFaults:
        found = faults[url]
        if isinstance(found, RetriableError):
            raise found
        return found

    watch = LogServerWatch(lambda: LOGS, find, tmp_path, lambda: now)
    caplog.set_level("INFO")
    watch.look()
    assert read_log_servers(tmp_path, now) == ()
    faults[LOGS[0].url] = ServerFaults(warnings=("w",), troubles=("no standby",))
    faults[LOGS[1].url] = RetriableError("away")
    began = now
    watch.look()
    assert read_log_servers(tmp_path, now) == ()
    now += TROUBLE_US
    watch.look()
    watch.look()
    told = (
        LogServerTrouble("postgresql://h1/d", "no standby", began),
        LogServerTrouble("postgresql://h2/d", "away", began),
    )
    assert read_log_servers(tmp_path, now) == told
    assert caplog.messages == ["postgresql://h1/d: no standby", "postgresql://h2/d: away"]
    assert read_log_servers(tmp_path, now + NOTE_US_MAX) == ()
    faults[LOGS[0].url] = ServerFaults()
    watch.look()
    assert read_log_servers(tmp_path, now) == told[1:]
    assert caplog.messages[2:] == ["postgresql://h1/d is well again; it was: no standby"]


def test_how_servers_keep_what_they_take_is_noted(tmp_path: Path) -> None:
    now = 10 * MINUTE

    def find(url: str) -> ServerFaults:
        if url == LOGS[1].url:
            raise RetriableError("away")
        return ServerFaults(waits_for="ANY 1 (b, c)", standbys=2)

    watch = LogServerWatch(lambda: LOGS, find, tmp_path, lambda: now)
    assert read_server_note(tmp_path, now) is None
    watch.look()
    note = read_server_note(tmp_path, now)
    assert note is not None
    assert note.servers == (LogServerSight("postgresql://h1/d", "replicated", "ANY 1 (b, c)", 2),)
    assert read_server_note(tmp_path, now + NOTE_US_MAX) is None


def test_where_a_server_is_is_told_to_the_only_account() -> None:
    trouble = LogServerTrouble("postgresql://h1/d", "no standby", 7)
    [found] = judge_log_servers([trouble], [1])
    assert (found.named, found.said, found.since) == ("postgresql://h1/d", "no standby", 7)
    several = list(judge_log_servers([trouble], [1, 2]))
    assert [(one.account_id, one.named) for one in several] == [(1, "the log"), (2, "the log")]
