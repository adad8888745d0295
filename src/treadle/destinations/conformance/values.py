"""Odd names and extreme values reach the tables unchanged (loading.md 3, 6)."""

import random
from datetime import UTC, datetime
from decimal import Decimal
from math import inf, isnan, nan
from typing import Any

import pytest

from treadle.destinations.conformance.builders import (
    BIGINT,
    TEXT,
    TableLoads,
    column,
    relation,
    rows,
    table,
    upsert,
)
from treadle.destinations.conformance.traits import ODD_NAMES, DestinationTraits
from treadle.destinations.protocol import Destination, RowRefusedError, Session
from treadle.tables.column_type import ColumnType
from treadle.tables.model import AddColumn, CreateRelation, TableWrite
from treadle.tables.prepare.decimals import fit_decimal
from treadle.tables.schema_owner import UNOWNED
from treadle.text import cut_text


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_is_only_a_name(
    session: Session, loads: TableLoads, traits: DestinationTraits, name: str
) -> None:
    if name in traits.names_refused:
        pytest.skip("the profile replaces it before a load")
    loads.read(f"CREATE TABLE web.canary{traits.table_options} AS SELECT 1 AS a")
    odd = relation(name, {f"k {name}"[:59]: BIGINT, name: TEXT}, key=(f"k {name}"[:59],))
    key = odd.key[0]
    loads.table_name = name
    columns = (key, "_sdc_sequence", name)
    loads.load(table(odd), upsert([(1, 1, "x")], columns, odd), changes=[CreateRelation(odd)])
    result = loads.load(table(odd), upsert([(1, 2, "y"), (2, 2, "z")], columns, odd))
    assert dict(result.rows) == {name: 2}
    late = loads.load(table(odd), upsert([(1, 2, "late")], columns, odd))
    assert dict(late.superseded) == {0: 1}
    assert session.sequences("web", odd, [[2, 1, 3]], private=False) == [2, 2, None]
    state = session.state("web", name)
    assert state.table is not None
    assert state.table.name == name
    assert state.physical[name].columns[name] is TEXT
    assert state.physical[name].key == {key}
    assert loads.read("SELECT a FROM web.canary") == [(1,)]


@pytest.mark.parametrize("schema", ["Odd Schema", 'quo"te', "data", "select", "main"])
def test_any_schema_is_only_a_name(
    session: Session, schema: str, traits: DestinationTraits
) -> None:
    if schema in traits.names_refused | traits.schemas_refused:
        pytest.skip("no source has such a schema, or the database under test cannot have it")
    session.adopt(schema, UNOWNED)  # some databases have one of these names already
    session.prepare(schema)
    made = relation("orders", {"id": BIGINT, "a": TEXT})
    loads = TableLoads(session)
    plan = loads.plan(table(made), upsert([(1, 1, "x")]), changes=[CreateRelation(made)])
    plan.schema = schema
    loads.run(plan)
    assert session.state(schema, "orders").revision == 1
    assert session.state("web", "orders").revision == 0


def test_a_table_may_be_called_like_the_index_of_another(loads: TableLoads) -> None:
    first = relation("a", {"id": BIGINT})
    second = relation("a_pkey", {"id": BIGINT})
    loads.load(table(first), changes=[CreateRelation(first)])
    other = TableLoads(loads.session, table_name="a_pkey")
    other.load(table(second), changes=[CreateRelation(second)])
    loads.load(table(first), upsert([(1, 1)], ("id", "_sdc_sequence"), first))
    assert loads.read("SELECT id FROM web.a") == [(1,)]


def test_names_that_differ_by_case_follow_the_profile(
    session: Session, destination: Destination, loads: TableLoads
) -> None:
    made = relation("Orders", {"id": BIGINT})
    loads.load(table(made), changes=[CreateRelation(made)])
    same = destination.profile.fold("Orders") == destination.profile.fold("orders")
    found = session.state("web", "orders")
    assert (found.revision == 1) is same
    assert set(found.physical) == ({"Orders"} if same else set())


EXTREMES: list[tuple[ColumnType, list[Any]]] = [
    (ColumnType.BIGINT, [0, -(2**63), 2**63 - 1, None]),
    (ColumnType.BOOLEAN, [True, False, None]),
    (ColumnType.DOUBLE, [0.0, -0.5, 5e-324, 1.7976931348623157e308, inf, -inf, None]),
    (
        ColumnType.DECIMAL,
        [
            Decimal(0),
            Decimal("-0.000000001"),
            Decimal("99999999999999999999999999999.999999999"),
            Decimal("-99999999999999999999999999999.999999999"),
            Decimal("1E+28"),
            None,
        ],
    ),
    (
        ColumnType.TEXT,
        ["", " ", "tab\tnew\nline\\", "ünï 🧵 \u202e \ufffd", "NULL", "\\N", "x" * 3_000_000, None],
    ),
    (ColumnType.JSON, ['{"a": [1, 2.5, "x", null, "🧵"]}', "[]", "3", None]),
]


