"""Loads into columns of PostgreSQL whose type a person changed (loading.md 5.2)."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from tests.kinds import some_at_release

from treadle.destinations.conformance.builders import (
    BIGINT,
    TEXT,
    TableLoads,
    relation,
    rows,
    table,
    upsert,
)
from treadle.destinations.postgres.copy_format import ROWS_MIN
from treadle.destinations.protocol import Session
from treadle.destinations.registry import make_destination
from treadle.errors import TableStoppedError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import CreateRelation, Rejection, TableWrite

RELEASE = pytest.mark.release
"""Of what repeats with another type."""

DAY = 1_700_006_400_000_000
"""A midnight, microseconds since 1970."""


def begin(session: Session, held: ColumnType, altered: str, value: Any) -> TableLoads:
    """Load one order, and then change the type of its column `a`."""
    session.prepare("web")
    loads = TableLoads(session)
    orders = relation("orders", {"id": BIGINT, "a": held})
    loads.load(table(orders), upsert([(1, 1, value)], of=orders), changes=[CreateRelation(orders)])
    session.query(f"ALTER TABLE web.orders ALTER COLUMN a TYPE {altered} USING a::{altered}")
    return loads


@pytest.mark.parametrize("count", [2, pytest.param(ROWS_MIN, marks=RELEASE)])
@pytest.mark.parametrize(
    ("held", "altered", "value", "expected"),
    [
        (BIGINT, "numeric(12,2)", 700, Decimal("700.00")),
        pytest.param(BIGINT, "numeric", 70_000, Decimal(70_000), marks=RELEASE),
        pytest.param(BIGINT, "double precision", 42, 42.0, marks=RELEASE),
        pytest.param(BIGINT, "integer", 42, 42, marks=RELEASE),
        pytest.param(BIGINT, "text", 42, "42", marks=RELEASE),
        pytest.param(ColumnType.DOUBLE, "numeric", 1.5, Decimal("1.5"), marks=RELEASE),
        pytest.param(ColumnType.DOUBLE, "real", 1.5, 1.5, marks=RELEASE),
        (ColumnType.JSON, "text", '{"a": 1}', '{"a": 1}'),
        pytest.param(ColumnType.JSON, "json", '{"a": 1}', {"a": 1}, marks=RELEASE),
        (ColumnType.TIMESTAMP, "date", DAY, date(2023, 11, 15)),
        (TEXT, "varchar(20)", "abcd", "abcd"),
    ],
)
def test_new_rows_take_the_type_that_a_person_gave_a_column(
    postgres_database: str,
    held: ColumnType,
    altered: str,
    value: Any,
    expected: Any,
    count: int,
) -> None:
    orders = relation("orders", {"id": BIGINT, "a": held})
    with make_destination(postgres_database).open() as session:
        loads = begin(session, held, altered, value)
        new = [(key, 1, value) for key in range(2, 2 + count)]
        result = loads.load(table(orders), upsert(new, of=orders))
        assert result.rows == {"orders": count}
        loads.load(table(orders), upsert([(2, 2, value)], of=orders))
        assert loads.read("SELECT a FROM web.orders") == [(expected,)] * (1 + count)


@pytest.mark.parametrize(
    ("held", "altered", "value"),
    [
        (TEXT, "integer", "1234"),
        (TEXT, "jsonb", '{"a": 1}'),
        pytest.param(TEXT, "uuid", "00000000-0000-4000-8000-000000000001", marks=RELEASE),
        pytest.param(ColumnType.BOOLEAN, "integer", True, marks=RELEASE),
    ],
)
def test_a_type_that_values_do_not_become_by_themselves_stops_the_table(
    postgres_database: str, held: ColumnType, altered: str, value: Any
) -> None:
    orders = relation("orders", {"id": BIGINT, "a": held})
    with make_destination(postgres_database).open() as session:
        loads = begin(session, held, altered, value)
        for key in (1, 2):  # a row that is replaced, and a new one
            with pytest.raises(TableStoppedError, match="give the column its former type again"):
                loads.load(table(orders), upsert([(key, 2, value)], of=orders))
        assert loads.read("SELECT id FROM web.orders") == [(1,)]
        session.query(f"ALTER TABLE web.orders DROP COLUMN a, ADD COLUMN a {_spell(held)}")
        loads.load(table(orders), upsert([(2, 2, value)], of=orders))
        assert loads.read("SELECT id FROM web.orders ORDER BY id") == [(1,), (2,)]


def _spell(type_: ColumnType) -> str:
    return {TEXT: "text", ColumnType.BOOLEAN: "boolean"}[type_]


@pytest.mark.parametrize("altered", ["numeric", *some_at_release("double precision", "integer")])
def test_a_key_of_another_type_is_compared_by_its_value(
    postgres_database: str, altered: str
) -> None:
    orders = relation("orders", {"id": BIGINT, "a": TEXT})
    with make_destination(postgres_database).open() as session:
        loads = begin(session, TEXT, "text", "x")
        session.query(f"ALTER TABLE web.orders ALTER COLUMN id TYPE {altered}")
        loads.load(table(orders), upsert([(1, 2, "y"), (5, 1, "z"), (10, 1, "z")], of=orders))
        loads.load(table(orders), upsert([(5, 2, "new"), (11, 1, "z")], of=orders))
        assert loads.orders() == [(1, "y", 2), (5, "new", 2), (10, "z", 1), (11, "z", 1)]


def test_rows_that_are_only_added_take_the_type_too(postgres_database: str) -> None:
    events = relation("events", {"a": BIGINT}, key=())
    with make_destination(postgres_database).open() as session:
        session.prepare("web")
        loads = TableLoads(session, "events")
        loads.create(events, append=True)
        session.query("ALTER TABLE web.events ALTER COLUMN a TYPE numeric")
        sent = rows(events, ("a", "_sdc_sequence"), [(7, 1), (8, 1)])
        loads.load(table(events, append=True), TableWrite(False, "append", sent))
        assert loads.read("SELECT a FROM web.events ORDER BY a") == [(Decimal(7),), (Decimal(8),)]


def test_a_changed_column_of_rejections_stops_what_is_rejected(postgres_database: str) -> None:
    orders = relation("orders", {"id": BIGINT, "a": TEXT})
    rejection = Rejection('{"id": null}', "because", "orders", 0, 0)
    with make_destination(postgres_database).open() as session:
        loads = begin(session, TEXT, "text", "x")
        session.query(
            "ALTER TABLE web._sdc_rejected ALTER COLUMN record TYPE jsonb USING record::jsonb"
        )
        with pytest.raises(TableStoppedError, match='column "record" is of type jsonb'):
            loads.load(table(orders), upsert([(2, 1, "y")]), rejections=[rejection])
        loads.load(table(orders), upsert([(2, 1, "y")]))
        assert loads.orders() == [(1, "x", 1), (2, "y", 1)]


def test_the_types_are_of_the_table_that_is_loaded(postgres_database: str) -> None:
    """Somebody may change a type between two loads of one session, and waits while one runs."""
    orders = relation("orders", {"id": BIGINT, "a": BIGINT})
    with (
        make_destination(postgres_database).open() as session,
        make_destination(postgres_database).open() as person,
    ):
        loads = begin(session, BIGINT, "bigint", 1)
        for number, altered in enumerate(["numeric", "bigint", "double precision"], 2):
            loads.load(table(orders), upsert([(number * 10, 1, 42)], of=orders))
            person.query(f"ALTER TABLE web.orders ALTER COLUMN a TYPE {altered}")
            loads.load(table(orders), upsert([(number * 10 + 1, 1, 42)], of=orders))
        assert loads.read("SELECT DISTINCT a FROM web.orders WHERE id > 1") == [(42.0,)]
