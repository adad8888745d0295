"""Redshift without a server: its URL, its form, its names, types, files of rows and errors."""

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pyarrow as pa
import pytest
from psycopg import errors
from psycopg.pq import DiagnosticField
from tests.servers.redshift_gate import DETAIL, find_strange, judge, rewrite

from treadle.destinations.form import PropertiesRefusedError, merge_properties
from treadle.destinations.form_registry import find_form, list_forms
from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    PlanOutdatedError,
    RowRefusedError,
)
from treadle.destinations.redshift.connection import RedshiftConnection
from treadle.destinations.redshift.dialect import RedshiftDialect, read_key, write_key
from treadle.destinations.redshift.row_files import ROW_BYTES_MAX, make_table
from treadle.destinations.redshift_form import RedshiftForm, RedshiftUrl
from treadle.destinations.registry import is_exclusive, make_destination
from treadle.destinations.reserved_schemas import is_reserved_schema
from treadle.destinations.sql.packed_text import PREFIX, pack_text, unpack_text
from treadle.destinations.sql.relation_definition import create_relation
from treadle.destinations.sql.text import Quoted
from treadle.destinations.transport import find_transport_risk
from treadle.errors import OperatorError, TableStoppedError, TreadleError
from treadle.tables.arrow_column import to_arrow_if_long
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, Relation
from treadle.tables.profiles import REDSHIFT

ROLE = "arn:aws:iam::123456789012:role/load"
REMOTE = "redshift://loader:5ecret@c.example.com:5439/dev"
FULL: dict[str, Any] = {
    "host": "c.example.com",
    "port": "5439",
    "username": "loader",
    "password": "p/a:s@s?w#o%r&d",
    "database": "dev",
}
FORM = RedshiftForm()

# --- the URL and the form -------------------------------------------------------------------------


def test_a_database_is_known_by_host_port_and_name() -> None:
    destination = make_destination(
        "Redshift://me:secret@C.example.com/dev?s3=lake&iam_role=default"
    )
    assert destination.kind == "redshift"
    assert destination.identity == "redshift://c.example.com:5439/dev"
    assert destination.profile.display_name == "Amazon Redshift"
    assert destination.capabilities.transactional_ddl
    assert not destination.capabilities.evictable
    assert not is_exclusive("redshift://h/d")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"{REMOTE}?bogus=1", "expected redshift://user:password@host:5439/database"),
        (f"{REMOTE}?s3=lake", "one of s3 and iam_role; expected both"),
        (f"{REMOTE}?iam_role=default", "one of s3 and iam_role; expected both"),
        (f"{REMOTE}?s3=Lake/'&iam_role=default", 's3="Lake/\'"; expected bucket/prefix'),
        (f"{REMOTE}?s3=lake&iam_role=me", "iam_role='me'; expected arn:aws:iam::"),
        (f"{REMOTE}?s3=lake&iam_role=default&region=x.org", "region='x.org'; expected one such"),
    ],
)
def test_a_wrong_url_is_told_what_was_expected(url: str, expected: str) -> None:
    with pytest.raises(OperatorError) as fault:
        make_destination(url)
    assert expected in str(fault.value)
    assert "5ecret" not in str(fault.value)


def test_only_a_verified_server_is_no_risk() -> None:
    assert find_transport_risk(make_destination(f"{REMOTE}?sslmode=require")) is not None
    assert find_transport_risk(make_destination(f"{REMOTE}?sslmode=verify-full")) is None


def test_libpq_gets_its_own_parameters_alone() -> None:
    parts = RedshiftUrl.parse(
        f"redshift://me:p%40@h/d?sslmode=require&s3=lake/in&iam_role={ROLE}&region=eu-west-1"
    )
    assert parts.format_libpq() == "postgresql://me:p%40@h:5439/d?sslmode=require"
    assert parts.own_parameters == {
        "s3": "lake/in",
        "iam_role": ROLE,
        "s3.region": "eu-west-1",
    }


