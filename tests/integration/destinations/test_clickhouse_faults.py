"""Whose fault it is when a load into ClickHouse fails, and what is there afterwards."""

import random
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from tests.integration.destinations.deaths import Death, carry_on, die, die_at, pause_at
from urllib3.exceptions import ProtocolError

from treadle.destinations.clickhouse.connection import SETTINGS
from treadle.destinations.clickhouse.session import name_inserts
from treadle.destinations.conformance.builders import (
    BIGINT,
    ITEMS,
    LOG,
    ORDERS,
    TEXT,
    TableLoads,
    column,
    items,
    relation,
    rows,
    table,
    upsert,
)
from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    PlanOutdatedError,
    RowRefusedError,
    Session,
)
from treadle.destinations.registry import make_destination
from treadle.destinations.sql.text import Quoted
from treadle.errors import TableStoppedError
from treadle.tables.arrow_column import to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    CreateRelation,
    EmptyRelation,
    LoadPlan,
    Rejection,
    TableWrite,
    WidenColumn,
)
from treadle.tables.plan.column_split import widen_values

if TYPE_CHECKING:
    from tests.servers.clickhouse import ClickhouseServer


@pytest.fixture
def session(clickhouse_url: str) -> Session:
    opened = make_destination(clickhouse_url).open()
    opened.prepare("web")
    return opened


# --- logging in -----------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"password": "wrong"}, {"user": "nobody_here"}])
def test_a_refused_login_is_forbidden(
    clickhouse_server: "ClickhouseServer", change: dict[str, str]
) -> None:
    with pytest.raises(AccessDeniedError, match="Authentication failed") as refused:
        make_destination(clickhouse_server.url(**change)).open()
    assert clickhouse_server.password not in str(refused.value)


def test_a_server_that_speaks_no_tls_is_unavailable(clickhouse_server: "ClickhouseServer") -> None:
    with pytest.raises(DestinationUnavailableError, match="cannot be reached"):
        make_destination(f"{clickhouse_server.url()}?secure=1").open()


# --- what the engine would do without a word ------------------------------------------------------


def test_null_in_a_key_and_a_number_that_is_too_great_are_refused(session: Session) -> None:
    loads = TableLoads(session)
    loads.create(ORDERS)
    with pytest.raises(RowRefusedError, match='NULL in the column "id"'):
        loads.load(table(ORDERS), upsert([(None, 1, "x")]))
    with pytest.raises(RowRefusedError, match="none of the type bigint"):
        loads.load(table(ORDERS), upsert([(2**63, 1, "x")]))
    loads.load(table(ORDERS), upsert([(2**63 - 1, 1, "x")]))
    assert loads.orders() == [(2**63 - 1, "x", 1)]


def test_a_row_that_a_constraint_refuses_takes_the_others_back(session: Session) -> None:
    loads = TableLoads(session)
    loads.load(
        table(ORDERS, ITEMS),
        upsert([(1, 1, "x")], children=[items([(1, 0, 1, "a")])], stale=[ITEMS]),
        changes=[CreateRelation(ORDERS), CreateRelation(ITEMS)],
    )
    loads.read("ALTER TABLE web.orders ADD CONSTRAINT good CHECK a != 'bad'")
    write = upsert(
        [(1, 2, "fine"), (2, 2, "bad")],
        children=[items([(1, 0, 2, "b"), (2, 0, 2, "c")])],
        stale=[ITEMS],
    )
    rejected = Rejection("{}", "why", "orders", 0, 0)
    with pytest.raises(RowRefusedError, match="good"):
        loads.load(table(ORDERS, ITEMS), write, rejections=[rejected])
    assert loads.orders() == [(1, "x", 1)]
    assert loads.items() == [(1, 0, 1, "a")]
    assert loads.read("SELECT count() FROM web._sdc_rejected") == [(0,)]
    assert session.committed(LOG)[7, "orders"].position == 0


def test_a_table_that_cannot_replace_rows_is_stopped(session: Session) -> None:
    loads = TableLoads(session)
    loads.create(ORDERS)
    columns = ", ".join(f"{name} Nullable(Int64)" for name in ("a", "_sdc_table_version"))
    loads.read("DROP TABLE web.orders")
    loads.read(
        f"CREATE TABLE web.orders (id Int64, _sdc_sequence Int64, {columns},"
        " _sdc_batched_at DateTime64(6, 'UTC'), _sdc_received_at DateTime64(6, 'UTC'))"
        " ENGINE = MergeTree ORDER BY id"
    )
    with pytest.raises(TableStoppedError, match="_treadle_gone"):
        loads.load(table(ORDERS), upsert([(1, 1, "x")]))


