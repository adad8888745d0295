"""What the console shows where several machines share the work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from sqlalchemy import QueuePool
from tests.integration.console.visitor import Console, EmptyLog, Visitor
from tests.loads import load as make_load

from treadle.console.app import ConsoleApp
from treadle.console.figures import FigureSampler, take_figures
from treadle.console.pages.overview import describe_logs_away
from treadle.control.waiting_view import WaitingView
from treadle.errors import RetriableError
from treadle.log.joined import JoinedReader, SourceNumbers
from treadle.log.protocol import LogState, TableBacklog
from treadle.store.membership import (
    ADDRESS_NOTE,
    ANSWERS_NOTE,
    DRAINING_NOTE,
    LOADER_ROLE,
    MEMBER_LASTS_US,
    ClusterMember,
)
from treadle.store.model import Source
from treadle.traces.log_server_note import LogServerNote, LogServerSight, write_log_servers
from treadle.traces.refusal_file import RefusalFile, read_refusals
from treadle.traces.refusals import KeptRefusal, RefusalGroup
from treadle.traces.series_file import SeriesWriter
from treadle.traces.series_layout import SERVER_FIGURES, SeriesStep
from treadle.tracking.log_list import PlacedLog

SECOND = 1_000_000
PLACE = "postgresql://db-a,db-b/treadle"


class WaitingLog(EmptyLog):
    """A log in which something waits."""

    def __init__(self, *backlogs: TableBacklog) -> None:
        super().__init__()
        self.backlogs = list(backlogs)

    def list_backlogs(self) -> list[TableBacklog]:
        return self.backlogs


class Cluster:
    """The console of a member of a cluster, and the others as the store knows them.

    Attributes:
        monotonic: the clock by which members are lost, microseconds.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.monotonic = 100 * SECOND
        for repository in (console.store.members, console.store.units):
            repository._monotonic = lambda: self.monotonic
        console.store.sessions.leave_guide(console.account.id)

    def show(
        self,
        logs: Sequence[PlacedLog] = (),
        parts: dict[int, Any] | None = None,
        *,
        takes_records: bool = False,
    ) -> Visitor:
        """Serve pages as a member does; a visitor of them.

        Args:
            logs: of the installation.
            parts: log number -> a reader, of those that are available.
            takes_records: the member is a gate, too.
        """
        console = self.console
        reader = JoinedReader(parts or {}, SourceNumbers(lambda source_id: 1))
        console.services = replace(
            console.services,
            traces=replace(
                console.traces,
                shares_store=True,
                member="control-1",
                list_logs=lambda: logs,
                takes_records=takes_records,
            ),
            reach=replace(console.services.reach, waiting=WaitingView(lambda: reader)),
        )
        console.app = ConsoleApp(console.services)
        return console.sign_in()

    def join(
        self,
        name: str,
        process: str,
        role: str,
        notes: Mapping[str, object] | None = None,
        lasts_us: int = MEMBER_LASTS_US,
    ) -> str:
        """Add a process; its id."""
        member = ClusterMember(
            f"{name} {process}", name, process, role, f"{name}.host", "1.2.3",
            self.console.now - 90 * SECOND, notes or {},
        )  # fmt: skip
        self.console.store.members.join(member, lasts_us)
        return member.id


@pytest.fixture
def cluster(console: Console) -> Cluster:
    return Cluster(console)


def test_health_shows_members_units_and_logs_of_all_machines(
    cluster: Cluster, console: Console
) -> None:
    cluster.join("control-1", "worker 1", "control", {ADDRESS_NOTE: "https://control-1:8484"})
    cluster.join("gate-1", "worker 1", "ingest", {DRAINING_NOTE: True})
    cluster.join("gate-2", "worker 1", "ingest", lasts_us=-20 * SECOND)
    loader = cluster.join("loader-1", "loader", LOADER_ROLE)
    console.store.units.take_units(loader, ["log:1:0", "log:1:1", f"exclusive:{7}"], {})
    console.store.units.give_up_units(loader, ["log:1:1"])
    console.traces.counters.mkdir()
    write_log_servers(
        console.traces.counters,
        LogServerNote(console.now, (), (LogServerSight(PLACE, "replicated", "ANY 1 (b, c)", 2),)),
    )
    waits = TableBacklog(1, "orders", 9, 2, 1_234, 5_000_000, console.now - 70 * SECOND)
    visitor = cluster.show(
        [
            PlacedLog(1, "postgres", LogState.OPEN, PLACE, is_remote=True),
            PlacedLog(2, "postgres", LogState.DRAINING, PLACE, is_remote=True),
        ],
        {1: WaitingLog(waits)},
    )
    page = visitor.see("/health")
    assert "2 ready, 1 draining, 1 lost" in page.words
    mine = "control-1 this machine ● ready control https://control-1:8484 version 1.2.3"
    assert mine in page.words
    assert "gate-1 ◐ draining It stops soon, and is sent no more requests. ingest" in page.words
    assert "gate-2 ■ lost" in page.words
    assert page.words.index("gate-2 ■ lost") < page.words.index("gate-1 ◐ draining")
    assert "seen 26 s ago processes worker 1" in page.words
    assert "loader-1 loader ● ready 2 units 1 of 2 of log 1, destination 7" in page.words
    assert 'href="/console/destinations/7"' in page.text
    assert "1 of 2 units of log 1 has no live loader" in page.words
    assert "1,234 records in 2 entries of 1 table, 5.0 MB" in page.words
    assert "accepted 1 min ago" in page.words
    assert "Commits wait for ANY 1 (b, c); 2 standbys connected." in page.words
    assert "log 2 is not open in this process" in page.words
    assert "Processes of this machine, control-1" in page.words
    assert "of this machine" in page.words.partition("Commit with fsync")[2][:80]
    assert len(page.text) < 60_000


