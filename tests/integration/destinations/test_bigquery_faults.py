"""Loads into BigQuery that are interrupted, or whose answers are lost, and what is there then.

The emulator carries a job out at once, so no job of another process runs here; and it has no
accounts, so no right is missing. Both are in tests/unit/destinations/test_bigquery.py, on values.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from google.api_core import exceptions
from tests.integration.destinations.deaths import carry_on, die

from treadle import failpoint
from treadle.destinations.bigquery.jobs import REQUEST, RETRY
from treadle.destinations.conformance.builders import (
    BIGINT,
    LOG,
    ORDERS,
    TEXT,
    TableLoads,
    column,
    relation,
    rows,
    table,
    upsert,
)
from treadle.destinations.protocol import (
    CommitUnknownError,
    DestinationUnavailableError,
    FencedError,
    PlanOutdatedError,
    Session,
)
from treadle.destinations.registry import make_destination
from treadle.errors import OperatorError
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    CreateRelation,
    EmptyRelation,
    LoadPlan,
    Rejection,
    StagedVersion,
)

if TYPE_CHECKING:
    from tests.servers.bigquery import BigqueryServer

pytestmark = pytest.mark.release

WIDER = relation("orders", {"id": BIGINT, "a": TEXT, "b": BIGINT})


@pytest.fixture
def session(bigquery_url: str) -> Iterator[Session]:
    with make_destination(bigquery_url).open() as opened:
        opened.prepare("web")
        yield opened


@pytest.fixture
def loads(session: Session) -> TableLoads:
    made = TableLoads(session)
    made.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    return made


# --- answers that are lost ------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("lost", ["script", "rows"])
def test_a_request_that_is_not_answered_is_repeated_and_done_once(
    bigquery_server: "BigqueryServer", loads: TableLoads, lost: str, after: bool
) -> None:
    without = "_stage_" if lost == "script" else "\0"
    bigquery_server.lose(1, after=after, prefix="treadle_load_", without=without)
    done = loads.load(table(ORDERS), upsert([(1, 2, "y"), (2, 1, "z")]))
    assert dict(done.rows) == {"orders": 2}
    assert loads.orders() == [(1, "y", 2), (2, "z", 1)]
    assert loads.session.committed(LOG)[7, "orders"].position == loads.position


def test_a_load_that_nobody_answers_is_known_by_its_offset(
    bigquery_server: "BigqueryServer", loads: TableLoads, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = loads.plan(table(ORDERS), upsert([(1, 2, "y")]))
    with monkeypatch.context() as patch:
        patch.setitem(REQUEST, "retry", RETRY.with_timeout(0.5))
        patch.setattr(
            type(loads.session._transactions.connection.driver),  # type: ignore[attr-defined]
            "get_job",
            _fail,
        )
        bigquery_server.lose(1, after=True, prefix="treadle_load_", without="_stage_")
        with pytest.raises(CommitUnknownError, match="while a load was committed"):
            loads.session.load(plan)
    assert loads.session.committed(LOG)[7, "orders"].position == plan.offset.position
    with pytest.raises(PlanOutdatedError):
        loads.session.load(plan)
    assert loads.orders() == [(1, "y", 2)]


def _fail(*_: object, **__: object) -> None:
    raise exceptions.ServiceUnavailable("nobody answers")


def test_rows_that_do_not_arrive_leave_the_destination_unavailable(
    bigquery_server: "BigqueryServer", loads: TableLoads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REQUEST, "retry", RETRY.with_timeout(0.5))
    bigquery_server.lose(100, prefix="treadle_load_")
    with pytest.raises(DestinationUnavailableError):
        loads.load(table(ORDERS), upsert([(1, 2, "y")]))
    bigquery_server.lose(0)
    loads.load(table(ORDERS), upsert([(1, 2, "y")]))
    assert loads.orders() == [(1, "y", 2)]


def test_a_report_that_is_longer_than_a_script_is_kept(session: Session) -> None:
    """The first load of a table inserts its offset, the second one updates it."""
    loads = TableLoads(session)
    for sequence in (1, 2):
        made = [] if sequence > 1 else [CreateRelation(ORDERS)]
        report = f"{sequence}" * 1_500_000
        plan = loads.plan(table(ORDERS), upsert([(1, sequence, "x")]), changes=made, report=report)
        loads.run(plan)
        assert session.committed(LOG)[7, "orders"].report == report
    assert loads.orders() == [(1, "x", 2)]


# --- the guard ------------------------------------------------------------------------------------


def test_a_loader_that_was_overtaken_writes_nothing(bigquery_url: str, loads: TableLoads) -> None:
    """Its plan has no schema change, so nothing but the script compares it."""
    late = loads.plan(table(ORDERS), upsert([(1, 9, "late")]))
    with make_destination(bigquery_url).open() as other:
        newer = TableLoads(other, position=loads.position, revision=loads.revision, fence=5)
        newer.batched_at = loads.batched_at
        newer.load(table(ORDERS), upsert([(1, 2, "new")]))
        with pytest.raises(FencedError, match="overtaken by 5"):
            loads.session.load(late)
        assert newer.orders() == [(1, "new", 2)]


STAGED = relation("stage_ab12_200", {"id": BIGINT, "a": TEXT})


def test_a_loader_that_was_overtaken_drops_no_stage(
    bigquery_url: str, loads: TableLoads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on when its successor has filled a stage of the same name."""
    stage = StagedVersion(200, ORDERS.columns[4:5], (STAGED,), 0)

    def plan(of: TableLoads, key: int) -> LoadPlan:
        return of.plan(
            table(ORDERS, stages=(stage,)),
            upsert([(key, 1, "staged")], of=STAGED, private=True),
            changes=[CreateRelation(STAGED, private=True)],
        )

    late = plan(loads, 3)
    # Locks are those of a process and a destination: by another name it is another one.
    with make_destination(bigquery_url.replace("127.0.0.1", "localhost")).open() as other:
        newer = TableLoads(other, position=loads.position, revision=loads.revision, fence=5)
        newer.batched_at = loads.batched_at
        waiting = [plan(newer, 4)]

        def reach(name: str) -> None:
            if name == "destination.pending" and waiting:
                newer.run(waiting.pop())

        monkeypatch.setattr(failpoint, "reach", reach)
        with pytest.raises(FencedError, match="overtaken by 5"):
            loads.session.load(late)
        assert newer.read(f"SELECT id FROM _treadle.{STAGED.name}") == [(4,)]
        assert newer.read("SELECT * FROM _treadle.intents") == []


