"""`treadle destination move`: refusals, what it tells, and kill -9 at every step of it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from tests.faults.serve import MODULE, VARIABLE
from tests.integration.cli.conftest import Treadle
from tests.integration.cli.shop import Shop

from treadle.destinations.registry import make_destination
from treadle.failpoint import MOVE_FAILPOINTS, FailpointPlan
from treadle.log.protocol import TrimPoint

ROOT = Path(__file__).parents[3]


class MovingShop(Shop):
    """A shop with a second destination, `Lake`, that was checked."""

    def __init__(self, data: Path, treadle: Treadle, lake: str) -> None:
        super().__init__(data, treadle, None)
        self.lake = lake
        self.pushed = 0
        url = data.parent / "url.txt"
        url.write_text(lake)
        made = treadle(
            f"destination create --url-file {url} --name Lake --ignore-unmapped-sources --json"
        ).json
        assert made["checked"] is False
        self.lake_id: int = made["id"]

    def check(self) -> None:
        done = self._treadle("destination check Lake")
        assert done.code == 0, done.out + done.err

    def accept_events(self, entries: int) -> None:
        for _ in range(entries):
            self.accept("events", [{"id": self.pushed}, {"id": self.pushed + 1}], first=1)
            self.pushed += 2

    def load(self) -> None:
        self.loader.load_once()
        self.loader.load_once()

    def list_ids(self, url: str) -> list[int]:
        with make_destination(url).open() as session:
            return [row[0] for row in session.query("SELECT id FROM web.events ORDER BY id").rows]


@pytest.fixture(params=["postgres", pytest.param("duckdb", marks=pytest.mark.release)])
def shop(
    request: pytest.FixtureRequest, data: Path, treadle: Treadle, tmp_path: Path
) -> Iterator[MovingShop]:
    lake = f"duckdb://{tmp_path / 'lake.duckdb'}"
    if request.param == "postgres":
        lake = request.getfixturevalue("postgres_database")
    made = MovingShop(data, treadle, lake)
    yield made
    made.close()


def test_a_source_is_moved(shop: MovingShop, treadle: Treadle) -> None:
    shop.check()
    shop.accept_events(1)
    shop.load()
    shop.accept_events(2)
    done = treadle("destination move web Lake")
    assert done.code == 0, done.err
    first, second, third, last = done.out.splitlines()
    assert first.startswith("Moved web (")
    assert first.endswith(f" to Lake ({shop.lake_id}).")
    assert second == "4 records wait, and what comes now is loaded there, once."
    assert third == "What was loaded before stays in duckdb."
    assert last == "A server that runs from now on loads it there; none has done so yet."
    shop.load()
    assert shop.list_ids(shop.lake) == [2, 3, 4, 5]
    assert shop.list_ids(shop.config.destination_url) == [0, 1]
    assert treadle("destination show Lake --json").json["sources"] == ["web"]
    # The audit compares what was loaded since.
    assert {row["verdict"] for row in shop.audit().values()} == {"as loaded"}


def test_a_history_is_copied_and_counted(shop: MovingShop, treadle: Treadle) -> None:
    shop.check()
    shop.accept_events(3)
    shop.load()
    shop.accept_events(1)
    told = treadle("destination move web Lake --with-history --dry-run --json").json
    assert (told["moved"], told["tables"][0]["copied"]) == (False, 6)
    assert shop.store.moves.find_move(shop.source_id) is None
    told = treadle("destination move web Lake --with-history --json").json
    assert (told.pop("moved"), told.pop("settled")) == (True, False)
    [table] = told.pop("tables")
    assert table == {
        "table": "events", "copied": 6, "there": 0, "gone": 0, "rejected": 0, "damaged": 0,
        "held": None, "reasons": {},
    }  # fmt: skip
    assert (told["to"], told["schema"], told["waiting"]) == (shop.lake_id, "web", 2)
    shop.accept_events(1)
    shop.load()
    assert shop.list_ids(shop.lake) == list(range(10))
    assert shop.list_ids(shop.config.destination_url) == list(range(6))
    events = [row["action"] for row in treadle("trail --json").json]
    assert events[:3] == ["move_source", "copy_history", "copy_history"]
    assert {row["verdict"] for row in shop.audit().values()} == {"as loaded"}

    # And back: the first one gets what it does not have, by itself.
    name = treadle("destination list --json").json[0]["id"]
    [table] = treadle(f"destination move web {name} --with-history --json").json["tables"]
    assert (table["copied"], table["there"], table["gone"]) == (0, 6, 0)
    shop.load()
    assert shop.list_ids(shop.config.destination_url) == list(range(10))


def test_what_the_log_lost_is_said(shop: MovingShop, treadle: Treadle) -> None:
    shop.check()
    shop.accept_events(2)
    shop.load()
    with closing(shop.loader.open_reader()) as reader:
        reader.trim([TrimPoint(shop.source_id, "events", 1)])
    done = treadle("destination move web Lake --with-history")
    assert done.code == 0, done.err
    assert "Not copied: 2 records of events, which the log does not hold any more." in done.out


@pytest.mark.parametrize("shop", ["duckdb"], indirect=True)
def test_what_cannot_be_moved(shop: MovingShop, treadle: Treadle) -> None:
    def refused(words: str) -> str:
        done = treadle(f"destination move {words}")
        assert done.code == 2, done.out
        assert done.out == ""
        return done.err

    assert "There is no source 'wob'; there is web" in refused("wob Lake")
    assert "There is no destination 'Pond'; there is duckdb" in refused("web Pond")
    for words in ("web Lake", "web Lake --with-history"):
        assert (
            f"The destination Lake ({shop.lake_id}) has had no check that succeeded, so nothing "
            "is loaded into it yet; nothing was moved. `treadle destination check "
            f"{shop.lake_id}` says what is wrong with it."
        ) in refused(words)
    assert "loads into the destination duckdb (" in refused("web duckdb")
    assert "already; nothing was moved." in refused("web duckdb")

    second = treadle("account create --name Second")
    assert second.code == 0, second.err
    others = [
        row for row in treadle("destination list --json").json if row["stitch_client_id"] != 1
    ]
    if not others:
        other = treadle(f"destination create --account Second --url {shop.lake} --json").json
    else:
        other = others[0]
    said = refused(f"web {other['id']}")
    assert f"belongs to the account {other['stitch_client_id']}, and the source web to the" in said
    assert "A source loads into a destination of its own account" in said
    assert shop.store.moves.find_move(shop.source_id) is None


COMMAND_POINTS = [point for point in MOVE_FAILPOINTS if point.startswith("move.")]


def kill_at(data: Path, plan: FailpointPlan, *words: str) -> None:
    """Run a command that kills itself where a plan says."""
    file = data.parent / "plan"
    file.write_bytes(msgspec.json.encode(plan))
    done = subprocess.run(
        [sys.executable, "-m", MODULE, *words, "--data", str(data)],
        env={
            **os.environ,
            VARIABLE: str(file),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not file.exists()


@pytest.mark.parametrize("point", COMMAND_POINTS)
def test_kill_9_of_the_command_loses_and_doubles_nothing(
    shop: MovingShop, treadle: Treadle, data: Path, point: str
) -> None:
    shop.check()
    shop.accept_events(4)
    shop.load()
    shop.accept_events(2)
    passes = 2 if point == "move.after-copy" else 1
    words = ("destination", "move", "web", "Lake", "--with-history", "--load-rows", "3")
    kill_at(data, FailpointPlan(point, passes), *words)
    shop.accept_events(1)
    shop.load()  # by the server, wherever the source loads now
    shop.accept_events(1)
    done = treadle("destination move web Lake --with-history")
    if point == "move.after-switch":
        assert done.code == 2
        assert "already; nothing was moved" in done.err
    else:
        assert done.code == 0, done.err
    shop.load()
    assert shop.list_ids(shop.lake) == list(range(16))
    loaded_before = 8 if point == "move.after-switch" else 14
    assert shop.list_ids(shop.config.destination_url) == list(range(loaded_before))