# --- readers --------------------------------------------------------------------------------------


def test_a_view_shows_what_is_there_now(
    session: Session, clickhouse_server: "ClickhouseServer"
) -> None:
    loads = TableLoads(session)
    kept = table(ORDERS, tombstones=True)
    loads.load(kept, upsert([(1, 1, "x"), (2, 1, "y")]), changes=[CreateRelation(ORDERS)])
    loads.load(kept, upsert([(1, 2, "z")]))
    loads.load(kept, upsert([], deletes=rows(ORDERS, ("id", "_sdc_sequence"), [(2, 5)])))
    # As somebody else reads, who has set nothing.
    seen = "SELECT id, a FROM web.orders_current"
    assert clickhouse_server.execute(seen) == [(1, "z")]
    assert clickhouse_server.execute("SELECT id, a FROM web.orders FINAL") == [(1, "z")]
    wider = relation("orders", {"id": BIGINT, "a": TEXT, "b": BIGINT})
    loads.load(
        table(wider, tombstones=True),
        upsert([(3, 1, "n", 5)], ("id", "_sdc_sequence", "a", "b"), wider),
        changes=[AddColumn("orders", column("b", BIGINT))],
    )
    assert clickhouse_server.execute("SELECT b FROM web.orders_current WHERE id = 3") == [(5,)]
    assert set(session.relations("web")) == {"orders"}
    assert set(session.state("web", "orders_current").physical) == set()


@pytest.mark.release
def test_a_table_may_be_called_like_the_view_of_another(session: Session) -> None:
    loads = TableLoads(session)
    loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    other = relation("orders_current", {"id": BIGINT})
    second = TableLoads(session, table_name="orders_current")
    second.load(
        table(other), upsert([(7, 1)], ("id", "_sdc_sequence"), other),
        changes=[CreateRelation(other)],
    )  # fmt: skip
    assert second.read("SELECT id FROM web.orders_current") == [(7,)]
    loads.load(table(ORDERS), upsert([(2, 1, "x")]))
    assert len(loads.orders()) == 2


@pytest.mark.release
def test_the_tables_of_a_session_that_was_killed_are_dropped(
    session: Session, clickhouse_server: "ClickhouseServer"
) -> None:
    clickhouse_server.execute("CREATE TABLE _treadle.rows_dead_1 (c0 Int64) ENGINE = Memory")
    session.prepare("shop")  # it is young
    assert "rows_dead_1" in session.relations("_treadle")
    loads = TableLoads(session)
    loads.create(ORDERS)
    loads.load(table(ORDERS), upsert([(1, 1, "x")]))
    left = [name for name in session.relations("_treadle") if name.startswith("rows_")]
    assert left == ["rows_dead_1"]


# --- connections that break -----------------------------------------------------------------------


def cut_after(monkeypatch: pytest.MonkeyPatch, session: Session, begin: bytes) -> list[bytes]:
    """Break the connection once, when a request was carried out whose body begins so.

    Returns:
        The requests that begin so, as they come.
    """
    pool: Any = session._transactions.connection.driver._backend.http  # type: ignore[attr-defined]
    request, sent = pool.request, []

    def cut(method: str, url: str, **given: Any) -> Any:
        answer = request(method, url, **given)
        if (given.get("body") or b"").startswith(begin):
            sent.append(given["body"])
            if len(sent) == 1:
                raise ProtocolError("the connection is cut") from ConnectionResetError()
        return answer

    monkeypatch.setattr(pool, "request", cut)
    return sent