def test_a_script_that_is_refused_changes_nothing(
    bigquery_server: "BigqueryServer", loads: TableLoads
) -> None:
    bigquery_server.execute("DROP TABLE _treadle.positions")
    rejected = Rejection("{}", "why", "orders", 0, 0)
    with pytest.raises(PlanOutdatedError):
        loads.load(table(ORDERS), upsert([(1, 2, "y")]), rejections=[rejected])
    assert loads.orders() == [(1, "x", 1)]
    assert loads.read("SELECT COUNT(*) FROM web._sdc_rejected") == [(0,)]


def test_the_door_refuses_what_the_service_refuses(bigquery_server: "BigqueryServer") -> None:
    """Without it the other tests would not show that no script defines a table."""
    bigquery_server.execute("CREATE SCHEMA IF NOT EXISTS web")
    inside = "BEGIN TRANSACTION; CREATE TABLE web.x (a INT64); COMMIT TRANSACTION"
    with pytest.raises(exceptions.BadRequest, match="not supported in a transaction"):
        bigquery_server.execute(inside)
    client = bigquery_server.connect()
    client.query("SELECT 1", job_id="twice", job_retry=None).result()
    with pytest.raises(exceptions.Conflict, match="Already Exists: Job twice"):
        client.query("SELECT 2", job_id="twice", job_retry=None)
    bigquery_server.empty()


# --- loads that end in between --------------------------------------------------------------------