def test_the_properties_of_stitch_are_enough() -> None:
    url = FORM.write_url(merge_properties(FORM, FULL, None), None)
    assert url == (
        "redshift://loader:p%2Fa%3As%40s%3Fw%23o%25r%26d@c.example.com:5439/dev?sslmode=require"
    )
    assert FORM.read_url(url) == {**FULL, "ssl": "true", "encryption_type": "none"}


def test_a_place_in_s3_needs_a_role_and_credentials_and_all_are_kept() -> None:
    keys = {"s3_access_key_id": "id", "s3_secret_access_key": "key"}
    for part in ({"s3": "lake/in"}, {"s3": "lake/in", "iam_role": ROLE}, keys):
        with pytest.raises(PropertiesRefusedError):
            FORM.write_url(merge_properties(FORM, {**FULL, **part}, None), None)
    given = {**FULL, "s3": "lake/in", "iam_role": ROLE, "s3_region": "eu-west-1", **keys}
    former = FORM.write_url(merge_properties(FORM, given, None), None)
    former += "&application_name=x&s3.endpoint=http%3A%2F%2Fminio"
    changed = FORM.write_url(merge_properties(FORM, {"s3": "pond"}, former), former)
    assert RedshiftUrl.parse(changed).parameters == {
        "sslmode": "require",
        "application_name": "x",
        "s3.endpoint": "http://minio",
        "s3": "pond",
        "iam_role": ROLE,
        "s3.region": "eu-west-1",
        "s3.access-key-id": "id",
        "s3.secret-access-key": "key",
    }
    make_destination(changed)


def test_an_account_cannot_name_an_endpoint() -> None:
    assert find_form("redshift", Path("/x")) == FORM
    assert FORM in list_forms(Path("/x"))
    assert "s3_endpoint" not in {each.name for each in FORM.properties}


# --- names and types ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("CustomeriD", "customerid"),
        ("customer id", "customer id"),
        ("customer!id", "customerid"),
        ("123customerid", "123customerid"),
        ("a$_b-c", "a$_bc"),
        ("ÄÖ表", "äö表"),
    ],
)
def test_names_are_in_lower_case(sent: str, expected: str) -> None:
    assert REDSHIFT.canonical(sent) == expected


def test_schemas_of_its_own_are_refused_there_alone() -> None:
    place = ["redshift://h:5439/d"]
    assert is_reserved_schema("pg_internal", place)
    assert is_reserved_schema("catalog_history", place)
    assert not is_reserved_schema("catalog_history", ["postgresql://h:5432/d"])


def test_no_column_refuses_null_and_a_comment_names_the_key() -> None:
    relation = Relation(
        (),
        "orders",
        (
            Column("id", "id", ColumnType.BIGINT, nullable=False),
            Column("a", "a", ColumnType.TEXT),
            Column("at", "at", ColumnType.TIMESTAMP),
        ),
        ("id",),
        "orders",
    )
    assert create_relation(RedshiftDialect(), "web", relation) == (
        'CREATE TABLE "web"."orders" ("id" bigint, "a" varchar(65535), "at" timestamp)'
    )
    assert write_key(("id", "é")) == '{"primary_keys": ["id", "é"]}'
    assert read_key('{"primary_keys":["id"]}') == {"id"}


@pytest.mark.parametrize("comment", [None, "", "mine", "[]", '{"primary_keys": "id"}', "{}", "1"])
def test_another_comment_names_no_key(comment: str | None) -> None:
    assert read_key(comment) == frozenset()


# --- rows -----------------------------------------------------------------------------------------


def test_rows_have_the_types_that_copy_reads() -> None:
    table = make_table(
        [
            (
                Quoted("c0"),
                ColumnType.BIGINT,
                to_arrow_if_long(list(range(100)), ColumnType.BIGINT),
            ),
            (Quoted("c1"), ColumnType.TIMESTAMP, [-1, *[None] * 99]),
            (Quoted("c2"), ColumnType.DECIMAL, [Decimal("1E+28"), *[None] * 99]),
            (Quoted("c3"), ColumnType.JSON, ["{}", *[None] * 99]),
        ]
    )
    assert table.schema.types == [
        pa.int64(),
        pa.timestamp("us"),
        pa.decimal128(38, 9),
        pa.string(),
    ]
    assert table.column("c2")[0].as_py() == Decimal("1E+28")
    assert table.num_rows == 100