@pytest.mark.parametrize(
    "place", ["orders", pytest.param("_sdc_rejected", marks=pytest.mark.release)]
)
def test_rows_that_the_driver_sends_again_are_added_once(
    session: Session, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    log = relation("orders", {"id": BIGINT, "a": TEXT}, key=())
    loads = TableLoads(session)
    loads.create(log, append=True)
    # As tables are that somebody else made, or an earlier treadle.
    loads.read(f"ALTER TABLE web.{place} RESET SETTING non_replicated_deduplication_window")
    sent = cut_after(monkeypatch, session, f"INSERT INTO `web`.`{place}`".encode())
    found = [(1, 5, "x"), (1, 5, "x")]
    write = TableWrite(False, "append", rows(log, ("id", "_sdc_sequence", "a"), found))
    rejected = [Rejection("{}", "why", "orders", 0, 0)]
    loads.load(table(log, append=True), write, rejections=rejected)
    assert len(sent) == 2
    assert loads.read("SELECT count() FROM web.orders") == [(2,)]
    assert loads.read("SELECT count() FROM web._sdc_rejected") == [(1,)]


@pytest.mark.release
def test_an_insert_without_a_token_is_not_known_by_its_rows(session: Session) -> None:
    loads = TableLoads(session)
    loads.create(relation("orders", {"id": BIGINT}, key=()), append=True)
    connection: Any = session._transactions.connection  # type: ignore[attr-defined]
    for _ in range(2):
        connection.run(Quoted("INSERT INTO web.orders (id) VALUES (1)"))
    assert loads.read("SELECT count() FROM web.orders") == [(2,)]
    for _ in range(2):
        connection.begin_load("of one load")
        connection.run(Quoted("INSERT INTO web.orders (id) VALUES (2)"))
    connection.begin_load("")
    assert loads.read("SELECT count() FROM web.orders") == [(3,)]


def test_a_select_gives_all_rows_or_an_error(session: Session) -> None:
    connection: Any = session._transactions.connection  # type: ignore[attr-defined]
    told = dict(
        connection.rows(
            Quoted(
                "SELECT name, value FROM system.settings WHERE endsWith(name, '_overflow_mode')"
                " OR endsWith(name, '_overflow_mode_leaf')"
                " OR name IN ('select_sequential_consistency', 'use_query_cache')"
            )
        )
    )
    assert told.pop("select_sequential_consistency") == "1"
    assert told.pop("use_query_cache") == "0"
    assert set(told.values()) == {"throw"}
    assert told.keys() <= SETTINGS.keys()  # none that this server knows is left to a profile


# --- deaths between the steps of a load -----------------------------------------------------------

BOTH = (CreateRelation(ORDERS), CreateRelation(ITEMS))
STEPS = [
    *(
        pytest.param(*step, marks=pytest.mark.release)
        for step in (
            ("destination.pending", 1, set()),
            ("destination.changed", 1, {"orders"}),
            ("destination.changed", 2, {"orders", "orders__items"}),
            ("destination.after-rows", 1, {"orders", "orders__items"}),
        )
    ),
    ("destination.before-commit", 1, {"orders", "orders__items"}),
]
"""Where a load ends, on which pass, and what is there then."""


@pytest.mark.parametrize(("point", "passes", "made"), STEPS)
def test_a_first_load_that_ended_is_done_by_the_next_process(
    clickhouse_url: str,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    passes: int,
    made: set[str],
) -> None:
    write = upsert([(1, 1, "x")], children=[items([(1, 0, 1, "a")])], stale=[ITEMS])
    plan = TableLoads(session).plan(table(ORDERS, ITEMS), write, changes=BOTH)
    die_at(monkeypatch, point, passes)
    with pytest.raises(Death):
        session.load(plan)
    monkeypatch.undo()
    loads = carry_on(clickhouse_url, session, plan)
    with loads.session:
        state = loads.session.state("web", "orders")
        assert set(state.physical) == made
        held = set() if state.table is None else {each.name for each in state.table.relations}
        assert (held, state.revision) == (made, 0)
        assert loads.session.committed(LOG) == {}
        with make_destination(clickhouse_url).preview() as reader:
            assert reader.state("web", "orders") == state
        changes = [change for change in BOTH if change.relation.name not in made]
        again = upsert([(1, 1, "x")], children=[items([(1, 0, 1, "a")])], stale=[ITEMS])
        result = loads.load(table(ORDERS, ITEMS), again, changes=changes)
        # What the dead process wrote counts as not there.
        assert dict(result.rows) == {"orders": 1, "orders__items": 1}
        assert dict(result.superseded) == {}
        assert loads.orders() == [(1, "x", 1)]
        assert loads.items() == [(1, 0, 1, "a")]
        assert loads.read("SELECT count(document) FROM _treadle.intents") == [(0,)]


def test_rows_and_rejections_that_are_only_added_come_once(
    clickhouse_url: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = relation("orders", {"id": BIGINT, "a": TEXT}, key=())
    first = TableLoads(session)
    first.create(log, append=True)

    def write() -> TableWrite:
        found = [(1, 5, "x"), (1, 5, "x")]
        return TableWrite(False, "append", rows(log, ("id", "_sdc_sequence", "a"), found))

    rejected = [Rejection("{}", "why", "orders", 0, 0)]
    plan = first.plan(table(log, append=True), write(), rejections=rejected)
    die(monkeypatch, session, plan, "destination.before-commit")
    loads = carry_on(clickhouse_url, session, plan)
    with loads.session:
        assert loads.read("SELECT count() FROM web.orders") == [(2,)]
        for _ in range(2):  # also where the next one dies as well
            plan = loads.plan(table(log, append=True), write(), rejections=rejected)
            die(monkeypatch, loads.session, plan, "destination.before-commit")
            loads.batched_at = plan.batched_at
        loads.load(table(log, append=True), write(), rejections=rejected)
        assert loads.read("SELECT count() FROM web.orders") == [(2,)]
        assert loads.read("SELECT count() FROM web._sdc_rejected") == [(1,)]


@pytest.mark.release
def test_an_insert_that_was_given_up_does_not_land_afterwards(
    clickhouse_url: str,
    session: Session,
    clickhouse_server: "ClickhouseServer",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = relation("orders", {"id": BIGINT, "a": TEXT}, key=())
    loads = TableLoads(session)
    loads.create(log, append=True)
    added = rows(log, ("id", "_sdc_sequence", "a"), [(1, 5, "x")])
    write = TableWrite(False, "append", added)
    plan = loads.plan(table(log, append=True), write)
    die(monkeypatch, session, plan, "destination.before-commit")
    client = clickhouse_server.connect()
    ended: list[int | None] = []

    def insert() -> None:  # what the dead process had sent
        try:
            client.raw_query(
                "INSERT INTO web.orders (id, _sdc_batched_at) SELECT 2 + sleepEachRow(0.1),"
                f" fromUnixTimestamp64Micro({plan.batched_at}) FROM numbers(600)",
                settings={
                    "insert_deduplication_token": f"{name_inserts('web', 'orders')}1:1:7",
                    "max_block_size": 1,
                },
            )
        except DatabaseError as error:
            ended.append(error.code)

    thread = threading.Thread(target=insert)
    thread.start()
    running = (
        "SELECT count() FROM system.processes"
        " WHERE Settings['insert_deduplication_token'] LIKE '%:1:7'"
    )
    until = time.monotonic() + 30
    while clickhouse_server.execute(running) == [(0,)] and time.monotonic() < until:
        time.sleep(0.05)
    again = carry_on(clickhouse_url, session, plan)
    with again.session:
        again.load(table(log, append=True), write)
        thread.join(60)
        assert ended == [394]
        assert again.read("SELECT id FROM web.orders") == [(1,)]


@pytest.mark.release
@pytest.mark.parametrize("is_dropped", [False, True])
def test_what_was_added_goes_where_the_next_load_adds_nothing(
    clickhouse_url: str, session: Session, monkeypatch: pytest.MonkeyPatch, is_dropped: bool
) -> None:
    log = relation("orders", {"id": BIGINT, "a": TEXT}, key=())
    first = TableLoads(session)
    first.create(log, append=True)
    added = rows(log, ("id", "_sdc_sequence", "a"), [(1, 5, "x"), (1, 5, "x")])
    rejected = [Rejection("{}", "why", "orders", 0, 0)]
    write = TableWrite(False, "append", added)
    plan = first.plan(table(log, append=True), write, rejections=rejected)
    die(monkeypatch, session, plan, "destination.before-commit")
    loads = carry_on(clickhouse_url, session, plan)
    with loads.session:
        if is_dropped:
            loads.read("DROP TABLE web._sdc_rejected")
        loads.load(None if is_dropped else table(log, append=True))
        assert loads.read("SELECT count() FROM web.orders") == [(0,)]
        if not is_dropped:
            assert loads.read("SELECT count() FROM web._sdc_rejected") == [(0,)]


def test_an_entry_that_was_not_written_is_made_up_for(
    clickhouse_url: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = TableLoads(session).plan(table(ORDERS), upsert([(1, 1, "x")]), changes=BOTH[:1])
    die(monkeypatch, session, plan, "destination.after-commit")
    loads = carry_on(clickhouse_url, session, plan)
    with loads.session:
        assert loads.session.committed(LOG)[7, "orders"].position == plan.offset.position
        with pytest.raises(PlanOutdatedError):
            loads.session.load(plan)
        state = loads.session.state("web", "orders")
        assert state.revision == 1
        assert state.table == table(ORDERS, batched_at=plan.batched_at)
        loads.position, loads.revision = plan.offset.position, 1
        late = loads.load(table(ORDERS), upsert([(1, 1, "late")]))
        assert dict(late.superseded) == {0: 1}
        assert loads.orders() == [(1, "x", 1)]


REKEYED = relation("orders", {"id": BIGINT, "a": TEXT}, key=("a",))


def die_amid_rekey(
    url: str, session: Session, monkeypatch: pytest.MonkeyPatch, point: str
) -> tuple[TableLoads, LoadPlan]:
    """Die at a failpoint while a table with one row gets another key.

    Returns:
        The loads of the next process, and the plan of the load that died.
    """
    loads = TableLoads(session)
    loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    plan = loads.plan(
        table(REKEYED),
        upsert([("k", 1, 7)], ("a", "_sdc_sequence", "id"), REKEYED),
        changes=[EmptyRelation("orders"), ChangeKey("orders", ("id",), ("a",))],
    )
    die(monkeypatch, session, plan, point)
    return carry_on(url, session, plan), plan


def test_a_new_version_with_another_key_is_built_beside_the_live_one(
    clickhouse_url: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = "destination.before-commit"
    loads, _ = die_amid_rekey(clickhouse_url, session, monkeypatch, point)
    with loads.session:
        # Nothing of it is to be seen, and nothing of the former rows is lost.
        assert loads.orders() == [(1, "x", 1)]
        state = loads.session.state("web", "orders")
        assert state.physical["orders"].key == {"id"}
        assert state.table is not None
        assert state.table.relations[0].key == ("id",)
        # The next load does not ask for it.
        loads.load(table(ORDERS), upsert([(2, 2, "y")]))
        assert len(loads.orders()) == 2
        assert set(loads.session.relations("web")) == {"orders"}


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("destination.after-commit", marks=pytest.mark.release),
        "destination.swap",
    ],
)
def test_the_next_process_swaps_what_a_committed_load_left(
    clickhouse_url: str, session: Session, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    loads, plan = die_amid_rekey(clickhouse_url, session, monkeypatch, point)
    with loads.session:
        assert loads.session.committed(LOG)[7, "orders"].position == plan.offset.position
        assert loads.session.state("web", "orders").physical["orders"].key == {"a"}
        assert loads.orders() == [(7, "k", 1)]
        assert set(loads.session.relations("web")) == {"orders"}
        with pytest.raises(PlanOutdatedError):
            loads.session.load(plan)


def test_tables_that_took_their_places_do_not_go_back(
    session: Session, clickhouse_url: str, clickhouse_server: "ClickhouseServer",
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A process that ends behind EXCHANGE TABLES leaves the old table under the draft's name."""
    loads, _ = die_amid_rekey(clickhouse_url, session, monkeypatch, "destination.swap")
    with loads.session:
        [(draft,)] = clickhouse_server.execute(
            "SELECT name FROM system.tables WHERE database = 'web' AND name LIKE 'draft%'"
        )
        clickhouse_server.execute(f"EXCHANGE TABLES web.orders AND web.`{draft}`")
        assert loads.session.state("web", "orders").physical["orders"].key == {"a"}
        assert loads.orders() == [(7, "k", 1)]
        assert set(loads.session.relations("web")) == {"orders"}


def test_a_version_that_was_emptied_keeps_its_rows_until_the_commit(
    clickhouse_url: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = TableLoads(session)
    kept = table(ORDERS, tombstones=True)
    loads.load(kept, upsert([(1, 1, "x"), (2, 1, "x")]), changes=[CreateRelation(ORDERS)])
    loads.load(kept, upsert([], deletes=rows(ORDERS, ("id", "_sdc_sequence"), [(2, 5)])))
    plan = loads.plan(kept, upsert([(2, 2, "y")]), changes=[EmptyRelation("orders")])
    die(monkeypatch, session, plan, "destination.before-commit")
    again = carry_on(clickhouse_url, session, plan)
    with again.session:
        assert again.orders() == [(1, "x", 1)]
        # What was deleted is still deleted, since the new version did not come.
        late = again.load(kept, upsert([(2, 3, "late")]))
        assert dict(late.superseded) == {0: 1}
        again.load(kept, upsert([(2, 2, "y")]), changes=[EmptyRelation("orders")])
        assert again.orders() == [(2, "y", 2)]


def test_a_stage_that_lost_its_rows_is_no_load_without_rows(
    session: Session, clickhouse_server: "ClickhouseServer", monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = TableLoads(session)
    loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])

    def empty_stage() -> None:
        [(name,)] = clickhouse_server.execute(
            "SELECT name FROM system.tables WHERE database = '_treadle' AND name LIKE 'rows\\_%'"
        )
        clickhouse_server.execute(f"TRUNCATE TABLE _treadle.`{name}`")

    pause_at(monkeypatch, "destination.staged", empty_stage)
    with pytest.raises(
        DestinationUnavailableError,
        match=r"1 row was sent .* holds 0 rows",
    ):
        session.load(loads.plan(table(ORDERS), upsert([(2, 1, "y")])))
    assert session.committed(LOG)[7, "orders"].position == 0
    loads.batched_at += 5_000_000
    loads.load(table(ORDERS), upsert([(2, 1, "y")]))
    assert loads.orders() == [(1, "x", 1), (2, "y", 1)]


@pytest.fixture
def own_server() -> Iterator["ClickhouseServer"]:
    """A server of this test alone, which may kill it."""
    from tests.servers.clickhouse import ClickhouseServer
    from tests.servers.database_server import NoServerError

    try:
        server = ClickhouseServer()
    except NoServerError as error:
        pytest.skip(str(error))
    with server:
        yield server


@pytest.mark.release
def test_a_server_that_was_killed_amid_a_load_has_what_was_staged(
    own_server: "ClickhouseServer", monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = TableLoads(make_destination(own_server.url()).open())
    loads.session.prepare("web")
    loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])

    def start_again() -> None:
        own_server.kill()
        own_server.start()

    pause_at(monkeypatch, "destination.staged", start_again)
    try:
        loads.load(table(ORDERS), upsert([(2, 1, "y")]))
    except DestinationUnavailableError:  # the connection was not made again
        loads.batched_at += 5_000_000
        loads.load(table(ORDERS), upsert([(2, 1, "y")]))
    assert loads.orders() == [(1, "x", 1), (2, "y", 1)]
    assert loads.session.committed(LOG)[7, "orders"].position == 1


@pytest.mark.release
def test_a_server_that_was_killed_has_all_that_it_committed(own_server: "ClickhouseServer") -> None:
    loads = TableLoads(make_destination(own_server.url()).open())
    loads.session.prepare("web")
    loads.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    own_server.kill()
    with pytest.raises(DestinationUnavailableError):
        loads.session.load(loads.plan(table(ORDERS), upsert([(2, 1, "y")])))
    own_server.start()
    loads.load(table(ORDERS), upsert([(2, 1, "y")]))
    assert loads.orders() == [(1, "x", 1), (2, "y", 1)]
    assert loads.session.committed(LOG)[7, "orders"].position == 1


# --- questions and rehearsals ---------------------------------------------------------------------


def test_a_question_that_takes_too_long_is_given_up(clickhouse_url: str) -> None:
    with make_destination(clickhouse_url).open() as session:
        began = time.monotonic()
        endless = "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(number)"
        assert session.count_query(endless, 0.2) is None
        assert time.monotonic() - began < 20
        assert session.count_query("SELECT 1 AS a UNION ALL SELECT 2 -- two", 10) == 2


def test_a_rehearsal_in_a_schema_that_is_missing_leaves_none(clickhouse_url: str) -> None:
    with make_destination(clickhouse_url).open() as session:
        loads = TableLoads(session)
        plan = loads.plan(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
        assert dict(session.load(plan, rehearse=True).rows) == {"orders": 1}
        schemas = session.query("SELECT schema_name FROM information_schema.schemata").rows
        assert ("web",) not in schemas
        assert session.query("SELECT count() FROM _treadle.schemas").rows == [(0,)]
        session.prepare("web")
        loads.run(plan)
        assert loads.orders() == [(1, "x", 1)]


@pytest.mark.release
def test_a_rehearsal_compares_with_the_rows_that_are_there(session: Session) -> None:
    wider = relation("orders", {"id": BIGINT, "a": TEXT, "b": TEXT})
    loads = TableLoads(session)
    loads.load(table(ORDERS), upsert([(1, 5, "x")]), changes=[CreateRelation(ORDERS)])
    plan = loads.plan(
        table(wider),
        upsert([(1, 4, "late"), (2, 1, "new")], of=wider),
        changes=[AddColumn("orders", column("b"))],
    )
    found = session.load(plan, rehearse=True)
    assert (dict(found.rows), dict(found.superseded)) == ({"orders": 1}, {0: 1})
    assert loads.orders() == [(1, "x", 5)]
    assert "b" not in session.state("web", "orders").physical["orders"].columns
    assert set(session.relations("web")) == {"orders"}
    emptied = loads.plan(table(ORDERS), upsert([(3, 1, "y")]), changes=[EmptyRelation("orders")])
    assert dict(session.load(emptied, rehearse=True).rows) == {"orders": 1}
    assert loads.orders() == [(1, "x", 5)]
    assert set(session.relations("web")) == {"orders"}


# --- widening -------------------------------------------------------------------------------------


def test_any_double_is_spelled_as_a_later_one_would_be(session: Session) -> None:
    dice = random.Random(7)
    values = [
        dice.choice((-1, 1)) * dice.random() * 10.0 ** dice.randint(-320, 300) for _ in range(400)
    ]
    values += [
        dice.choice((-1, 1)) * dice.random() * 10.0**n for n in range(-18, 22) for _ in "abc"
    ]
    values += [float(dice.randint(-(2**53), 2**53)) for _ in range(50)]
    values += [1e15 + n / 8 for n in range(1, 20)] + [1e-4, 9.999e-5, 1e-5, 1e-6, 1e16, 1e17, 1e21]
    narrow = relation("orders", {"id": BIGINT, "v": ColumnType.DOUBLE})
    wide = relation("orders", {"id": BIGINT, "v": TEXT})
    loads = TableLoads(session)
    write = upsert(
        [(n, 1, value) for n, value in enumerate(values)], ("id", "_sdc_sequence", "v"), narrow
    )
    loads.load(table(narrow), write, changes=[CreateRelation(narrow)])
    loads.load(table(wide), changes=[WidenColumn("orders", column("v", TEXT), ColumnType.DOUBLE)])
    found = [value for (value,) in loads.read("SELECT v FROM web.orders ORDER BY id")]
    assert found == list(to_values(widen_values(values, ColumnType.DOUBLE, TEXT)))


@pytest.mark.release
@pytest.mark.parametrize("died", [("destination.changed", 1), ("destination.before-commit", 1)])
def test_a_widening_that_was_cut_in_two_is_finished(
    clickhouse_url: str, session: Session, monkeypatch: pytest.MonkeyPatch, died: tuple[str, int]
) -> None:
    values = [1e21, 0.00001, -2.5, 1e16]
    narrow = relation("orders", {"id": BIGINT, "v": ColumnType.DOUBLE})
    wide = relation("orders", {"id": BIGINT, "v": TEXT})
    names = ("id", "_sdc_sequence", "v")
    first = TableLoads(session)
    held = [(n, 1, value) for n, value in enumerate(values)]
    first.load(table(narrow), upsert(held, names, narrow), changes=[CreateRelation(narrow)])
    widening = WidenColumn("orders", column("v", TEXT), ColumnType.DOUBLE)
    plan = first.plan(
        table(wide), upsert([(7, 1, "no number"), (8, 1, "later")], names, wide), changes=[widening]
    )
    die_at(monkeypatch, *died)
    with pytest.raises(Death):
        session.load(plan)
    monkeypatch.undo()
    loads = carry_on(clickhouse_url, session, plan)
    with loads.session:
        state = loads.session.state("web", "orders")
        assert state.physical["orders"].columns["v"] is TEXT
        assert state.table is not None
        # A load that holds fewer entries than the one that died.
        loads.load(table(wide), upsert([(7, 1, "no number")], names, wide))
        told = list(to_values(widen_values(values, ColumnType.DOUBLE, TEXT)))
        left = ["later"] if died[0] == "destination.before-commit" else []
        assert [value for (value,) in loads.read("SELECT v FROM web.orders ORDER BY id")] == [
            *told, "no number", *left,
        ]  # fmt: skip