POINTS = (
    *("destination.pending", "destination.changed", "destination.after-changes"),
    *("destination.after-rows", "destination.before-commit", "destination.after-commit"),
)


def _wider(loads: TableLoads) -> LoadPlan:
    found = loads.session.state("web", "orders").physical["orders"]
    write = upsert([(1, 2, "y", 5)], ("id", "_sdc_sequence", "a", "b"), WIDER)
    added = [] if "b" in found.columns else [AddColumn("orders", column("b", BIGINT))]
    return loads.plan(table(WIDER), write, changes=added)


@pytest.mark.parametrize("point", POINTS)
def test_a_load_that_ends_early_is_carried_on(
    bigquery_url: str, loads: TableLoads, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    plan = _wider(loads)
    die(monkeypatch, loads.session, plan, point)
    after = carry_on(bigquery_url, loads.session, plan)
    done = after.session.committed(LOG)[7, "orders"].position == plan.offset.position
    assert done is (point == "destination.after-commit")
    if not done:
        assert after.orders() == [(1, "x", 1)]
        after.run(_wider(after))
    assert after.read("SELECT id, a, b, _sdc_sequence FROM web.orders") == [(1, "y", 5, 2)]
    state = after.session.state("web", "orders")
    assert state.table is not None
    assert [each.name for each in state.table.relations[0].columns][-1] == "b"
    assert state.physical["orders"].key == {"id"}
    after.session.close()


@pytest.mark.parametrize("point", ["destination.pending", "destination.changed"])
def test_a_table_whose_making_ended_early_has_its_key(
    bigquery_url: str, session: Session, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    loads = TableLoads(session)
    plan = loads.plan(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    die(monkeypatch, session, plan, point)
    after = carry_on(bigquery_url, session, plan)
    made = [] if after.session.state("web", "orders").physical else [CreateRelation(ORDERS)]
    after.load(table(ORDERS), upsert([(1, 1, "x")]), changes=made)
    assert after.orders() == [(1, "x", 1)]
    assert after.session.state("web", "orders").physical["orders"].key == {"id"}
    after.session.close()


@pytest.mark.parametrize("point", ["destination.after-commit", "destination.swap"])
def test_deleted_keys_of_another_key_take_their_place_though_the_load_ended(
    bigquery_url: str, loads: TableLoads, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    gone = rows(ORDERS, ("id", "_sdc_sequence"), [(1, 5)])
    loads.load(table(ORDERS, tombstones=True), upsert([], deletes=gone))
    rekeyed = relation("orders", {"id": BIGINT, "a": TEXT}, key=("a",))
    plan = loads.plan(
        table(rekeyed, tombstones=True),
        upsert([("k", 1, 7)], ("a", "_sdc_sequence", "id"), rekeyed),
        changes=[EmptyRelation("orders"), ChangeKey("orders", ("id",), ("a",))],
    )
    die(monkeypatch, loads.session, plan, point)
    after = carry_on(bigquery_url, loads.session, plan)
    assert after.session.state("web", "orders").physical["orders"].key == {"a"}
    after.position, after.revision = plan.offset.position, plan.revision + 1
    deleted = rows(rekeyed, ("a", "_sdc_sequence"), [("k", 5)])
    after.load(table(rekeyed, tombstones=True), upsert([], of=rekeyed, deletes=deleted))
    late = upsert([("k", 3, 8)], ("a", "_sdc_sequence", "id"), rekeyed)
    after.load(table(rekeyed, tombstones=True), late)
    assert after.orders() == []
    after.session.close()


# --- sessions for reading -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM web.orders WHERE TRUE",
        "CREATE TABLE web.mine (a INT64)",
        "SELECT 1; SELECT 2",
    ],
)
def test_a_session_for_reading_runs_nothing_but_a_select(
    bigquery_url: str, loads: TableLoads, statement: str
) -> None:
    with make_destination(bigquery_url).open(read_only=True) as reader:
        with pytest.raises(OperatorError, match="expected one statement that can be run here"):
            reader.query(statement)
        assert reader.query("SELECT id FROM web.orders").rows == [(1,)]
