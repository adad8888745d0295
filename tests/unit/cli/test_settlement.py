"""Whether `treadle source move` waits for a server that loads."""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from treadle.cli.destination_move import await_settlement
from treadle.config import Config
from treadle.data_lock import take_lock
from treadle.store.membership import LOADER_ROLE, ClusterMember, SeenMember
from treadle.store.model import SourceMove

LOADER = SeenMember(ClusterMember("a", "there", "loader", LOADER_ROLE, "host", "1.0", 5), 1)
GATE = SeenMember(replace(LOADER.member, id="b", role="ingest"), 1)
OPEN_MOVE = SourceMove(7, 1, 2, 5, None)


@dataclass
class MovingStore:
    """The part of a store that is asked: who is there, and how far the move is."""

    seen: list[SeenMember]
    move: SourceMove = OPEN_MOVE

    @property
    def members(self) -> Any:
        return SimpleNamespace(list_members=lambda: self.seen)

    @property
    def moves(self) -> Any:
        return SimpleNamespace(find_move=lambda source_id: self.move)


def settles(config: Config, store: MovingStore, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Return whether a move is waited for that is settled while somebody waits."""

    def pass_time(seconds: float) -> None:
        store.move = replace(OPEN_MOVE, settled_at=9)

    monkeypatch.setattr(time, "sleep", pass_time)
    return await_settlement(config, cast(Any, store), cast(Any, SimpleNamespace(id=7)))


@pytest.mark.parametrize(
    ("seen", "waits"),
    [([GATE, LOADER], True), ([GATE], False), ([replace(LOADER, left_us=0)], False)],
    ids=["loader", "gate", "lost"],
)
def test_a_command_of_a_cluster_waits_for_loaders_of_any_machine(
    seen: list[SeenMember], waits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(data=tmp_path, store="postgresql://db1/treadle")
    assert settles(config, MovingStore(seen), monkeypatch) is waits


def test_with_a_store_in_a_file_the_server_of_the_folder_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(data=tmp_path)
    assert settles(config, MovingStore([LOADER]), monkeypatch) is False
    descriptor = take_lock(config.lock_path, 0.0)
    assert settles(config, MovingStore([]), monkeypatch) is True
    os.close(descriptor)