def test_a_row_past_four_megabytes_is_refused() -> None:
    text = "x" * 65_535
    count = ROW_BYTES_MAX // len(text)
    fields = [(Quoted(f"c{at}"), ColumnType.TEXT, ["", text]) for at in range(count)]
    assert make_table(fields).num_rows == 2
    with pytest.raises(RowRefusedError, match="row is too big for Amazon Redshift"):
        make_table([*fields, (Quoted("d"), ColumnType.TEXT, [None, text])])


@pytest.mark.parametrize("value", ["a\ud800", 2**63])
def test_a_value_that_no_column_holds_is_refused(value: object) -> None:
    type_ = ColumnType.TEXT if isinstance(value, str) else ColumnType.BIGINT
    with pytest.raises(RowRefusedError):
        make_table([(Quoted("c0"), type_, [value])])


@pytest.mark.parametrize("bytes_max", [None, 100])
def test_a_packed_text_comes_back(bytes_max: int | None) -> None:
    text = '{"columns": ["é"]}' * 100
    held = pack_text(text, bytes_max)
    assert held.startswith(PREFIX) is (bytes_max is not None)
    assert unpack_text(held) == text
    assert pack_text("[]", bytes_max) == "[]"


# --- errors ---------------------------------------------------------------------------------------


OPEN = cast("psycopg.Connection[tuple[Any, ...]]", SimpleNamespace(broken=False, closed=False))
"""A connection that can still be used."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.InternalError_("1023"), DestinationUnavailableError),
        (
            errors.InternalError_(
                "could not complete because of conflict with concurrent transaction"
            ),
            DestinationUnavailableError,
        ),
        (errors.InternalError_("S3ServiceException:Access Denied,Status 403"), AccessDeniedError),
        (
            errors.InternalError_("User x is not authorized to assume IAM Role y"),
            AccessDeniedError,
        ),
        (
            errors.InternalError_("Load into table 't' failed. Check 'stl_load_errors'"),
            TableStoppedError,
        ),
        (errors.UniqueViolation("pg_class_relname_nsp_index"), DestinationUnavailableError),
        (errors.UndefinedTable("relation t does not exist"), PlanOutdatedError),
        (errors.StringDataRightTruncation("value too long"), RowRefusedError),
    ],
)
def test_what_an_error_means(error: psycopg.Error, expected: type[TreadleError]) -> None:
    connection = RedshiftConnection(OPEN, None, "")
    found = connection.translate(error)
    assert type(found) is expected
    assert str(error) in str(found)


def make_internal(message: str, code: int, context: str) -> psycopg.Error:
    """An error of Redshift's own, as its clients show it."""
    detail = DETAIL.format(error=message, code=code, context=context)
    parts: dict[int, bytes | None] = {
        DiagnosticField.SEVERITY: b"ERROR",
        DiagnosticField.SQLSTATE: b"XX000",
        DiagnosticField.MESSAGE_PRIMARY: message.encode(),
        DiagnosticField.MESSAGE_DETAIL: detail.encode(),
    }
    return errors.InternalError_(message, info=parts)


