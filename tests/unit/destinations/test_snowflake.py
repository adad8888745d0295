"""Snowflake without its driver: its URL, its form, its names, types, statements and errors."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.destinations.conformance.builders import ITEMS, ORDERS, TableLoads, table, upsert
from treadle.destinations.form import PropertiesRefusedError, merge_properties
from treadle.destinations.form_registry import find_form
from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    PlanOutdatedError,
    RowRefusedError,
)
from treadle.destinations.registry import find_type, is_exclusive, list_types
from treadle.destinations.reserved_schemas import is_reserved_schema
from treadle.destinations.snowflake.dialect import SnowflakeDialect, SnowflakeStatements
from treadle.destinations.snowflake.errors import (
    is_missing,
    is_refused_change,
    is_unanswered,
    translate,
    translate_login,
)
from treadle.destinations.snowflake_form import SnowflakeForm, SnowflakeUrl
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.load_intent import LoadIntent
from treadle.destinations.sql.stepped_changes import generate_undoing
from treadle.destinations.sql.text import Quoted
from treadle.destinations.sql.upsert import StagedRows, StagedUpsert, merge
from treadle.errors import TableStoppedError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    Column,
    CreateRelation,
    EmptyRelation,
    PhysicalRelation,
    RelationRows,
    SchemaChange,
    TableOptions,
    WidenColumn,
)
from treadle.tables.names import Namer
from treadle.tables.profiles import SNOWFLAKE

FORM = SnowflakeForm()
FULL: dict[str, Any] = {
    "host": "org-account.snowflakecomputing.com",
    "port": "443",
    "username": "loader",
    "password": "p/a:s@s?w#o%r&d",
    "database": "SHOP",
    "warehouse": "LOADING",
    "role": "LOADER",
}

# --- the URL and the form -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "full", "account"),
    [
        ("Org-Account", "org-account.snowflakecomputing.com", "org-account"),
        ("xy123.eu-central-1", "xy123.eu-central-1.snowflakecomputing.com", "xy123.eu-central-1"),
        ("a.snowflakecomputing.cn", "a.snowflakecomputing.cn", "a"),
        ("localhost", "localhost", "localhost"),
        ("127.0.0.1:8080", "127.0.0.1", "127.0.0.1"),
    ],
)
def test_an_account_is_named_by_itself_or_by_its_host(host: str, full: str, account: str) -> None:
    parts = SnowflakeUrl.parse(f"snowflake://u:p@{host}/db")
    assert (parts.full_host, parts.account) == (full, account)


def test_a_form_is_a_url_and_gives_the_properties_back() -> None:
    url = FORM.write_url(merge_properties(FORM, FULL, None), None)
    assert FORM.read_url(url) == FULL
    assert SnowflakeUrl.parse(url).path == "SHOP"
    with_key = f"{url}&private_key=%2Fetc%2Fkey.p8"
    same = FORM.write_url(merge_properties(FORM, {"role": None}, with_key), with_key)
    assert SnowflakeUrl.parse(same).parameters == {
        "private_key": "/etc/key.p8",
        "warehouse": "LOADING",
    }
    other = FORM.write_url(merge_properties(FORM, {"password": "new"}, with_key), with_key)
    assert "private_key" not in SnowflakeUrl.parse(other).parameters
    assert find_form("snowflake", Path("/")) == FORM


def test_the_card_has_what_the_api_documents() -> None:
    assert [each.name for each in FORM.properties if each.is_required] == [
        *("host", "port", "username", "password", "database", "warehouse"),
    ]
    assert [each.name for each in FORM.properties if each.is_credential] == [
        *("username", "password"),
    ]
    with pytest.raises(PropertiesRefusedError, match="warehouse"):
        merge_properties(FORM, {k: v for k, v in FULL.items() if k != "warehouse"}, None)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(TEXTS, TEXTS, TEXTS)
def test_any_login_comes_back(user: str, password: str, role: str) -> None:
    properties = FULL | {"username": user, "password": password, "role": role}
    found = FORM.read_url(FORM.write_url(merge_properties(FORM, properties, None), None))
    assert (found["username"], found["password"], found["role"]) == (user, password, role)


def test_the_type_is_known_by_its_scheme_alone() -> None:
    url = "snowflake://u:p@account/db"
    assert find_type(url) == "snowflake"
    assert not is_exclusive(url)
    assert "postgres" in list_types()


# --- names and types ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "in_database"),
    [
        ("CustomeriD", "CUSTOMERID"),
        ("customer id", "CUSTOMER_ID"),
        ("customer!id", "CUSTOMERID"),
        ("123customerid", "CUSTOMERID"),
        ("_customerid", "CUSTOMERID"),
        ("_sdc_deleted_at", "_SDC_DELETED_AT"),
        ("naïve 日付", "NAÏVE_日付"),
        ("Straße", "STRASSE"),
        ("!!", ""),
        ("42", ""),
    ],
)
def test_a_name_is_written_as_stitch_does(sent: str, in_database: str) -> None:
    name = SNOWFLAKE.canonical(sent)
    assert name.upper() == in_database
    assert SnowflakeDialect().quote(name) == f'"{in_database}"'


@given(st.text())
def test_a_name_in_the_database_is_one_name_here(sent: str) -> None:
    """What the database tells in upper case is found by the name that made it."""
    name = SNOWFLAKE.canonical(sent)
    assert SNOWFLAKE.canonical(name) == name
    assert name.upper().lower() == name


@pytest.mark.parametrize(
    ("sent", "omitted"),
    [("c" * 251, None), ("c" * 252, "is too long for Snowflake"), ("x__VA", "reserved datatype")],
)
def test_names_that_do_not_fit_are_told(sent: str, omitted: str | None) -> None:
    named = Namer(SNOWFLAKE, TableOptions()).name_field(None, sent)
    reason = named.rejection or named.column_omission
    assert (str(reason) if reason else None) == omitted or (omitted or "?") in str(reason)


def test_the_names_of_tables_have_255_bytes() -> None:
    namer = Namer(SNOWFLAKE, TableOptions())
    assert namer.name_table("t" * 255)[1] is None
    assert "is too long for Snowflake" in str(namer.name_table("t" * 256)[1])


def test_the_schema_of_the_database_is_nobodys() -> None:
    assert is_reserved_schema("information_schema", ["snowflake://a/db"])


@pytest.mark.parametrize(
    ("value", "fits"), [("9" * 32 + ".999999", True), ("1" + "0" * 32, False), ("-1e31", True)]
)
def test_a_decimal_has_38_digits(value: str, fits: bool) -> None:
    assert SNOWFLAKE.decimal_fits(Decimal(value)) is fits
    assert SNOWFLAKE.decimal_scale_max == 6


def test_every_type_is_known_again() -> None:
    dialect = SnowflakeDialect()
    assert {dialect.logical_types[str(kind)] for kind in ("NUMBER(38,0)", "NUMBER(38,6)")} == {
        *(ColumnType.BIGINT, ColumnType.DECIMAL),
    }
    assert set(dialect.logical_types.values()) == set(ColumnType)
    assert dialect.define([Column("id", "id", ColumnType.BIGINT, nullable=False)], ("id",)) == (
        '"ID" NUMBER(38,0) NOT NULL'
    )


# --- statements -----------------------------------------------------------------------------------


class KnownTables:
    """Stands for a connection to a database with certain tables."""

    def __init__(self, *relations: tuple[str, frozenset[str]]) -> None:
        self.dialect = SnowflakeDialect()
        self._keys = dict(relations)

    def describe(self, schema: str, names: Sequence[str]) -> dict[str, PhysicalRelation]:
        return {n: PhysicalRelation({}, self._keys[n]) for n in names if n in self._keys}

    def holds_own_table(self, name: str) -> bool:
        return False

    def holds_table(self, schema: str, name: str) -> bool:
        return name in self._keys


def statements_of(*changes: SchemaChange) -> list[str]:
    loads = TableLoads(cast("Any", None))
    plan = loads.plan(table(ORDERS), changes=changes)
    connection = cast("SqlConnection", KnownTables(("orders", frozenset({"id"}))))
    return list(SnowflakeStatements(connection, plan).generate())


def test_a_table_is_made_with_its_key() -> None:
    [made] = statements_of(CreateRelation(ORDERS))
    assert made == (
        'CREATE TABLE "WEB"."ORDERS" ("_SDC_BATCHED_AT" TIMESTAMP_TZ(9), "_SDC_RECEIVED_AT"'
        ' TIMESTAMP_TZ(9), "_SDC_SEQUENCE" NUMBER(38,0), "_SDC_TABLE_VERSION" NUMBER(38,0),'
        ' "ID" NUMBER(38,0) NOT NULL, "A" VARCHAR(16777216), PRIMARY KEY ("ID"))'
    )


def test_columns_are_added_together_and_take_null() -> None:
    added = [
        AddColumn("orders", Column(name, name, ColumnType.JSON, nullable=nullable))
        for name, nullable in (("b", True), ("c", False))
    ]
    assert statements_of(*added) == [
        'ALTER TABLE "WEB"."ORDERS" ADD COLUMN "B" VARIANT, "C" VARIANT'
    ]


def test_a_key_that_goes_leaves_its_columns() -> None:
    assert statements_of(ChangeKey("orders", ("id",), ())) == [
        'ALTER TABLE "WEB"."ORDERS" DROP PRIMARY KEY',
        'ALTER TABLE "WEB"."ORDERS" ALTER COLUMN "ID" DROP NOT NULL',
    ]


def test_a_table_with_another_key_is_built_beside_and_cloned_into_its_place() -> None:
    made, *rest = statements_of(EmptyRelation("orders"), ChangeKey("orders", ("id",), ("a", "id")))
    draft = made.split()[4]
    assert made == f'CREATE OR REPLACE TABLE {draft} LIKE "WEB"."ORDERS"'
    assert rest[:2] == [
        f"ALTER TABLE {draft} DROP PRIMARY KEY",
        f'ALTER TABLE {draft} ADD PRIMARY KEY ("A", "ID")',
    ]
    assert rest[2:4] == [
        f'CREATE OR REPLACE TABLE "WEB"."ORDERS" CLONE {draft} COPY GRANTS',
        f"DROP TABLE {draft}",
    ]


def test_a_column_is_widened_in_a_copy() -> None:
    column = Column("a", "a", ColumnType.TEXT)
    found = statements_of(WidenColumn("orders", column, ColumnType.BIGINT))
    draft = found[0].split()[4]
    assert draft.startswith('"_TREADLE"."DRAFT_')
    assert found == [
        f'CREATE OR REPLACE TABLE {draft} CLONE "WEB"."ORDERS"',
        f'ALTER TABLE {draft} ADD COLUMN "_TREADLE_A" VARCHAR(16777216)',
        f'UPDATE {draft} SET "_TREADLE_A" = CAST("A" AS VARCHAR(16777216))',
        f'ALTER TABLE {draft} DROP COLUMN "A"',
        f'ALTER TABLE {draft} RENAME COLUMN "_TREADLE_A" TO "A"',
        f'CREATE OR REPLACE TABLE "WEB"."ORDERS" CLONE {draft} COPY GRANTS',
        f"DROP TABLE {draft}",
    ]


def test_a_load_that_ended_amid_a_widened_column_leaves_no_copy() -> None:
    changes = [
        WidenColumn("orders", Column(name, name, ColumnType.TEXT), ColumnType.BIGINT)
        for name in ("a", "b")
    ]
    plan = TableLoads(cast("Any", None)).plan(table(ORDERS), changes=changes)
    connection = cast("SqlConnection", KnownTables(("orders", frozenset({"id"}))))
    made = SnowflakeStatements(connection, plan)
    draft = next(made.generate_structure()).split()[4]
    assert list(generate_undoing(connection, made.intent)) == [f"DROP TABLE IF EXISTS {draft}"]
    assert made.ending == LoadIntent()


def make_merge(condition: str = "", wins: str = "", key: tuple[str, ...] = ("id",)) -> str:
    rows = upsert([(1, 5, "x")]).root
    relation = rows.relation if key else type(rows.relation)((), "orders", ORDERS.columns, (), "")
    stage = StagedRows(
        Quoted('"_TREADLE"."S"'),
        {"id": Quoted("c0"), "_sdc_sequence": Quoted("c1"), "a": Quoted("c2")},
        entries=True,
        forms={"a": Quoted("PARSE_JSON(s.c2)")},
    )
    staged = StagedUpsert(
        Quoted('"WEB"."ORDERS"'),
        RelationRows(relation, rows.columns, rows.entries),
        stage,
        Quoted(condition),
        cast("Any", wins),
    )
    return str(merge(SnowflakeDialect(), staged))


def test_a_merge_lets_the_greater_sequence_win_and_sets_what_was_not_sent_to_null() -> None:
    wins = "t._sdc_sequence IS NULL OR {sequence} > t._sdc_sequence"
    assert make_merge("s.c0 > 0", wins) == (
        'MERGE INTO "WEB"."ORDERS" t USING (SELECT s.* FROM "_TREADLE"."S" s WHERE (s.c0 > 0)) s'
        ' ON "T"."ID" = s.c0'
        " WHEN MATCHED AND (t._sdc_sequence IS NULL OR s.c1 > t._sdc_sequence) THEN UPDATE SET"
        ' "_SDC_SEQUENCE" = s.c1, "A" = PARSE_JSON(s.c2), "_SDC_BATCHED_AT" = NULL,'
        ' "_SDC_RECEIVED_AT" = NULL, "_SDC_TABLE_VERSION" = NULL'
        ' WHEN NOT MATCHED THEN INSERT ("_SDC_SEQUENCE", "ID", "A", "_SDC_BATCHED_AT",'
        ' "_SDC_RECEIVED_AT", "_SDC_TABLE_VERSION")'
        " VALUES (s.c1, s.c0, PARSE_JSON(s.c2), NULL, NULL, NULL)"
    )


def test_rows_without_a_key_are_inserted() -> None:
    assert make_merge(key=()).startswith('INSERT INTO "WEB"."ORDERS"')
    assert " WHEN MATCHED THEN UPDATE SET " in make_merge()


# --- errors ---------------------------------------------------------------------------------------


class ServiceError(Exception):
    """An error as the driver raises it."""

    def __init__(self, errno: int | None, msg: str = "what it says") -> None:
        super().__init__(msg)
        self.errno = errno
        self.msg = msg


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (3001, AccessDeniedError),
        (390100, AccessDeniedError),
        (390144, AccessDeniedError),
        (390112, DestinationUnavailableError),
        (390114, DestinationUnavailableError),
        (604, DestinationUnavailableError),
        (606, DestinationUnavailableError),
        (615, DestinationUnavailableError),
        (625, DestinationUnavailableError),
        (90073, DestinationUnavailableError),
        (250003, DestinationUnavailableError),
        (290503, DestinationUnavailableError),
        (None, DestinationUnavailableError),
        (-1, DestinationUnavailableError),
        (904, PlanOutdatedError),
        (2003, PlanOutdatedError),
        (100038, RowRefusedError),
        (100078, RowRefusedError),
        (100072, TableStoppedError),
        (1003, TableStoppedError),
        (2140, TableStoppedError),
    ],
)
def test_an_error_means_one_thing(number: int | None, kind: type[Exception]) -> None:
    found = translate(ServiceError(number))
    assert type(found) is kind
    assert "what it says" in str(found)


def test_text_that_is_not_unicode_is_the_records() -> None:
    error = UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
    assert isinstance(translate(error), RowRefusedError)


def test_an_answer_that_did_not_come_is_told_from_a_refusal() -> None:
    assert all(map(is_unanswered, map(ServiceError, (None, 250003, 290500, 604))))
    assert not any(map(is_unanswered, map(ServiceError, (625, 2003, 100072))))
    assert is_missing(ServiceError(2003))
    assert not is_missing(ServiceError(1003))
    assert is_refused_change(ServiceError(1003))
    assert not is_refused_change(ServiceError(3001))


def test_a_login_that_is_refused_is_the_operators() -> None:
    refused = translate_login(ServiceError(390100, "Incorrect username or password"))
    assert isinstance(refused, AccessDeniedError)
    assert "Snowflake refused the connection: Incorrect" in str(refused)
    away = translate_login(ServiceError(250001, "Forbidden"))
    assert isinstance(away, DestinationUnavailableError)


def test_subtables_have_the_key_of_their_parent() -> None:
    [made] = statements_of(CreateRelation(ITEMS))
    assert 'PRIMARY KEY ("_SDC_SOURCE_KEY_ID", "_SDC_LEVEL_0_ID")' in made
