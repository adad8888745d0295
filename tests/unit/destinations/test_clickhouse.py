"""ClickHouse without a server: its URL, its form, its names, types, rows, answers and errors."""

import io
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from hypothesis import given
from hypothesis import strategies as st

from treadle.destinations.asking import ValueForm
from treadle.destinations.clickhouse.asking import choose_form, spell_answer
from treadle.destinations.clickhouse.dialect import VIEW_MARK, ClickhouseDialect
from treadle.destinations.clickhouse.errors import (
    is_missing,
    is_refused_change,
    server_message,
    translate,
    translate_login,
)
from treadle.destinations.clickhouse.row_format import (
    BrokenAnswerError,
    encode_rows,
    read_answer,
    read_value,
)
from treadle.destinations.clickhouse.schema_statements import fits_as_name
from treadle.destinations.clickhouse.session import list_added, name_inserts
from treadle.destinations.clickhouse_form import ClickhouseForm, ClickhouseUrl
from treadle.destinations.conformance.builders import ORDERS, table
from treadle.destinations.form import merge_properties
from treadle.destinations.form_registry import find_form, list_forms
from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    PlanOutdatedError,
    RowRefusedError,
)
from treadle.destinations.registry import is_exclusive, make_destination
from treadle.destinations.reserved_schemas import is_reserved_schema
from treadle.destinations.transport import find_transport_risk
from treadle.errors import OperatorError, TableStoppedError
from treadle.tables.arrow_column import to_arrow_if_long
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, Relation, StagedVersion

REMOTE = "clickhouse://loader:5ecret@db.example.com"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB+/=\n-----END CERTIFICATE-----\n"
FULL: dict[str, Any] = {
    "host": "db.example.com",
    "port": "8443",
    "username": "loader",
    "password": "p/a:s@s?w#o%r&d",
    "ssl": "true",
}
FORM = ClickhouseForm()

# --- the URL and the form -------------------------------------------------------------------------


def test_a_server_is_known_by_host_and_port() -> None:
    destination = make_destination("ClickHouse://me:secret@DB.example.com:8124/web?secure=0")
    assert destination.identity == "clickhouse://db.example.com:8124"
    assert make_destination("clickhouse://me@h").identity == "clickhouse://h:8123"
    assert make_destination("clickhouse://me@h/?secure=true").identity == "clickhouse://h:8443"
    assert not destination.capabilities.transactional_ddl
    assert not destination.capabilities.multi_table_transaction
    assert not is_exclusive("clickhouse://h")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("clickhouse://h:8123/", "expected clickhouse://user:password@host:8123/"),
        ("clickhouse://u:s3cret@/", "expected clickhouse://user:password@host:8123/"),
        ("clickhouse://u:s3cret@h:port/", "expected clickhouse://user:password@host:8123/"),
        ("clickhouse://u:s3cret@h/?compress=1", "'compress'; known are ca_cert, secure, verify"),
        ("clickhouse://u:s3cret@h/?secure=maybe", "a value for secure that is none; expected 1"),
    ],
)
def test_a_url_that_is_none_says_what_is_wrong(url: str, expected: str) -> None:
    with pytest.raises(OperatorError) as refused:
        make_destination(url)
    assert expected in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_certificates_that_cannot_be_read_are_the_operators() -> None:
    url = "clickhouse://u@127.0.0.1:1/?secure=1&ca_cert=/nowhere"
    with pytest.raises((OperatorError, DestinationUnavailableError)):
        make_destination(url).open()


def test_a_form_is_a_url_and_gives_the_properties_back() -> None:
    url = FORM.write_url(merge_properties(FORM, FULL, None), None)
    assert FORM.read_url(url) == FULL
    assert make_destination(url).identity == "clickhouse://db.example.com:8443"
    with_authority = FORM.write_url(merge_properties(FORM, {"sslrootcert": PEM}, url), url)
    assert ClickhouseUrl.parse(with_authority).parameters == {"ca_cert": PEM, "secure": "1"}
    without = FORM.write_url(
        merge_properties(FORM, {"sslrootcert": None, "ssl": False}, with_authority), with_authority
    )
    assert ClickhouseUrl.parse(without).parameters == {"secure": "0"}
    assert find_form("clickhouse", Path("/")) == FORM
    assert FORM.type in [form.type for form in list_forms(Path("/"))]