@pytest.mark.parametrize(
    ("message", "code", "context", "expected"),
    [
        (
            "Value too long for character type",
            8001,
            "Value too long for type character varying(128)",
            RowRefusedError,
        ),
        ("Numeric data overflow (result precision)", 1058, "64 bit overflow", RowRefusedError),
        (
            "S3ServiceException:Access Denied,Status 403,Error AccessDenied",
            8001,
            "Listing bucket=lake prefix=in/",
            AccessDeniedError,
        ),
        (
            "Spectrum Scan Error",
            15007,
            "Forbidden: HTTP response error code: 403 Message: AccessDenied",
            AccessDeniedError,
        ),
        (
            "Spectrum Scan Error",
            15007,
            "File 'https://s3.amazonaws.com/f.parquet' has an incompatible Parquet schema",
            TableStoppedError,
        ),
        (
            "Spectrum Scan Error",
            15001,
            "The length of the data column a is longer than the length defined in the table.",
            RowRefusedError,
        ),
        ("Cannot insert a NULL value into column b", 8007, "", TableStoppedError),
        ("Assert", 1000, "Unreachable - Invalid type:\n  4000", DestinationUnavailableError),
    ],
)
def test_an_error_of_its_own_is_told_by_message_and_context(
    message: str, code: int, context: str, expected: type[TreadleError]
) -> None:
    connection = RedshiftConnection(OPEN, None, "")
    found = connection.translate(make_internal(message, code, context))
    assert type(found) is expected
    said = ": ".join(filter(None, (message, " ".join(context.split()))))
    assert f"ERROR: {said}" in str(found)
    assert ("s3:GetObject" in str(found)) == (expected is AccessDeniedError)


def test_a_detail_without_parts_is_told_as_it_is() -> None:
    parts: dict[int, bytes | None] = {
        DiagnosticField.SEVERITY: b"ERROR",
        DiagnosticField.MESSAGE_PRIMARY: b"1023",
        DiagnosticField.MESSAGE_DETAIL: b"Serializable isolation violation on table - 12",
    }
    connection = RedshiftConnection(OPEN, None, "")
    found = connection.translate(errors.InternalError_("1023", info=parts))
    assert str(found).endswith("ERROR: 1023: Serializable isolation violation on table - 12")


# --- the gate of the tests ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("COPY t (a) FROM STDIN (FORMAT binary)", "0A000"),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "42601"),
        ("INSERT INTO t VALUES (1) RETURNING a", "42601"),
        ("SELECT pg_advisory_xact_lock(1)", "42883"),
        ("ALTER TABLE t ADD COLUMN a int, ADD COLUMN b int", "42601"),
        ('CREATE UNIQUE INDEX i ON "t" (a)', "0A000"),
        ("CREATE TABLE t (a jsonb)", "0A000"),
        ("CREATE TABLE t (a int[])", "0A000"),
        ("SELECT a IS DISTINCT FROM b FROM t", "42601"),
        ("SELECT 1 FROM t FOR SHARE", "0A000"),
        ('DELETE FROM "web"."t" t USING s WHERE t.a = s.a', "42601"),
        ("CREATE TEMPORARY TABLE t (a int) ON COMMIT DROP", "42601"),
        (f'SELECT 1 AS "{"x" * 128}"', "42622"),
        ("SET lock_timeout = '15s'", "42704"),
        ("SELECT E'\\\\'", "42601"),
    ],
)
def test_the_gate_refuses_what_redshift_refuses(statement: str, code: str) -> None:
    refused = judge(statement, inside=False)
    assert refused is not None
    assert refused[0] == code


def test_the_gate_refuses_more_inside_a_transaction() -> None:
    for statement in ("TRUNCATE t", "ALTER TABLE t ALTER COLUMN a TYPE varchar(10)", "VACUUM"):
        assert judge(statement, inside=False) is None
        assert judge(statement, inside=True) is not None


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 'ON CONFLICT', \"RETURNING\" FROM t",
        'DELETE FROM "t"',
        'DELETE FROM "web"."t" WHERE ("a") IN (SELECT t."a" FROM "web"."t" t)',
        f'SELECT 1 AS "{"x" * 127}"',
    ],
)
def test_the_gate_takes_what_redshift_takes(statement: str) -> None:
    assert judge(statement, inside=True) is None
    assert find_strange([statement]) == []


def test_types_without_a_length_have_that_of_redshift() -> None:
    assert rewrite("CREATE TABLE t (a TEXT, b VARCHAR(9), \"text\" int DEFAULT 'text')") == (
        "CREATE TABLE t (a varchar(256), b VARCHAR(9), \"text\" int DEFAULT 'text')"
    )
    assert rewrite("SELECT CAST(a AS varchar) FROM t") == "SELECT CAST(a AS varchar) FROM t"