def test_health_says_what_is_missing_in_a_cluster_that_begins(cluster: Cluster) -> None:
    page = cluster.show().see("/health")
    assert "No process says that it is there." in page.words
    assert "No loader runs, so what is accepted waits" in page.words
    assert "There is no log yet." in page.words


def test_the_health_of_a_single_machine_names_no_machine(console: Console) -> None:
    console.store.sessions.leave_guide(console.account.id)
    page = console.sign_in().see("/health")
    assert "this machine" not in page.words
    for heading in ("Members", "Units of each loader", "Logs"):
        assert f">{heading}</h2>" not in page.text


def test_health_follows_members_that_come_and_drain(cluster: Cluster, console: Console) -> None:
    visitor = cluster.show()

    def read_region() -> str:
        console.now += 10 * SECOND
        found: str = msgspec.json.decode(visitor.get("/console/regions?topics=health").text)[
            "regions"
        ]["health"]
        return found

    assert "gate-1" not in read_region()
    gate = cluster.join("gate-1", "worker 1", "ingest")
    console.app._regions.clear()  # as after the five seconds for which it is kept
    assert "ready</span>" in read_region()
    console.store.members.note_beat(gate, {DRAINING_NOTE: True})
    console.app._regions.clear()
    assert "draining</span>" in read_region()
    console.store.members.leave(gate)
    console.app._regions.clear()
    assert "gate-1" not in read_region()


def test_a_log_that_is_away_hides_nothing_of_the_others(cluster: Cluster, console: Console) -> None:
    logs = [
        PlacedLog(number, "postgres", LogState.OPEN, PLACE, is_remote=True) for number in (1, 2, 3)
    ]
    page = cluster.show(logs, {1: WaitingLog(), 3: WaitingLog()}).see("/health")
    text = page.text
    assert "not known while a log cannot be read" in page.words
    places = [text.index(f'id="log-{number}"') for number in (2, 1, 3)]
    assert places == sorted(places)
    assert text.count("cannot be read</span>") == 1


def make_source(console: Console) -> Source:
    return console.store.sources.create_source(
        console.account.id,
        type="import_api",
        display_name="Shop",
        name="shop",
        bootstrap_token=False,
    )


def refuse(console: Console, body: str = "no") -> str:
    """Keep a refused request as a worker of this machine does; its id."""
    group = RefusalGroup("push", 401, "Not Authorized")
    file = RefusalFile(console.traces.refusals, "worker 1")
    file.add(KeptRefusal(console.now, group, "", "192.0.2.7", 12, body))
    file.close()
    return read_refusals(console.traces.refusals)[0].id


def test_refused_requests_say_of_which_machine_they_are(cluster: Cluster, console: Console) -> None:
    cluster.join("gate-1", "worker 1", "ingest", {ANSWERS_NOTE: [90, 0, 30, 4]})
    cluster.join("gate-2", "worker 1", "ingest", lasts_us=-20 * SECOND)
    visitor = cluster.show()
    reach = (
        "these are of control-1 alone. gate-1 (34 refused) has its own: "
        "treadle requests --refused there, with the data folder of the gate, shows them."
    )
    for path in ("/requests", "/requests/refused"):
        assert reach in visitor.see(path).words
    assert (
        "No refused request of this machine, control-1, is known."
        in visitor.see("/requests/refused").words
    )
    refused = refuse(console)
    assert "Refused by control-1, this machine" in visitor.see(f"/requests/{refused}").words
    gone = visitor.get("/console/requests/1-999")
    assert gone.status == 404
    assert "is kept on this machine, control-1." in gone.words
    assert "are looked at on this machine, control-1, alone" in visitor.see("/problems").words


def test_refused_requests_of_a_single_machine_name_none(console: Console) -> None:
    console.store.sessions.leave_guide(console.account.id)
    visitor = console.sign_in()
    refused = refuse(console)
    for path in ("/", "/requests", "/requests/refused", f"/requests/{refused}", "/problems"):
        assert "this machine" not in visitor.see(path).words