def test_the_database_of_a_url_stays_when_properties_change() -> None:
    changed = FORM.write_url(
        merge_properties(FORM, {"password": "new"}, f"{REMOTE}/web"), f"{REMOTE}/web"
    )
    assert ClickhouseUrl.parse(changed).path == "web"
    assert ClickhouseUrl.parse(changed).password == "new"


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(TEXTS, TEXTS, st.integers(1, 65535))
def test_any_login_comes_back(user: str, password: str, port: int) -> None:
    given_ = {"host": "::1", "port": port, "username": user, "password": password}
    url = FORM.write_url(merge_properties(FORM, given_, None), None)
    found = FORM.read_url(url)
    assert (found["username"], found["password"]) == (user, password)
    assert (found["host"], found["port"]) == ("::1", str(port))


@pytest.mark.parametrize("query", ["", "secure=0", "secure=1&verify=0"])
def test_a_server_that_is_not_verified_is_told(query: str) -> None:
    risk = find_transport_risk(make_destination(f"{REMOTE}/?{query}"))
    assert risk is not None
    assert ("in clear" in f"{risk}") == ("secure=1" not in query)
    assert "5ecret" not in f"{risk}"


@pytest.mark.parametrize("url", [f"{REMOTE}/?secure=1", "clickhouse://u@127.0.0.1"])
def test_a_verified_or_local_server_is_no_risk(url: str) -> None:
    assert find_transport_risk(make_destination(url)) is None


def test_schemas_of_the_server_are_nobodys() -> None:
    place = [make_destination(REMOTE).identity]
    assert is_reserved_schema("system", place)
    assert is_reserved_schema("INFORMATION_SCHEMA", place)
    assert not is_reserved_schema("default", place)


# --- names and types ------------------------------------------------------------------------------

DIALECT = ClickhouseDialect()
ID = Column("id", "id", ColumnType.BIGINT, nullable=False)
NOTE = Column("note", "note", ColumnType.TEXT)
SEQUENCE = Column("_sdc_sequence", "_sdc_sequence", ColumnType.BIGINT)


def test_a_name_is_quoted_and_a_value_is_a_literal() -> None:
    assert DIALECT.quote("a`b\\", "c\0") == "`a\\`b\\\\`.`c\\0`"
    assert DIALECT.literal("it's \\") == "'it\\'s \\\\'"
    assert [DIALECT.literal(value) for value in (None, 5, -(2**63))] == [
        *("NULL", "5", "-9223372036854775808")
    ]


def test_a_relation_with_a_key_can_hide_rows() -> None:
    keyed = Relation((), "t", (ID, SEQUENCE, NOTE), ("id",), "t")
    assert DIALECT.define(keyed.columns, keyed.key) == (
        "`id` Int64, `_sdc_sequence` Int64 DEFAULT -9223372036854775808,"
        " `note` Nullable(String), `_treadle_gone` UInt8 MATERIALIZED 0"
    )
    assert "ReplacingMergeTree(`_sdc_sequence`, `_treadle_gone`) ORDER BY (`id`)" in (
        DIALECT.describe_storage(keyed)
    )
    appended = Relation((), "t", (SEQUENCE, NOTE), (), "t")
    assert "_treadle_gone" not in DIALECT.define(appended.columns, appended.key)
    assert DIALECT.describe_storage(appended) == (
        " ENGINE = MergeTree ORDER BY tuple() SETTINGS non_replicated_deduplication_window = 10000"
    )


def test_what_is_asked_leaves_out_the_views_that_treadle_made() -> None:
    for statement in (DIALECT.find_table, DIALECT.list_relations, DIALECT.list_columns):
        assert f"'{VIEW_MARK}'" in statement


@pytest.mark.parametrize(
    ("name", "fits"), [("a" * 206, True), ("a" * 207, False), ("ü" * 34, True), ("ü" * 35, False)]
)
def test_a_view_has_a_name_that_a_file_can_have(name: str, fits: bool) -> None:
    assert fits_as_name(name) is fits


# --- rows -----------------------------------------------------------------------------------------

