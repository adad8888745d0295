"""Iceberg tables in an object store, and in a REST catalogue: the real ones of SeaweedFS."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.integration.destinations.deaths import die
from tests.kinds import some_at_release

from treadle.destinations.conformance.builders import (
    ITEMS,
    LOG,
    ORDERS,
    TableLoads,
    items,
    table,
    upsert,
)
from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    PlanOutdatedError,
    Session,
)
from treadle.destinations.registry import make_destination
from treadle.tables.column_type import ColumnType
from treadle.tables.model import AddColumn, Column, CreateRelation

if TYPE_CHECKING:
    from tests.servers.iceberg import SeaweedServer


@pytest.fixture(params=["rest", *some_at_release("sql")])
def url(
    request: pytest.FixtureRequest, seaweed_server: "SeaweedServer", tmp_path: Path
) -> Iterator[str]:
    """A destination whose files are objects, of either kind of catalogue."""
    if request.param == "sql":
        yield seaweed_server.sql_url(tmp_path / "lake.db")
        return
    yield seaweed_server.rest_url()
    seaweed_server.empty()


@pytest.fixture
def session(url: str) -> Iterator[Session]:
    with make_destination(url).open() as opened:
        opened.prepare("web")
        yield opened


def test_loads_follow_each_other(session: Session) -> None:
    loads = TableLoads(session)
    loads.load(
        table(ORDERS, ITEMS),
        upsert([(1, 1, "x"), (2, 1, "y")], children=[items([(1, 0, 1, "a"), (2, 0, 1, "b")])]),
        changes=[CreateRelation(ORDERS), CreateRelation(ITEMS)],
    )
    wider = Column("c", "c", ColumnType.BIGINT)
    grown = ORDERS.__class__((), "orders", (*ORDERS.columns, wider), ORDERS.key, "orders")
    result = loads.load(
        table(grown, ITEMS),
        upsert(
            [(1, 2, "z", 5), (2, 1, "late", 5), (3, 1, "n", 5)],
            ("id", "_sdc_sequence", "a", "c"),
            grown,
            children=[items([(1, 1, 2, "c"), (3, 0, 1, "d")])],
            stale=[ITEMS],
        ),
        changes=[AddColumn("orders", wider)],
    )
    assert dict(result.rows) == {"orders": 2, "orders__items": 2}
    assert dict(result.superseded) == {0: 1}
    assert loads.read("SELECT id, a, c FROM web.orders ORDER BY id") == [
        (1, "z", 5),
        (2, "y", None),
        (3, "n", 5),
    ]
    assert loads.items() == [(1, 1, 2, "c"), (2, 0, 1, "b"), (3, 0, 1, "d")]
    assert session.committed(LOG)[7, "orders"].position == 1
    assert session.sequences("web", ORDERS, [[3, 9, 1]], private=False) == [1, None, 2]


def test_of_two_sessions_with_one_plan_one_wins(url: str, session: Session) -> None:
    loads = TableLoads(session)
    loads.create(ORDERS)
    plan = loads.plan(table(ORDERS), upsert([(1, 1, "x")]))
    session.load(plan)
    with make_destination(url).open() as other, pytest.raises(PlanOutdatedError):
        other.load(plan)
    assert loads.orders() == [(1, "x", 1)]


@pytest.mark.release
def test_an_account_loads_with_keys_of_its_own(
    seaweed_server: "SeaweedServer", monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is taken of the answers of a server that an account named; see security.md."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "MACHINE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "machine-secret")
    checked: set[str] = set()
    destination = make_destination(seaweed_server.rest_url(), checked.add)
    with destination.open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.create(ORDERS)
        loads.load(table(ORDERS), upsert([(1, 1, "x")]))
        loads.load(table(ORDERS), upsert([(1, 2, "y"), (2, 1, "z")]))
        assert loads.orders() == [(1, "y", 2), (2, "z", 1)]
    assert checked == {"127.0.0.1"}
    seaweed_server.empty()


def test_a_load_that_died_is_undone(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session
) -> None:
    """Rows and columns of a subtable are set back, which a REST catalogue has to understand."""
    loads = TableLoads(session)
    loads.load(
        table(ORDERS, ITEMS),
        upsert([(1, 1, "x")], children=[items([(1, 0, 1, "a")])]),
        changes=[CreateRelation(ORDERS), CreateRelation(ITEMS)],
    )
    wider = replace(ITEMS, columns=(*ITEMS.columns, Column("c", "c", ColumnType.BIGINT)))
    plan = loads.plan(
        table(ORDERS, wider),
        upsert([(1, 2, "y")], children=[items([(1, 0, 2, "b")], wider)], stale=[wider]),
        changes=[AddColumn("orders__items", Column("c", "c", ColumnType.BIGINT))],
    )
    die(monkeypatch, session, plan, "destination.part")
    assert loads.items() == [(1, 0, 2, "b")]
    again = TableLoads(session, position=0, revision=1, batched_at=plan.batched_at + 1)
    state = session.state("web", "orders")
    assert state.table is not None
    assert state.table.relations[1] == ITEMS
    again.load(table(ORDERS, ITEMS), upsert([(2, 1, "x")]))
    assert again.items() == [(1, 0, 1, "a")]


def test_a_wrong_secret_is_refused_and_not_repeated(seaweed_server: "SeaweedServer") -> None:
    wrong = seaweed_server.rest_url().replace(seaweed_server.secret_key, "5ecret")
    with pytest.raises(AccessDeniedError) as refused:
        make_destination(wrong).open()
    assert "5ecret" not in str(refused.value)


def test_a_server_that_is_away_is_told() -> None:
    from tests.servers.database_server import free_port

    away = make_destination(f"iceberg+rest://a:b@127.0.0.1:{free_port()}/?tls=false")
    with pytest.raises(DestinationUnavailableError, match="cannot be reached"):
        away.open()