@pytest.mark.parametrize(("type_", "values"), EXTREMES, ids=lambda v: str(v)[:10])
@pytest.mark.parametrize("staged", [False, True], ids=["fresh", "staged"])
def test_every_value_of_a_type_comes_back(
    destination: Destination,
    loads: TableLoads,
    traits: DestinationTraits,
    type_: ColumnType,
    values: list[Any],
    staged: bool,
) -> None:
    if type_ is ColumnType.DOUBLE and not traits.nonfinite_doubles:
        values = [value for value in values if value not in (inf, -inf)]
    if type_ is ColumnType.DECIMAL:
        profile = destination.profile
        values = [v for v in values if v is None or fit_decimal(v, profile) == v]
        if profile.decimal_scale_max is not None and profile.decimal_scale_max < 100:
            digits, scale = profile.decimal_integer_digits_max, profile.decimal_scale_max
            values += [Decimal("9" * digits + "." + "9" * scale), Decimal(-1).scaleb(-scale)]
    text_bytes_max = destination.profile.text_bytes_max
    if type_ is TEXT and text_bytes_max is not None:  # longer ones are cut before a load
        values = [None if value is None else cut_text(value, text_bytes_max) for value in values]
    made = relation("orders", {"id": BIGINT, "v": type_})
    if staged:
        loads.create(made)
    loads.load(
        table(made),
        upsert(
            [(number, 1, value) for number, value in enumerate(values)],
            ("id", "_sdc_sequence", "v"),
            made,
        ),
        changes=[] if staged else [CreateRelation(made)],
    )
    if type_ is ColumnType.JSON:
        assert loads.read("SELECT count(v) FROM web.orders") == [(3,)]
        return
    assert [value for (value,) in loads.read("SELECT v FROM web.orders ORDER BY id")] == values


def test_not_a_number_is_a_double(loads: TableLoads, traits: DestinationTraits) -> None:
    if not traits.nonfinite_doubles:
        pytest.skip("a double column takes finite numbers only")
    made = relation("orders", {"id": BIGINT, "v": ColumnType.DOUBLE})
    loads.load(
        table(made),
        upsert([(1, 1, nan)], ("id", "_sdc_sequence", "v"), made),
        changes=[CreateRelation(made)],
    )
    assert isnan(loads.read("SELECT v FROM web.orders")[0][0])


@pytest.mark.parametrize("staged", [False, True], ids=["fresh", "staged"])
def test_every_timestamp_of_the_profile_is_exact(
    destination: Destination, loads: TableLoads, traits: DestinationTraits, staged: bool
) -> None:
    profile = destination.profile
    values = [
        # Rows of before treadle had these bounds may lie beyond them.
        -62_135_596_800_000_001,  # the last microsecond of 1 BC
        profile.timestamp_min_us,
        -1,
        0,
        1,
        1_700_000_000_123_456,
        profile.timestamp_max_us,
        253_402_300_800_000_000,
        9_007_199_254_740_993_001,
    ]
    if not traits.timestamps_beyond:
        values = values[1:-2]
    made = relation("orders", {"id": BIGINT, "v": ColumnType.TIMESTAMP})
    if staged:
        loads.create(made)
    loads.load(
        table(made),
        upsert(
            [*((number, 1, value) for number, value in enumerate(values)), (99, 1, None)],
            ("id", "_sdc_sequence", "v"),
            made,
        ),
        changes=[] if staged else [CreateRelation(made)],
    )
    exact = (
        f"SELECT {traits.timestamp_microseconds.format(column='v')}"
        " FROM web.orders WHERE v IS NOT NULL ORDER BY id"
    )
    assert [int(value) for (value,) in loads.read(exact)] == values
    found = loads.read("SELECT v FROM web.orders ORDER BY id")
    read = dict(zip([*values, None], (value for (value,) in found), strict=True))
    moment = read[1_700_000_000_123_456]
    assert moment == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    assert moment.tzinfo is UTC or moment.utcoffset().total_seconds() == 0
    assert read[profile.timestamp_min_us] == datetime(1, 1, 1, tzinfo=UTC)
    assert read[profile.timestamp_max_us] == datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)
    assert read[None] is None
    if traits.timestamps_beyond:
        assert read[-62_135_596_800_000_001].endswith(" BC")
        assert isinstance(read[253_402_300_800_000_000], str)