COLUMNS: list[tuple[ColumnType, list[Any], list[Any]]] = [
    (ColumnType.BIGINT, [1, -(2**63), None], [1, -(2**63), None]),
    (ColumnType.BOOLEAN, [True, False, None], [True, False, None]),
    (ColumnType.DECIMAL, [Decimal("0.10"), None], [Decimal("0.1"), None]),
    (ColumnType.DOUBLE, [0.1, 1e300, None], [0.1, 1e300, None]),
    (ColumnType.TEXT, ["a\tb", "ü🧵", None], ["a\tb", "ü🧵", None]),
    (ColumnType.JSON, ['{"a":1}', None], ['{"a":1}', None]),
]


@pytest.mark.parametrize("times", [1, 100])
@pytest.mark.parametrize(("type_", "values", "expected"), COLUMNS)
def test_rows_are_a_stream_of_arrow(
    type_: ColumnType, values: list[Any], expected: list[Any], times: int
) -> None:
    column = Column("v", "v", type_)
    body = encode_rows([("c0", column, to_arrow_if_long(values * times, type_))])
    found = pa.ipc.open_stream(io.BytesIO(body)).read_all()
    assert found.column("c0").to_pylist() == expected * times


@pytest.mark.parametrize("times", [1, 100])
def test_a_time_has_its_microseconds(times: int) -> None:
    column = Column("v", "v", ColumnType.TIMESTAMP)
    values = [0, -62_135_596_800_000_000, 1_700_000_000_123_456, None] * times
    body = encode_rows([("c0", column, to_arrow_if_long(values, ColumnType.TIMESTAMP))])
    found = pa.ipc.open_stream(io.BytesIO(body)).read_all().column("c0")
    assert found.type == pa.timestamp("us", tz="UTC")
    assert found.cast(pa.int64()).to_pylist() == values


@pytest.mark.parametrize("times", [1, 100])
@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        (ID, [1, None], 'NULL in the column "id"'),
        (ID, [1, 2**63], "none of the type bigint"),
        (NOTE, ["a\ud800"], "none of the type text"),
        (Column("d", "d", ColumnType.DECIMAL), [Decimal("1e40")], '"d"'),
    ],
)
def test_what_the_server_would_change_is_refused(
    column: Column, values: list[Any], reason: str, times: int
) -> None:
    with pytest.raises(RowRefusedError, match=reason):
        encode_rows([("c0", column, to_arrow_if_long(values * times, column.type))])


# --- answers --------------------------------------------------------------------------------------


def test_an_answer_has_names_types_and_rows() -> None:
    lines = [
        b'["a","b"]\n',
        b'["Nullable(Decimal(76, 38))","DateTime64(6, \'UTC\')"]\n',
        b'[0.10,"2024-07-01T12:30:00.500000Z"]\n',
        b'[null,"0001-01-01T00:00:00.000000Z"]\n',
    ]
    names, types, rows = read_answer(lines)
    assert names == ["a", "b"]
    found = [tuple(map(read_value, types, row)) for row in rows]
    assert found == [
        (Decimal("0.1"), datetime(2024, 7, 1, 12, 30, 0, 500_000, UTC)),
        (None, datetime(1, 1, 1, tzinfo=UTC)),
    ]