def test_examples_send_to_a_gate_where_this_member_takes_no_records(
    cluster: Cluster, console: Console
) -> None:
    make_source(console)
    visitor = cluster.show()
    own = "http://127.0.0.1:8484/v2/import/push"
    assert own in visitor.see("/start").words  # no gate has said where it is
    cluster.join("gate-2", "worker 1", "ingest", {ADDRESS_NOTE: "https://gate-2:8484"})
    cluster.join("gate-1", "worker 1", "ingest", {ADDRESS_NOTE: "unix:/run/treadle"})
    drains = {ADDRESS_NOTE: "https://gate-0:8484", DRAINING_NOTE: True}
    cluster.join("gate-0", "worker 1", "ingest", drains)
    assert "https://gate-2:8484/v2/import/push" in visitor.see("/start").words
    assert own in cluster.show(takes_records=True).see("/start").words


def test_the_overview_is_of_all_machines_and_logs(cluster: Cluster, console: Console) -> None:
    step = dict.fromkeys(SERVER_FIGURES, 0.0) | {"log_bytes": 52_000_000.0}
    figures: dict[str, float | None] = {**step, "disk_free_bytes": None}
    writer = SeriesWriter(console.traces.series)
    present = console.now // 10_000_000 * 10
    writer.write(SeriesStep(present - 10, tuple(figures.values()), {}))
    writer.close()
    page = cluster.show().see("/")
    assert "Logs 52 MB all together" in page.words
    assert "this machine" not in page.words


def test_settings_are_those_of_one_machine(cluster: Cluster, console: Console) -> None:
    assert "other members have their own" in cluster.show().see("/settings").words
    assert "on this machine, control-1;" in cluster.show().see("/settings").words


def test_the_settings_of_a_single_machine_name_none(console: Console) -> None:
    console.store.sessions.leave_guide(console.account.id)
    assert "machine" not in console.sign_in().see("/settings").words.partition("A secret")[0]


class AwayLog(EmptyLog):
    """A log whose database may be away."""

    is_away = False

    def list_backlogs(self) -> list[TableBacklog]:
        if self.is_away:
            raise RetriableError("the database is not available now")
        return super().list_backlogs()


def test_the_overview_names_a_log_that_is_away_and_follows_the_others(
    cluster: Cluster, console: Console
) -> None:
    source = make_source(console)
    waits = TableBacklog(source.id, "orders", 9, 2, 40, 500, console.now)
    away, other = AwayLog(), WaitingLog(waits)
    parts: Any = {1: other, 2: away}
    reader = JoinedReader(parts, SourceNumbers(lambda source_id: 1))
    sampler = FigureSampler(
        console.store, lambda: reader, lambda: console.now, lambda: console.now / 1_000_000
    )
    console.services = replace(console.services, sampler=sampler)
    visitor = cluster.show()
    assert "Waiting 40 are not loaded yet Oldest" in visitor.see("/").words
    away.is_away = True
    other.backlogs = [replace(waits, records=50)]
    console.now += 60 * SECOND
    words = visitor.see("/").words
    assert "Waiting 50 are not loaded yet ▲ log 2 cannot be read: as before Oldest" in words
    assert "cannot be read since" not in words
    sampler.close()
    assert describe_logs_away(()) == ""
    assert describe_logs_away((1, 2, 5)) == "3 logs cannot be read: as before"


class LaggingLog(EmptyLog):
    """A log that has not heard of a load yet, and notes whether the store is being read then."""

    def __init__(self, source_id: int, is_read: Callable[[], bool]) -> None:
        super().__init__()
        self.asked: list[tuple[int, bool]] = []
        self._source_id = source_id
        self._is_read = is_read

    def list_backlogs(self) -> list[TableBacklog]:
        return [TableBacklog(self._source_id, "orders", 9, 9, 9, 90, 5, loaded=3)]

    def count_records_above(self, source_id: int, table_name: str, position: int) -> int:
        assert (source_id, table_name) == (self._source_id, "orders")
        self.asked.append((position, self._is_read()))
        return 2


def test_a_log_is_asked_when_the_store_is_read(console: Console) -> None:
    """The store's server ends a transaction that waits for the server of a log."""
    source = make_source(console)
    console.store.use_log("log")
    console.store.loads.record_load(make_load(source.id, "orders", 7, console.now), [])
    pool = console.store._database.engine.pool
    assert isinstance(pool, QueuePool)
    log = LaggingLog(source.id, lambda: pool.checkedout() > 0)
    figures = take_figures(console.store, log, console.now)  # type: ignore[arg-type]  # as above
    assert log.asked == [(7, False)]
    account = figures.get_account(console.account.id)
    assert (account.waiting, account.oldest, account.accepted) == (2, 5, 3)