def test_every_type_may_be_a_key(session: Session, loads: TableLoads) -> None:
    values: dict[str, tuple[ColumnType, list[Any]]] = {
        "a": (ColumnType.BIGINT, [1, 2]),
        "b": (ColumnType.BOOLEAN, [True, False]),
        "c": (ColumnType.DECIMAL, [Decimal("1.5"), Decimal(2)]),
        "d": (ColumnType.DOUBLE, [0.5, 1e300]),
        "e": (ColumnType.TEXT, ["x", "ü"]),
        "f": (ColumnType.TIMESTAMP, [1_700_000_000_123_456, -1]),
    }
    made = relation("orders", {n: t for n, (t, _) in values.items()}, key=tuple(values))
    keys = [found for _, found in values.values()]
    for sequence in (1, 2):
        write = upsert(
            [(*row, sequence) for row in zip(*keys, strict=True)],
            (*values, "_sdc_sequence"),
            made,
        )
        loads.load(table(made), write, changes=[CreateRelation(made)] if sequence == 1 else [])
    assert session.sequences("web", made, keys, private=False) == [2, 2]
    assert loads.read("SELECT count(*) FROM web.orders") == [(2,)]


def test_wide_tables(loads: TableLoads) -> None:
    names = [f"c{number:04}" for number in range(400)]
    narrow = relation("orders", {"id": BIGINT})
    wide = relation("orders", {"id": BIGINT, **dict.fromkeys(names, BIGINT)})
    loads.create(narrow)
    loads.load(
        table(wide),
        upsert([(1, 1, *range(400))], ("id", "_sdc_sequence", *names), wide),
        changes=[AddColumn("orders", column(name, BIGINT)) for name in names],
    )
    assert loads.read("SELECT c0000, c0399 FROM web.orders") == [(0, 399)]


# --- what an engine refuses -----------------------------------------------------------------------


def test_a_refused_value_changes_nothing(
    destination: Destination, session: Session, loads: TableLoads, traits: DestinationTraits
) -> None:
    if not traits.enforces_unique:
        pytest.skip("nothing that a user makes refuses a row")
    made = relation("orders", {"id": BIGINT, "a": TEXT})
    loads.load(table(made), upsert([(1, 1, "x")]), changes=[CreateRelation(made)])
    loads.read(f"CREATE UNIQUE INDEX mine ON web.orders ({traits.index_text.format(column='a')})")
    wider = relation("orders", {"id": BIGINT, "a": TEXT, "b": TEXT})
    plan = loads.plan(
        table(wider),
        upsert([(2, 1, "y"), (3, 1, "x")], of=wider),
        changes=[AddColumn("orders", column("b"))],
    )
    with pytest.raises(RowRefusedError, match=traits.duplicate_text):
        session.load(plan)
    assert loads.orders() == [(1, "x", 1)]
    if destination.capabilities.transactional_ddl:
        assert "b" not in session.state("web", "orders").physical["orders"].columns
    assert session.state("web", "orders").revision == 1


def test_a_lone_surrogate_is_refused_not_fatal(loads: TableLoads) -> None:
    made = relation("orders", {"id": BIGINT, "a": TEXT})
    loads.create(made)
    with pytest.raises(RowRefusedError):
        loads.load(table(made), upsert([(1, 1, "a\ud800b")]))
    loads.load(table(made), upsert([(1, 1, "fine")]))
    assert loads.orders() == [(1, "fine", 1)]


def test_a_row_past_a_page_is_too_big_for_postgresql(
    loads: TableLoads, traits: DestinationTraits
) -> None:
    names = [f"c{number:04}" for number in range(1500)]
    wide = relation("orders", {"id": BIGINT, **dict.fromkeys(names, BIGINT)})
    write = upsert([(1, 1, *range(10**9, 10**9 + 1500))], ("id", "_sdc_sequence", *names), wide)
    if traits.row_too_big is None:
        loads.load(table(wide), write, changes=[CreateRelation(wide)])
        assert loads.read("SELECT count(*) FROM web.orders") == [(1,)]
        return
    with pytest.raises(RowRefusedError) as refused:
        loads.load(table(wide), write, changes=[CreateRelation(wide)])
    assert refused.value.reason == traits.row_too_big


def test_a_key_past_an_index_entry_is_too_big_for_postgresql(
    loads: TableLoads, traits: DestinationTraits
) -> None:
    letters = random.Random(5)
    key = "".join(chr(letters.randrange(0x4E00, 0x9FFF)) for _ in range(3_000))
    made = relation("orders", {"k": TEXT}, key=("k",))
    write = TableWrite(False, "upsert", rows(made, ("k", "_sdc_sequence"), [(key, 1)]))
    if traits.key_too_big is None:
        loads.load(table(made), write, changes=[CreateRelation(made)])
        assert loads.read("SELECT k FROM web.orders") == [(key,)]
        return
    with pytest.raises(RowRefusedError) as refused:
        loads.load(table(made), write, changes=[CreateRelation(made)])
    assert refused.value.reason == traits.key_too_big