def test_an_answer_that_breaks_off_says_why() -> None:
    lines = [b'["a"]\n', b'["UInt8"]\n', b"[1]\n", b"__exception__\n", b"Code: 153. DB::Ex\n"]
    _, _, rows = read_answer(lines)
    assert next(rows) == [1]
    with pytest.raises(BrokenAnswerError, match="Code: 153") as broken:
        next(rows)
    assert broken.value.code == 153
    assert read_answer([])[:2] == ([], [])


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        ("Float64", 15, 15.0),
        ("Nullable(Float32)", "inf", float("inf")),
        ("Int64", -(2**63), -(2**63)),
        ("LowCardinality(Nullable(String))", "x", "x"),
        ("Date32", "2024-01-02", date(2024, 1, 2)),
        ("Array(Int64)", [1, 2], [1, 2]),
        ("Bool", True, True),
    ],
)
def test_a_value_is_what_python_has(type_: str, value: Any, expected: Any) -> None:
    found = read_value(type_, value)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("type_", "value", "form", "text"),
    [
        ("Bool", True, ValueForm.BOOLEAN, "true"),
        ("Nullable(Decimal(9, 2))", Decimal("1.50"), ValueForm.NUMBER, "1.50"),
        ("Float64", "-inf", ValueForm.NUMBER, "-Infinity"),
        ("UInt64", 2**64 - 1, ValueForm.NUMBER, "18446744073709551615"),
        ("DateTime64(6, 'UTC')", "2024-07-01T12:30:00.500000Z", ValueForm.INSTANT,
         "2024-07-01T12:30:00.5Z"),
        ("DateTime", "2024-07-01T12:30:00Z", ValueForm.INSTANT, "2024-07-01T12:30:00Z"),
        ("Array(Float64)", [Decimal("1.5")], ValueForm.JSON, "[1.5]"),
        ("IntervalDay", 3, ValueForm.TEXT, "3"),
        ("LowCardinality(String)", "ü", ValueForm.TEXT, "ü"),
    ],
)  # fmt: skip
def test_a_value_of_an_answer_is_a_text(type_: str, value: Any, form: ValueForm, text: str) -> None:
    assert choose_form(type_) is form
    assert spell_answer(form, value) == text


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (497, AccessDeniedError),
        (516, AccessDeniedError),
        (159, DestinationUnavailableError),
        (241, DestinationUnavailableError),
        (252, DestinationUnavailableError),
        (60, PlanOutdatedError),
        (16, PlanOutdatedError),
        (69, RowRefusedError),
        (349, RowRefusedError),
        (469, RowRefusedError),
        (48, TableStoppedError),
    ],
)
def test_a_code_has_a_meaning(code: int, kind: type[Exception]) -> None:
    assert type(translate(DatabaseError("words", code=code))) is kind


def test_an_error_without_a_code_is_the_connection() -> None:
    broken = translate(OperationalError("no route"))
    assert isinstance(broken, DestinationUnavailableError)
    assert "no route" in str(broken)


def test_what_is_missing_or_refused_is_known_by_its_code() -> None:
    assert is_missing(DatabaseError("", code=60))
    assert not is_missing(DatabaseError("", code=47))
    assert is_refused_change(DatabaseError("", code=62))
    assert not is_refused_change(DatabaseError("", code=241))


def test_the_words_of_the_server_stay_and_nothing_of_the_driver() -> None:
    error = DatabaseError(
        "Received ClickHouse exception, code: 60, server response: Code: 60. DB::Exception: Table"
        " web.t does not exist. (UNKNOWN_TABLE) (version 26.9.2.1 (official build))"
        " (for url http://db:8123)",
        code=60,
    )
    assert server_message(error) == "Code: 60. Table web.t does not exist. (UNKNOWN_TABLE)"


def test_a_refused_log_in_is_not_tried_again() -> None:
    assert isinstance(translate_login(DatabaseError("who", code=516)), AccessDeniedError)
    assert isinstance(translate_login(OperationalError("away")), DestinationUnavailableError)


# --- what is only added ---------------------------------------------------------------------------


def test_the_entry_of_what_is_there_says_what_is_only_added() -> None:
    keyless = Relation(("items",), "orders__items", ORDERS.columns, (), "items")
    held = table(ORDERS, keyless)
    assert list_added("web", [held]) == [("web", "orders__items")]
    # The table that is there has a key, whatever it is going to have.
    coming = table(replace(ORDERS, key=()), keyless, append=True)
    assert list_added("web", [held, coming]) == [("web", "orders__items")]
    assert list_added("web", [None, coming]) == [("web", "orders"), ("web", "orders__items")]
    staged = replace(held, stages=(StagedVersion(2, (), (replace(keyless, name="stage_1"),), 0),))
    assert list_added("web", [staged]) == [("web", "orders__items"), ("_treadle", "stage_1")]


def test_the_tokens_of_a_tables_inserts_begin_alike() -> None:
    assert name_inserts("web", "orders") == name_inserts("web", "orders")
    others = {name_inserts("web", "orders_2"), name_inserts("shop", "orders")}
    assert name_inserts("web", "orders") not in others
