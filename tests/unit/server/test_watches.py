"""What a control member tells of all logs, beside the loaders of its machine."""

from pathlib import Path
from typing import Any

import pytest

from treadle.config import Config
from treadle.config.roles import MemberRole
from treadle.loader.waiting_board import SourceBacklog, WaitingBoard
from treadle.log.joined import JoinedReader, SourceNumbers
from treadle.log.protocol import TableBacklog
from treadle.log.quota import LogQuota, LogSpace
from treadle.server.startup_work import ServerStartup
from treadle.server.watches import FigureFeed, read_source_backlogs
from treadle.waiting_rows import WaitingRow, open_part_rows, open_whole_rows, read_waiting


class Log:
    """A log with a backlog."""

    def __init__(self, *backlogs: TableBacklog) -> None:
        self.backlogs = list(backlogs)
        self.statistics = self
        self.log_id = "one"

    def list_backlogs(self) -> list[TableBacklog]:
        return self.backlogs

    def measure_space(self) -> LogSpace:
        return LogSpace(500, None)


class Store:
    """A store with three sources and no load."""

    @property
    def sources(self) -> "Store":
        return self

    @property
    def loads(self) -> "Store":
        return self

    def list_sources(self) -> list[Any]:
        return []

    def get_last_number(self) -> int:
        return 0

    def list_loads_after(self, number: int, limit: int) -> list[Any]:
        return []


class Sampler:
    """Takes what waits."""

    waiting: dict[int, SourceBacklog]

    def note_waiting(self, waiting: dict[int, SourceBacklog], space: LogSpace) -> None:
        self.waiting = waiting


def test_a_control_member_tells_of_all_logs_and_not_of_its_own_loader_alone(tmp_path: Path) -> None:
    part = open_part_rows(tmp_path, "loader")
    part.replace({7: (100, 1, 0, 1, 5_000)})
    logs: Any = {
        1: Log(TableBacklog(7, "a", 9, 1, 1, 100, 5_000), TableBacklog(7, "b", 8, 2, 3, 50, 4_000)),
        2: Log(TableBacklog(8, "a", 7, 1, 1, 5, 9_000)),
    }
    sampler: Any = Sampler()
    store: Any = Store()
    feed = FigureFeed(
        store,
        lambda: JoinedReader(logs, SourceNumbers(lambda source_id: 1)),
        sampler,
        WaitingBoard(open_whole_rows(tmp_path), LogQuota()),
    )
    feed.look()
    whole = {7: WaitingRow(150, 4, 0, 3, 4_000), 8: WaitingRow(5, 1, 0, 1, 9_000)}
    assert read_waiting(tmp_path) == whole
    assert sampler.waiting == {7: SourceBacklog(150, 4, 3, 4_000), 8: SourceBacklog(5, 1, 1, 9_000)}
    logs[1].backlogs.clear()
    feed.look()
    assert read_waiting(tmp_path)[7] == WaitingRow()
    part.close()


def test_what_several_loaders_of_a_machine_tell_is_read_for_the_series(tmp_path: Path) -> None:
    config = Config(data=tmp_path)
    for name, numbers in (("loader", (100, 1, 0, 1, 5_000)), ("loader 2", (50, 3, 0, 2, 4_000))):
        rows = open_part_rows(config.counters_path, name)
        rows.replace({7: numbers, 8: (0, 0, 0, 0, 0)})
        rows.close()
    assert read_source_backlogs(config) == {7: SourceBacklog(150, 4, 3, 4_000)}


@pytest.mark.parametrize(
    ("role", "stays"),
    [
        (("all",), False),
        ((MemberRole.INGEST.value,), False),
        ((MemberRole.LOADER.value, MemberRole.CONTROL.value), True),
    ],
)
def test_a_start_with_other_roles_forgets_what_was_told_of_all_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: tuple[str, ...], stays: bool
) -> None:
    config = Config(data=tmp_path, role=role)
    whole = open_whole_rows(config.counters_path)
    whole.replace({7: (300, 3, 0, 3, 4_000)})
    whole.close()
    for name in ("find_risks", "set_up_store", "repair_log_at_start", "note_address"):
        monkeypatch.setattr(f"treadle.server.startup_work.{name}", lambda *_: ())
    listener: Any = None
    ServerStartup(config, listener, to_person=False).prepare()
    assert bool(read_waiting(config.counters_path)) is stays
