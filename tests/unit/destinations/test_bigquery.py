"""BigQuery without a server: its URL and form, names, statements, jobs, rows and errors."""

import base64
import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField
from tests.unit.tables.executor import Executor, batch

from treadle.destinations.asking import ValueForm
from treadle.destinations.bigquery.asking import find_form as find_value_form
from treadle.destinations.bigquery.asking import spell_answer
from treadle.destinations.bigquery.connection import PARSED_JSON, BigqueryConnection
from treadle.destinations.bigquery.dialect import (
    BigqueryDialect,
    SchemaRequest,
    SqlExpression,
    make_request,
)
from treadle.destinations.bigquery.errors import (
    ERRORS,
    is_missing,
    is_refused_change,
    is_uncertain,
    translate,
)
from treadle.destinations.bigquery.row_format import encode_rows
from treadle.destinations.bigquery.script import (
    ScriptCounter,
    fill_values,
    guard_plan,
    make_script,
    name_load,
    name_load_jobs,
)
from treadle.destinations.bigquery.session import BigquerySession, BigqueryTransactions
from treadle.destinations.bigquery_form import TOKEN_URI, BigqueryForm, BigqueryUrl, read_key
from treadle.destinations.conformance.bigquery_statements import spell_for_bigquery
from treadle.destinations.conformance.builders import ORDERS, TableLoads, rows, table, upsert
from treadle.destinations.form import PropertiesRefusedError, merge_properties
from treadle.destinations.form_registry import find_form, list_forms
from treadle.destinations.layout import decode_result
from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    PlanOutdatedError,
    RowRefusedError,
)
from treadle.destinations.registry import find_type, is_exclusive, make_destination
from treadle.destinations.reserved_schemas import is_reserved_schema
from treadle.destinations.sql.catalogue import encode_entry, keep_offset
from treadle.destinations.sql.load_intent import LoadIntent, TableReplacement, encode_intent
from treadle.destinations.sql.text import NOTHING, Quoted, compose
from treadle.destinations.sql.upsert import StagedRows, StagedUpsert, merge
from treadle.destinations.transport import find_transport_risk
from treadle.errors import OperatorError, TableStoppedError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, DropStage, LoadPlan, OffsetCommit, WidenColumn
from treadle.tables.names import is_reserved_column, name_auxiliary
from treadle.tables.profile import DestinationProfile
from treadle.tables.profiles import BIGQUERY, BIGQUERY_APPENDING, make_bigquery_name
from treadle.tables.table_codec import encode_table

DIALECT = BigqueryDialect()
FORM = BigqueryForm()
KEY: dict[str, Any] = {
    "type": "service_account",
    "project_id": "shop-123456",
    "private_key_id": "abc",
    "private_key": "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
    "client_email": "loader@shop-123456.iam.gserviceaccount.com",
    "token_uri": "http://169.254.169.254/latest",
    "universe_domain": "example.com",
}
FULL: dict[str, Any] = {
    "cloud_storage_location": "EU",
    "loading_mode": "UPSERT",
    "service_account_credentials": KEY,
}

# --- the URL and the form -------------------------------------------------------------------------


def test_a_destination_is_known_by_its_project() -> None:
    destination = make_destination("BigQuery://shop-123456/?location=EU")
    assert destination.identity == "bigquery://shop-123456"
    assert destination.kind == find_type("bigquery://shop-123456/") == "bigquery_v2"
    local = make_destination("bigquery://shop-123456/?endpoint=http://127.0.0.1:9050")
    assert local.identity == "bigquery://127.0.0.1:9050/shop-123456"
    assert not destination.capabilities.transactional_ddl
    assert destination.capabilities.load_age_seconds == 60
    assert not is_exclusive("bigquery://shop-123456/")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("bigquery:///", "expected bigquery://project-id/?location=EU"),
        ("bigquery://Shop/", "expected bigquery://project-id/?location=EU"),
        ("bigquery://shop-123456/data", "expected bigquery://project-id/?location=EU"),
        ("bigquery://u:s3cret@shop-123456/", "expected bigquery://project-id/?location=EU"),
        ("bigquery://shop-123456/?dataset=a", "'dataset'; known are credentials, endpoint"),
        ("bigquery://shop-123456/?loading_mode=x", "loading_mode 'x'; expected UPSERT or"),
        ("bigquery://shop-123456/?query_bytes_max=1G", "query_bytes_max that is no number"),
    ],
)
def test_a_url_that_is_none_says_what_is_wrong(url: str, expected: str) -> None:
    with pytest.raises(OperatorError) as refused:
        make_destination(url)
    assert expected in str(refused.value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("text", ["/nowhere/key.json", '{"type": "external_account"}', "{"])
def test_credentials_that_are_no_key_are_the_operators(text: str) -> None:
    url = BigqueryUrl(host="shop-123456", parameters={"credentials": text}).format("bigquery")
    with pytest.raises(OperatorError, match="not the key file of a service account"):
        make_destination(url).open()


@pytest.mark.parametrize(
    "spell",
    [
        lambda key: base64.b64encode(key.encode()).decode(),
        lambda key: f"'{key}'",
        lambda key: f"{key}\0",
        lambda key: key.replace("{", "", 1),
        lambda key: key.replace("PRIVATE KEY", "SECRET KEY"),
    ],
    ids=["base64", "quotes", "nul", "no brace", "no PEM"],
)
def test_no_error_shows_a_key(spell: Callable[[str], str]) -> None:
    """What begins with no brace is taken for a path, and errors of the system name their path."""
    text = spell(json.dumps({**KEY, "private_key": KEY["private_key"].replace("MIIB", "s3cret")}))
    url = BigqueryUrl(host="shop-123456", parameters={"credentials": text}).format("bigquery")
    with pytest.raises(OperatorError) as refused:
        make_destination(url).open()
    shown = "".join(traceback.format_exception(refused.value))
    assert "not the key file of a service account" in shown
    assert text[:20] not in shown
    assert "s3cret" not in shown


def test_a_key_file_that_is_missing_is_told_with_its_reason() -> None:
    with pytest.raises(OperatorError, match="cannot be read: No such file or directory"):
        make_destination("bigquery://shop-123456/?credentials=/nowhere/key.json").open()


def test_the_loading_mode_is_one_of_the_profile() -> None:
    assert make_destination("bigquery://shop-123456/").profile.upserts
    appending = make_destination("bigquery://shop-123456/?loading_mode=APPEND_ONLY")
    assert not appending.profile.upserts
    assert appending.profile.display_name == "BigQuery"


def test_an_endpoint_in_clear_is_a_risk_unless_it_is_this_machine() -> None:
    url = "bigquery://shop-123456/"
    assert find_transport_risk(make_destination(url)) is None
    assert find_transport_risk(make_destination(f"{url}?endpoint=http://localhost:1")) is None
    assert find_transport_risk(make_destination(f"{url}?endpoint=https://db:1")) is None
    risk = find_transport_risk(make_destination(f"{url}?endpoint=http://db:1"))
    assert risk is not None
    assert "http://" in risk.found


def test_a_form_is_a_url_and_gives_the_properties_back() -> None:
    url = FORM.write_url(merge_properties(FORM, FULL, None), None)
    assert make_destination(url).identity == "bigquery://shop-123456"
    found = FORM.read_url(url)
    key = json.loads(found.pop("service_account_credentials"))
    assert found == {
        "cloud_storage_location": "EU",
        "loading_mode": "UPSERT",
        "project_id": "shop-123456",
    }
    kept = ("client_email", "private_key", "private_key_id", "project_id", "type")
    assert key == {name: KEY[name] for name in kept}
    assert find_form("bigquery_v2", Path("/")) == FORM
    assert FORM.type in [form.type for form in list_forms(Path("/"))]


def test_a_key_names_no_host() -> None:
    """With `token_uri` an account could have the server call any address."""
    kept = read_key(json.dumps(KEY))
    assert "169.254" not in kept
    assert "example.com" not in kept
    assert TOKEN_URI == "https://oauth2.googleapis.com/token"


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"loading_mode": "MERGE"}, "loading_mode"),
        ({"service_account_credentials": "no JSON"}, "service_account_credentials"),
        ({"service_account_credentials": {**KEY, "type": "x"}}, "service_account_credentials"),
        ({"service_account_credentials": {**KEY, "private_key": 1}}, "service_account_credentials"),
        ({"project_id": "another-project"}, "project_id"),
        ({"cloud_storage_location": "E U"}, "cloud_storage_location"),
    ],
)
def test_properties_that_do_not_fit_are_named(changes: dict[str, Any], wrong: str) -> None:
    with pytest.raises(PropertiesRefusedError) as refused:
        FORM.write_url(merge_properties(FORM, FULL | changes, None), None)
    assert refused.value.names == (wrong,)


def test_the_loading_mode_and_the_project_stay() -> None:
    url = FORM.write_url(merge_properties(FORM, FULL, None), None)
    with pytest.raises(PropertiesRefusedError, match="loading_mode"):
        FORM.write_url(merge_properties(FORM, {"loading_mode": "APPEND_ONLY"}, url), url)
    other = {"service_account_credentials": {**KEY, "project_id": "another-project"}}
    with pytest.raises(PropertiesRefusedError, match="project_id"):
        FORM.write_url(merge_properties(FORM, other, url), url)


def test_what_no_property_says_of_a_url_stays() -> None:
    former = "bigquery://shop-123456/?location=US&credentials=/etc/key.json&query_bytes_max=5"
    changed = FORM.write_url(
        merge_properties(FORM, {"cloud_storage_location": "EU"}, former), former
    )
    assert BigqueryUrl.parse(changed).parameters == {
        "credentials": "/etc/key.json",
        "loading_mode": "UPSERT",
        "location": "EU",
        "query_bytes_max": "5",
    }


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("CustomeriD", "customerid"),
        ("customer id", "customer_id"),
        ("customer!id", "customer_id"),
        ("123customerid", "_customerid"),
        ("_customerid", "_customerid"),
        ("Ünï", "_n_"),
        ("", ""),
    ],
)
def test_names_are_written_as_stitch_writes_them(sent: str, name: str) -> None:
    assert make_bigquery_name(sent) == name
    assert make_bigquery_name(name) == name


@pytest.mark.parametrize(
    "name", ["_table_suffix", "_FILE_name", "_PARTITIONTIME", "_row_timestamp", "__root__x"]
)
def test_names_that_bigquery_keeps_for_itself_are_refused(name: str) -> None:
    assert is_reserved_column(name, BIGQUERY)
    assert not is_reserved_column(f"a{name}", BIGQUERY)


def test_schemas_that_bigquery_keeps_for_itself_are_refused_there() -> None:
    assert is_reserved_schema("information_schema", ["bigquery://shop-123456"])


# --- statements -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (None, "NULL"),
        (5, "5"),
        (True, "1"),
        ("it's", r"'it\'s'"),
        ("back\\slash\nline\r\0", r"'back\\slash\nline\r\x00'"),
        ("`$1; DROP TABLE x; --", "'`$1; DROP TABLE x; --'"),
        (SqlExpression("(SELECT 1)"), "(SELECT 1)"),
    ],
)
def test_values_are_literals(value: object, literal: str) -> None:
    assert DIALECT.literal(value) == literal


def test_names_are_quoted() -> None:
    assert DIALECT.quote("web", "a`b\\c") == r"`web`.`a\`b\\c`"
    assert DIALECT.place("web", "orders") == "`web`.`orders`"


def test_values_take_their_places_outside_of_quotes() -> None:
    statement = r"SELECT '$1 \' $2', `$1`, $2, $1"
    assert fill_values(statement, ["'a'", "7"]) == r"SELECT '$1 \' $2', `$1`, 7, 'a'"
    assert fill_values("SELECT '$1'", []) == "SELECT '$1'"


def test_all_columns_may_be_null_and_no_constraint_holds_a_key() -> None:
    columns = [Column("id", "id", ColumnType.BIGINT, nullable=False)]
    columns += [Column("j", "j", ColumnType.JSON)]
    assert DIALECT.define(columns, ("id",)) == "`id` INT64, `j` JSON"
    assert DIALECT.define_key(("id",)) == ""


def test_a_request_reads_as_the_statement_that_does_the_same() -> None:
    columns = [Column("a", "a", ColumnType.TEXT)]
    text = Quoted("ALTER TABLE `web`.`t` ADD COLUMN `a` STRING")
    request = make_request(text, "web", "t", columns, creates=False)
    assert request == text
    assert isinstance(request, SchemaRequest)
    assert (request.schema, request.relation, request.creates) == ("web", "t", False)
    assert request.columns == tuple(columns)


def _stage(parsed: frozenset[str] = frozenset()) -> StagedRows:
    columns = {"id": Quoted("c0"), "_sdc_sequence": Quoted("c1"), "a": Quoted("c2")}
    forms = {name: compose(PARSED_JSON, value=Quoted(f"s.{columns[name]}")) for name in parsed}
    return StagedRows(Quoted("`_treadle`.`s`"), columns, True, forms)


def _merge(condition: Quoted = NOTHING, parsed: frozenset[str] = frozenset()) -> str:
    sent = rows(ORDERS, ("id", "_sdc_sequence", "a"), [(1, 1, "x")])
    place = DIALECT.place("web", "orders")
    return merge(
        DIALECT,
        StagedUpsert(place, sent, _stage(parsed), condition, "{sequence} > t._sdc_sequence"),
    )


def test_a_merge_is_guarded_by_the_sequence_and_empties_what_is_not_sent() -> None:
    assert _merge() == (
        "MERGE INTO `web`.`orders` t USING `_treadle`.`s` s ON `t`.`id` = s.c0"
        " WHEN MATCHED AND (s.c1 > t._sdc_sequence) THEN UPDATE SET `_sdc_sequence` = s.c1,"
        " `a` = s.c2, `_sdc_batched_at` = NULL, `_sdc_received_at` = NULL,"
        " `_sdc_table_version` = NULL"
        " WHEN NOT MATCHED THEN INSERT (`_sdc_sequence`, `id`, `a`, `_sdc_batched_at`,"
        " `_sdc_received_at`, `_sdc_table_version`)"
        " VALUES (s.c1, s.c0, s.c2, NULL, NULL, NULL)"
    )


def test_a_merge_takes_some_staged_rows_and_parses_json() -> None:
    statement = _merge(Quoted("s.c0 > 5"), frozenset({"a"}))
    assert "USING (SELECT s.* FROM `_treadle`.`s` s WHERE (s.c0 > 5)) s ON" in statement
    assert "`a` = PARSE_JSON(s.c2, wide_number_mode => 'round')" in statement


def _plan(**changes: Any) -> LoadPlan:
    loads = TableLoads(None, **changes)  # type: ignore[arg-type]  # it only makes plans
    return loads.plan(table(ORDERS), upsert([(1, 1, "x")]))


def test_a_script_is_one_transaction_with_answers_after_it() -> None:
    assert make_script(["A", " B\n"], ["x", "y"]) == (
        "BEGIN TRANSACTION;\nA;\nB;\nCOMMIT TRANSACTION;\nSELECT x, y;"
    )
    assert make_script(["A"], []) == "BEGIN TRANSACTION;\nA;\nCOMMIT TRANSACTION;"


def test_a_rehearsed_script_is_undone_and_answers_before() -> None:
    assert make_script(["A"], ["x", "y"], undoes=True) == (
        "DECLARE answer_0, answer_1 STRING;\nBEGIN TRANSACTION;\nA;\n"
        "SET answer_0 = x;\nSET answer_1 = y;\nROLLBACK TRANSACTION;\nSELECT answer_0, answer_1;"
    )


def test_a_guard_compares_owner_position_fence_and_revision() -> None:
    guard, lock = guard_plan(DIALECT, _plan(position=4, revision=9, fence=3))
    for part in ("-1) = 4", ", 0) <= 3", ", 0) = 9", "ERROR('treadle: outdated')"):
        assert part in guard
    assert "LOGICAL_AND(installation_id = '' AND account_id = 0)" in guard
    assert lock == (
        "UPDATE `_treadle`.`schemas` SET source_id = source_id WHERE schema_name = 'web'"
    )


def test_rows_that_are_swapped_in_are_not_fenced() -> None:
    plan = _plan(fence=3)
    plan.offset = OffsetCommit("log", 7, "orders", 5, 5, 3, replaces_rows=True)
    assert f"<= {2**63 - 1}" in guard_plan(DIALECT, plan)[0]


def test_the_id_of_a_job_is_made_of_log_position_table_and_attempt() -> None:
    plan = _plan(position=41)
    title = name_load([plan], "ab12")
    assert title.startswith(name_load_jobs(plan.offset.log_id))
    assert title.endswith("_42_ab12")
    assert title.replace("_", "").isalnum()
    assert len(title) < 100
    assert title != name_load([_plan(position=40)], "ab12")
    assert title != name_load([_plan(position=41, source_id=8)], "ab12")
    assert name_load_jobs("another log") not in title


def test_a_result_is_an_expression_of_the_text_that_is_kept() -> None:
    plan = _plan()
    counter = ScriptCounter(plan)
    for write in counter.writes():
        counter.count(write.root.relation, 2)
    assert (
        counter.spell_result(DIALECT) == "CONCAT('[{', '\"orders\":', CAST(2 AS STRING), '},{}]')"
    )
    assert decode_result('[{"orders":2},{}]').rows == {"orders": 2}


def test_a_result_counts_what_the_script_writes() -> None:
    counter = ScriptCounter(_plan())
    for write in counter.writes():
        counter.count_where(write.root.relation, _stage(), Quoted("w"))
        counter.supersede_where(_stage(), Quoted("NOT w"))
    text = counter.spell_result(DIALECT)
    assert "CAST(0 + (SELECT COUNT(*) FROM `_treadle`.`s` s WHERE (w)) AS STRING)" in text
    assert "COUNT(*) AS n FROM `_treadle`.`s` s WHERE (NOT w) GROUP BY s.entry" in text


# --- rows and answers -----------------------------------------------------------------------------


def test_rows_are_sent_as_parquet() -> None:
    file = encode_rows(
        [
            ("c0", ColumnType.BIGINT, [1, None]),
            ("c1", ColumnType.DECIMAL, [Decimal("1.5"), None]),
            ("c2", ColumnType.TIMESTAMP, [-62_135_596_800_000_000, None]),
            ("c3", ColumnType.JSON, ['{"a": 1}', None]),
        ]
    )
    found = pq.read_table(file)
    assert found.to_pylist() == [
        {
            "c0": 1,
            "c1": Decimal("1.500000000"),
            "c2": datetime(1, 1, 1, tzinfo=UTC),
            "c3": '{"a": 1}',
        },
        {"c0": None, "c1": None, "c2": None, "c3": None},
    ]
    assert str(found.schema.field("c1").type) == "decimal128(38, 9)"


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        (ColumnType.BIGINT, [2**63]),
        (ColumnType.DECIMAL, [Decimal("1e30")]),
        (ColumnType.TEXT, ["\ud800"]),
        (ColumnType.BOOLEAN, ["yes"]),
    ],
)
def test_a_value_that_is_none_of_its_type_is_refused(type_: ColumnType, values: list[Any]) -> None:
    with pytest.raises(RowRefusedError, match="BigQuery cannot store a value"):
        encode_rows([("c0", type_, values)])


@pytest.mark.parametrize(
    ("field", "value", "form", "text"),
    [
        (("BOOLEAN", "NULLABLE"), True, ValueForm.BOOLEAN, "true"),
        (("INTEGER", "NULLABLE"), -5, ValueForm.NUMBER, "-5"),
        (("FLOAT", "NULLABLE"), 0.1, ValueForm.NUMBER, "0.1"),
        (("FLOAT", "NULLABLE"), float("-inf"), ValueForm.NUMBER, "-Infinity"),
        (("NUMERIC", "NULLABLE"), Decimal("1E+3"), ValueForm.NUMBER, "1000"),
        (
            ("TIMESTAMP", "NULLABLE"),
            datetime(2024, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC),
            ValueForm.INSTANT,
            "2024-01-02T03:04:05.5Z",
        ),
        (("JSON", "NULLABLE"), {"a": ["ü"]}, ValueForm.JSON, '{"a": ["ü"]}'),
        (("INTEGER", "REPEATED"), [1, 2], ValueForm.JSON, "[1, 2]"),
        (("BYTES", "NULLABLE"), b"\0\1", ValueForm.BLOB, "AAE="),
        (("DATE", "NULLABLE"), date(2024, 1, 2), ValueForm.TEXT, "2024-01-02"),
        (("STRING", "NULLABLE"), "x", ValueForm.TEXT, "x"),
    ],
)
def test_answers_are_spelled_by_their_form(
    field: tuple[str, str], value: object, form: ValueForm, text: str
) -> None:
    assert find_value_form(SchemaField("a", field[0], mode=field[1])) is form
    assert spell_answer(form, value) == text


# --- errors ---------------------------------------------------------------------------------------


def _fail(kind: type[exceptions.GoogleAPICallError], reason: str, message: str = "m") -> Exception:
    details = [{"reason": reason, "message": message}]
    failed: Exception = kind(message, errors=details)  # type: ignore[no-untyped-call,unused-ignore]
    return failed


MEANINGS: list[tuple[Exception, type[Exception]]] = [
    (_fail(exceptions.Forbidden, "rateLimitExceeded"), DestinationUnavailableError),
    (_fail(exceptions.Forbidden, "quotaExceeded"), DestinationUnavailableError),
    (_fail(exceptions.BadRequest, "resourcesExceeded"), DestinationUnavailableError),
    (_fail(exceptions.ServiceUnavailable, "backendError"), DestinationUnavailableError),
    (_fail(exceptions.BadRequest, "stopped"), DestinationUnavailableError),
    (_fail(exceptions.Forbidden, "accessDenied"), AccessDeniedError),
    (_fail(exceptions.Forbidden, "billingNotEnabled"), AccessDeniedError),
    (_fail(exceptions.Unauthorized, "authError"), AccessDeniedError),
    (exceptions.Forbidden("m"), AccessDeniedError),
    (_fail(exceptions.NotFound, "notFound"), PlanOutdatedError),
    (_fail(exceptions.Conflict, "duplicate"), PlanOutdatedError),
    (exceptions.PreconditionFailed("m"), PlanOutdatedError),
    (_fail(exceptions.BadRequest, "invalid", "The query is too large."), TableStoppedError),
    (_fail(exceptions.BadRequest, "invalidQuery", "Syntax error"), TableStoppedError),
    (
        _fail(
            exceptions.BadRequest,
            "invalidQuery",
            "Transaction is aborted due to concurrent update against table p:_treadle.positions.",
        ),
        DestinationUnavailableError,
    ),
    (
        _fail(exceptions.BadRequest, "invalidQuery", "treadle: outdated at [3:1]"),
        PlanOutdatedError,
    ),
    (auth_exceptions.RefreshError("invalid_grant"), AccessDeniedError),
    (auth_exceptions.TransportError("m"), DestinationUnavailableError),
    (exceptions.RetryError("m", cause=OSError("x")), DestinationUnavailableError),
    (ConnectionError("reset"), DestinationUnavailableError),
    (TimeoutError("late"), DestinationUnavailableError),
    (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), RowRefusedError),
]


MEANINGS += [
    (_fail(exceptions.BadRequest, "invalidQuery", f"{script}{text} at [3:1]"), PlanOutdatedError)
    for script in ("", "Query error: ")
    for text in (
        "Not found: Table shop:web.orders was not found in location EU",
        "Unrecognized name: a",
        "Name b not found inside t",
        "Column c is not present in table shop.web.orders",
        "Already Exists: Table shop:web.orders",
        "Duplicate column name 'd'",
    )
]


@pytest.mark.parametrize(("error", "meaning"), MEANINGS, ids=lambda one: repr(one)[:60])
def test_an_error_means_by_its_reason(error: Exception, meaning: type[Exception]) -> None:
    assert isinstance(error, ERRORS)
    assert type(translate(error)) is meaning


@pytest.mark.parametrize(
    ("error", "uncertain"),
    [
        (exceptions.ServiceUnavailable("m"), True),
        (exceptions.RetryError("m", cause=OSError("x")), True),
        (ConnectionError("reset"), True),
        (TimeoutError("late"), True),
        (_fail(exceptions.BadRequest, "invalidQuery"), False),
        (_fail(exceptions.Forbidden, "quotaExceeded"), False),
        (_fail(exceptions.Conflict, "duplicate"), False),
    ],
)
def test_after_some_errors_nobody_knows_what_became_of_a_job(
    error: Exception, uncertain: bool
) -> None:
    assert is_uncertain(error) is uncertain


def test_what_is_missing_and_what_is_refused() -> None:
    assert is_missing(_fail(exceptions.NotFound, "notFound"))
    assert not is_missing(_fail(exceptions.Forbidden, "accessDenied"))
    assert is_refused_change(_fail(exceptions.BadRequest, "invalid", "Invalid field name"))
    assert is_refused_change(_fail(exceptions.Conflict, "duplicate"))
    busy = _fail(exceptions.BadRequest, "invalidQuery", "Transaction is aborted: concurrent update")
    assert not is_refused_change(busy)
    assert not is_refused_change(_fail(exceptions.Forbidden, "rateLimitExceeded"))


# --- what is sent -------------------------------------------------------------------------------


class FoundRow(tuple[Any, ...]):
    """A row, as the client gives it."""

    __slots__ = ()

    def values(self) -> tuple[Any, ...]:
        return tuple(self)


class FoundRows(list[FoundRow]):
    """Rows of a query."""

    schema = ()


class DoneJob:
    """A job that is done, or that failed."""

    num_dml_affected_rows = 0

    def __init__(
        self, rows_: Sequence[tuple[Any, ...]] = (), error: Exception | None = None
    ) -> None:
        self.rows = rows_
        self.error = error

    def result(self, **_: object) -> FoundRows:
        if self.error is not None:
            raise self.error
        return FoundRows(map(FoundRow, self.rows))


class NotedClient:
    """A client that notes what it is asked to do, and does nothing.

    Attributes:
        sent: (id of the job, text) of each query, in order.
        loaded: table -> rows of the load job into it, and its settings.
        answers: part of a query -> its rows; no rows for any other.
        errors: what the queries raise, one after the other; None for nothing.
        load_error: what a load job raises.
        tables: dataset and name of those that are there -> their columns, which are integers.
        running: jobs of others.
        refused: part of a query -> what it raises.
        division: attributes of each table: partitions, clustering.
    """

    project = "shop"

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.loaded: dict[str, tuple[list[dict[str, Any]], Any]] = {}
        self.made: list[str] = []
        self.dropped: list[str] = []
        self.errors: list[Exception | None] = []
        self.load_error: Exception | None = None
        self.answers: dict[str, list[tuple[Any, ...]]] = {}
        self.tables: dict[str, tuple[str, ...]] = {}
        self.running: list[RunningJob] = []
        self.refused: dict[str, Exception] = {}
        self.division: dict[str, Any] = {}

    def get_table(self, place: Any, **_: object) -> Any:
        if f"{place.dataset_id}.{place.table_id}" not in self.tables:
            raise exceptions.NotFound("m")
        columns = self.tables[f"{place.dataset_id}.{place.table_id}"]
        found = bigquery.Table(place, [SchemaField(name, "INTEGER") for name in columns])
        for name, value in self.division.items():
            setattr(found, name, value)
        return found

    def get_dataset(self, dataset: Any, **_: object) -> Any:
        return bigquery.Dataset(dataset)

    def list_tables(self, dataset: Any, **_: object) -> list[Any]:
        return []

    def list_jobs(self, *, state_filter: str, **_: object) -> "list[RunningJob]":
        return self.running if state_filter == "running" else []

    def create_table(self, table: Any, **_: object) -> None:
        self.made.append(table.table_id)

    def delete_table(self, table: Any, **_: object) -> None:
        self.dropped.append(table.table_id)

    def load_table_from_file(
        self, file: Any, table: Any, *, job_config: Any, **_: object
    ) -> DoneJob:
        self.loaded[table.table_id] = (pq.read_table(file).to_pylist(), job_config)
        return DoneJob(error=self.load_error)

    def query(self, text: str, *, job_id: str, **_: object) -> DoneJob:
        self.sent.append((job_id, text))
        found = next((rows_ for part, rows_ in self.answers.items() if part in text), [])
        refused = next((error for part, error in self.refused.items() if part in text), None)
        return DoneJob(found, self.errors.pop(0) if self.errors else refused)

    def list_ids(self, part: str) -> list[str]:
        """The ids of the jobs whose texts have a part."""
        return [job_id for job_id, text in self.sent if part in text]


def _note() -> tuple[NotedClient, BigqueryConnection]:
    client: Any = NotedClient()
    return client, BigqueryConnection(client, DIALECT)


def _open(client: Any) -> BigquerySession:
    return BigquerySession(BigqueryTransactions(BigqueryConnection(client, DIALECT), "shop"))


def _keep_report(connection: BigqueryConnection, report: str) -> None:
    keep_offset(connection, OffsetCommit("log", 7, "orders", 4, 5, 1, report), "[{},{}]")


def test_a_report_that_a_script_has_no_room_for_is_sent_beside_it() -> None:
    """10,000 rejected records are some MB of report, and a script has 1 MB at most."""
    client, connection = _note()
    connection.begin_load("load")
    connection.begin()
    _keep_report(connection, "r" * 3_000_000)
    connection.commit()
    [(job_id, script)] = client.sent
    place = "`_treadle`.`stage_load_0`"
    assert f"report = (SELECT c1 FROM {place} WHERE c0 = 1), result = '[{{}},{{}}]'" in script
    assert len(script) < 1000
    assert job_id == "load_1"
    assert client.loaded["stage_load_0"][0] == [{"c0": 1, "c1": "r" * 3_000_000}]
    connection.release()
    assert client.dropped == ["stage_load_0"]


def test_a_load_job_makes_no_table() -> None:
    """Late, after its load was given up, it would make one that never goes."""
    client, connection = _note()
    connection.stage(rows(ORDERS, ("id", "a"), [(1, "x")]), "rows")
    [(rows_, config)] = client.loaded.values()
    assert rows_ == [{"c0": 1, "c1": "x", "entry": 0}]
    assert (config.create_disposition, config.write_disposition) == ("CREATE_NEVER", "WRITE_EMPTY")
    assert client.made == list(client.loaded)


def test_texts_that_a_script_has_room_for_stand_in_it() -> None:
    client, connection = _note()
    connection.begin()
    for _ in range(3):
        _keep_report(connection, "r" * 90_000)
    connection.commit()
    assert client.sent[0][1].count("r" * 90_000) == 2
    assert [len(rows_) for rows_, _ in client.loaded.values()] == [1]


def test_texts_of_an_earlier_script_are_not_sent_again() -> None:
    client, connection = _note()
    for number in range(2):
        connection.begin()
        _keep_report(connection, f"{number}" * 300_000)
        connection.commit()
    texts = [rows_[0]["c1"][0] for rows_, _ in client.loaded.values()]
    assert texts == ["0", "1"]


def test_a_script_that_is_too_long_stops_the_table() -> None:
    client, connection = _note()
    connection.begin()
    columns = ", ".join(f"`c{number:06d}`" for number in range(100_000))
    connection.run(Quoted(f"INSERT INTO t ({columns}) SELECT * FROM s"))
    with pytest.raises(TableStoppedError, match=r"1,100,0\d\d characters, and BigQuery takes"):
        connection.commit()
    assert client.sent == []


def _conflict(table_: str = "positions") -> Exception:
    text = f"Transaction is aborted due to concurrent update against table p:_treadle.{table_}."
    return _fail(exceptions.BadRequest, "invalidQuery", text)


def _commit(client: NotedClient, connection: BigqueryConnection) -> list[str]:
    """Commit a load; returns the ids of its scripts."""
    connection.begin_load("load")
    connection.begin()
    connection.run(Quoted("DELETE FROM a WHERE TRUE"))
    try:
        connection.commit()
    finally:
        assert len({text for _, text in client.sent}) == 1
    return [job_id for job_id, _ in client.sent]


def test_a_script_that_is_aborted_for_another_one_is_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Loads of other tables change the same tables of treadle's: no reason to pause them all."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    client, connection = _note()
    client.errors = [_conflict(), _conflict("schemas")]
    assert _commit(client, connection) == ["load_1", "load_2", "load_3"]
    assert 0.5 <= waited[0] <= 1.5
    assert 2 <= waited[1] <= 6
    client, connection = _note()
    client.errors = [_conflict(), _conflict(), _conflict()]
    with pytest.raises(exceptions.BadRequest, match="concurrent update"):
        _commit(client, connection)
    assert len(client.sent) == 3


@pytest.mark.parametrize(
    "error",
    [
        _fail(exceptions.BadRequest, "invalidQuery", "treadle: outdated"),
        _fail(exceptions.BadRequest, "invalidQuery", "Retrying the job may solve the problem"),
        exceptions.ServiceUnavailable("concurrent update"),
    ],
    ids=["outdated", "retry", "uncertain"],
)
def test_a_script_that_may_be_done_is_not_sent_again(error: Exception) -> None:
    client, connection = _note()
    client.errors = [error]
    with pytest.raises(type(error)):
        _commit(client, connection)
    assert len(client.sent) == 1


def test_a_row_is_refused_by_a_load_job_alone() -> None:
    client, connection = _note()
    client.load_error = _fail(exceptions.BadRequest, "invalid", "bad row")
    with pytest.raises(RowRefusedError, match=r"^bad row$"):
        connection.stage(rows(ORDERS, ("id", "a"), [(1, "x")]), "rows")
    client.load_error = _fail(exceptions.Forbidden, "quotaExceeded")
    with pytest.raises(exceptions.Forbidden):
        connection.stage(rows(ORDERS, ("id", "a"), [(1, "x")]), "rows")


def test_all_jobs_of_a_load_have_its_id() -> None:
    """One that goes on when its connection broke is waited for by its id."""
    client, connection = _note()
    connection.begin_load("load")
    connection.run(Quoted("DROP TABLE a"))
    connection.begin()
    connection.run(Quoted("DROP TABLE b"))
    connection.run(Quoted("DELETE FROM c WHERE TRUE"))
    connection.commit()
    assert [job_id for job_id, _ in client.sent] == ["load_step_1", "load_step_2", "load_1"]
    connection.begin_load("")
    connection.run(Quoted("DROP TABLE a"))
    assert not client.sent[-1][0].startswith("load")


def test_what_a_load_left_is_done_by_jobs_that_are_waited_for() -> None:
    client: Any = NotedClient()
    intent = encode_intent(LoadIntent(drops=("stage_x",)))
    client.answers = {"SELECT document FROM `_treadle`.`intents`": [(intent,)]}
    session = _open(client)
    session.state("web", "orders")
    [dropping] = client.list_ids("DROP TABLE IF EXISTS `_treadle`.`stage_x`")
    client.running = [RunningJob(dropping), RunningJob("treadle_other")]
    session.committed("log")
    assert [job.waits for job in client.running] == [1, 0]


def test_a_table_is_removed_by_jobs_of_its_log() -> None:
    client: Any = NotedClient()
    client.tables = {"_treadle.catalogue": (), "web._sdc_primary_keys": ()}
    entry = encode_entry(DIALECT, table(ORDERS))
    client.answers = {"SELECT revision, document": [(1, entry)]}
    _open(client).remove("web", "orders", "log")
    removing = f"{name_load_jobs('log')}remove_"
    for part in ("DROP TABLE IF EXISTS `web`.`orders`", "_sdc_primary_keys` WHERE", "`positions`"):
        [job_id] = client.list_ids(part)
        assert job_id.startswith(removing)


# --- who may change a table -----------------------------------------------------------------------

OTHER = "treadle_load_of_another_1"
OWN_TABLES = tuple(f"_treadle.{name}" for name in ("positions", "catalogue", "schemas", "intents"))
HELD = "SELECT document FROM `_treadle`.`intents`"


def _client(intent: LoadIntent | None = None) -> Any:
    """A client of a project in which `web.orders` was made by nobody that is known."""
    client = NotedClient()
    client.tables = {"web.orders": ("id", "a", "_sdc_sequence"), "web._sdc_rejected": ()}
    client.answers = {
        "COMMIT TRANSACTION;\nSELECT": [("[{},{}]",)],
        "SELECT installation_id": [("", 0, 0)],
    }
    if intent is not None:
        client.answers[HELD] = [(encode_intent(intent),)]
    return client


def _widening() -> LoadPlan:
    """A load that writes a table anew, because a column becomes text."""
    loads = TableLoads(None)  # type: ignore[arg-type]  # it only makes plans
    widened = WidenColumn("orders", Column("a", "a", ColumnType.TEXT), ColumnType.BIGINT)
    return loads.plan(table(ORDERS), upsert([(1, 1, "x")]), changes=[widened])


def _find(client: Any, part: str) -> str:
    [text] = [text for _, text in client.sent if part in text]
    return str(text)


def _guards(attempt: str) -> str:
    return f"""'"attempt":"{attempt}"') > 0"""


def test_a_table_is_changed_by_whose_intent_is_noted() -> None:
    client = _client()
    _open(client).load(_widening())
    [job_id] = client.list_ids("CREATE OR REPLACE TABLE `web`.`orders`")
    title = job_id.partition("_step_")[0]
    noting = _find(client, "INSERT INTO `_treadle`.`intents`")
    guard, _, rest = noting.removeprefix("BEGIN TRANSACTION;\n").partition(";\n")
    assert guard.startswith("SELECT IF(")
    assert "-1) = -1" in guard
    assert "AND (SELECT MAX(document) FROM `_treadle`.`intents` WHERE" in guard
    assert ") IS NULL,\n  0, ERROR('treadle: outdated'))" in guard
    assert f'"attempt":"{title}"' in rest
    changing = _find(client, "CREATE OR REPLACE")
    guard, _, rest = changing.partition(";\n")
    assert guard.startswith("SELECT IF(")
    assert _guards(title) in guard
    assert rest.startswith("CREATE OR REPLACE TABLE `web`.`orders` AS SELECT * REPLACE")
    committing = _find(client, "MERGE INTO `web`.`orders`")
    assert _guards(title) in committing
    assert "DELETE FROM `_treadle`.`intents` WHERE" in committing
    texts = [text for _, text in client.sent]
    assert texts.index(noting) < texts.index(changing) < texts.index(committing)


def test_a_load_without_changes_is_committed_where_no_other_one_changes_its_table() -> None:
    client = _client()
    _open(client).load(_plan())
    committing = _find(client, "MERGE INTO `web`.`orders`")
    assert ") IS NULL,\n  0, ERROR('treadle: outdated'))" in committing
    assert "INSERT INTO `_treadle`.`intents`" not in committing


def test_what_another_load_noted_is_taken_over_before_anything_is_done() -> None:
    """It may still run, with a connection to BigQuery and none to the store."""
    draft = TableReplacement("_treadle", "tombstones_x", "draft_x")
    client = _client(LoadIntent(encode_table(table(ORDERS)), (draft,), attempt=OTHER))
    client.tables["_treadle.draft_x"] = ()
    client.running = [RunningJob("treadle_load_of_others_2"), RunningJob("somebody's")]
    _open(client).load(_plan())
    noting = _find(client, "INSERT INTO `_treadle`.`intents`")
    guard, _, rest = noting.removeprefix("BEGIN TRANSACTION;\n").partition(";\n")
    assert _guards(OTHER) in guard
    assert OTHER not in rest
    assert "draft_x" in rest  # whoever finds this one drops it, too
    [job_id] = client.list_ids("DROP TABLE IF EXISTS `_treadle`.`draft_x`")
    title = job_id.partition("_step_")[0]
    assert _guards(title) in _find(client, "DROP TABLE IF EXISTS `_treadle`.`draft_x`")
    assert f'"attempt":"{title}"' in rest
    assert _guards(title) in _find(client, "MERGE INTO `web`.`orders`")
    texts = [text for _, text in client.sent]
    assert texts.index(noting) < texts.index(_find(client, "DROP TABLE IF EXISTS"))


@pytest.mark.parametrize("ends", [False, True], ids=["pending", "ending"])
def test_an_intent_of_nobody_that_is_named_is_taken_over(ends: bool) -> None:
    """Earlier versions of treadle named none; and whose jobs to wait for is not known."""
    noted = LoadIntent(drops=("x",)) if ends else LoadIntent(encode_table(table(ORDERS)))
    client = _client(noted)
    client.running = [RunningJob("somebody's")]
    if ends:
        _open(client).state("web", "orders")
    else:
        _open(client).load(_plan())
    taking = _find(client, "INSERT INTO `_treadle`.`intents`")
    mark = """'"attempt":"treadle_'"""
    assert f", {mark}), {mark}) = 0" in taking.partition(";\n")[2]
    assert client.running[0].waits == 0


def test_what_another_load_is_still_doing_is_waited_for_and_planned_anew() -> None:
    client = _client(LoadIntent(encode_table(table(ORDERS)), attempt=OTHER))
    running = RunningJob(f"{OTHER}_step_1")
    client.running = [running]
    with pytest.raises(PlanOutdatedError, match="was still changing it"):
        _open(client).load(_widening())
    assert running.waits == 1
    assert client.list_ids("CREATE OR REPLACE") == []
    assert client.list_ids("MERGE") == []


def test_a_change_that_comes_too_late_is_no_refusal_of_a_record() -> None:
    client = _client()
    late = _fail(exceptions.BadRequest, "invalidQuery", "Query error: treadle: outdated at [1:8]")
    client.refused = {"CREATE OR REPLACE": late}
    with pytest.raises(PlanOutdatedError) as told:
        _open(client).load(_widening())
    assert type(told.value) is PlanOutdatedError
    assert client.list_ids("MERGE") == []


def test_what_a_committed_load_left_is_done_by_one_process_alone() -> None:
    client = _client(LoadIntent(drops=("stage_x",), attempt=OTHER))
    running = RunningJob(f"{OTHER}_step_3")
    client.running = [running]
    _open(client).state("web", "orders")
    texts = [text for _, text in client.sent if "intents" in text and HELD not in text]
    taking, dropping, ending = texts
    assert _guards(OTHER) in taking
    assert "INSERT INTO `_treadle`.`intents`" in taking
    assert running.waits == 1
    title = client.list_ids("DROP TABLE")[0].partition("_step_")[0]
    assert f'"attempt":"{title}"' in taking
    assert _guards(title) in dropping
    assert dropping.endswith(";\nDROP TABLE IF EXISTS `_treadle`.`stage_x`")
    assert _guards(title) in ending
    assert "DELETE FROM `_treadle`.`intents`" in ending


@pytest.mark.parametrize("part", ["DROP TABLE IF EXISTS", "BEGIN TRANSACTION;\nSELECT IF(STRPOS"])
def test_a_load_is_committed_though_another_process_ends_it(part: str) -> None:
    client = _client()
    plan = _widening()
    plan = replace(plan, changes=(*plan.changes, DropStage("stage_x")))
    late = _fail(exceptions.BadRequest, "invalidQuery", "treadle: outdated")
    client.refused = {part: late}
    assert _open(client).load(plan).rows == {}
    assert client.list_ids(part) != []
    assert client.list_ids("DROP TABLE IF EXISTS `_treadle`.`stage_x`") != []


def test_a_copy_that_a_killed_rehearsal_left_is_made_anew() -> None:
    client = _client()
    plan = _widening()
    name = name_auxiliary(plan.owner, "rehearsal_", "web", "orders")
    client.tables |= dict.fromkeys(
        (*OWN_TABLES, "web._sdc_primary_keys", f"web.{name}"), ("id", "a", "_sdc_sequence")
    )
    client.answers = {"ROLLBACK TRANSACTION": [("[{},{}]",)]} | client.answers
    _open(client).load(plan, rehearse=True)
    texts = [text for _, text in client.sent if name in text]
    assert texts[0] == f"DROP TABLE `web`.`{name}`"
    assert texts[1] == f"CREATE TABLE `web`.`{name}` LIKE `web`.`orders`"
    assert texts[2].startswith(f"CREATE OR REPLACE TABLE `web`.`{name}` AS SELECT")
    assert client.dropped[0] == name


@pytest.mark.parametrize("rehearse", [False, True])
@pytest.mark.parametrize(
    "division",
    [
        {"clustering_fields": ["a"]},
        {"time_partitioning": bigquery.TimePartitioning(field="_sdc_batched_at")},
        {
            "range_partitioning": bigquery.RangePartitioning(
                bigquery.PartitionRange(0, 100, 10), field="id"
            )
        },
    ],
    ids=lambda one: next(iter(one)),
)
def test_a_table_that_bigquery_does_not_replace_stops(
    division: dict[str, Any], rehearse: bool
) -> None:
    """No record is to blame, so none is rejected."""
    client = _client()
    client.tables |= dict.fromkeys((*OWN_TABLES, "web._sdc_primary_keys"), ())
    client.division = division
    with pytest.raises(TableStoppedError, match="refuses that for a table with partitions or"):
        _open(client).load(_widening(), rehearse=rehearse)
    assert client.list_ids("CREATE") == client.list_ids("INSERT") == []


# --- jobs that go on ------------------------------------------------------------------------------


class RunningJob:
    """A job of another process, which no emulator has."""

    def __init__(self, job_id: str, error: Exception | None = None) -> None:
        self.job_id = job_id
        self.waits = 0
        self._error = error

    def result(self, **_: object) -> None:
        self.waits += 1
        if self._error is not None:
            raise self._error


class JobList:
    """A client, as far as jobs are listed."""

    def __init__(self, *jobs: RunningJob) -> None:
        self.jobs = jobs

    def list_jobs(self, *, state_filter: str, **_: object) -> list[RunningJob]:
        return list(self.jobs) if state_filter == "running" else []


def _connect(*jobs: RunningJob) -> BigqueryConnection:
    client: Any = JobList(*jobs)
    return BigqueryConnection(client, DIALECT)


def test_jobs_of_a_log_that_still_run_are_waited_for() -> None:
    prefix = name_load_jobs("log")
    its, other = RunningJob(f"{prefix}x_1_ab_1"), RunningJob(f"{name_load_jobs('other')}x_1_ab_1")
    failed = RunningJob(f"{prefix}y_1_ab_1", _fail(exceptions.BadRequest, "invalidQuery"))
    _connect(its, other, failed).await_jobs(prefix)
    assert (its.waits, failed.waits, other.waits) == (1, 1, 0)


def test_a_job_that_does_not_end_leaves_it_open_what_is_committed() -> None:
    prefix = name_load_jobs("log")
    with pytest.raises(DestinationUnavailableError, match="has not ended yet"):
        _connect(RunningJob(f"{prefix}x", TimeoutError("late"))).await_jobs(prefix)


# --- the loading mode, and the suite's words ------------------------------------------------------


@pytest.mark.parametrize(("profile", "rows_"), [(BIGQUERY, 1), (BIGQUERY_APPENDING, 2)])
def test_a_destination_that_appends_keeps_every_record(
    profile: DestinationProfile, rows_: int
) -> None:
    executor = Executor(profile)
    for sequence in (1, 2):
        executor.run([batch([(sequence, {"id": 1})], table="t", keys=["id"])])
    assert len(executor.live["t"].rows) == rows_


@pytest.mark.parametrize(
    ("statement", "spelled"),
    [
        ('SELECT \'"x"\' AS "p%"', ["SELECT '\"x\"' AS `p%`"]),
        ("CREATE INDEX i ON web.t (a)", []),
        ("DELETE FROM web.t", ["DELETE FROM web.t WHERE TRUE"]),
        (
            "CREATE TABLE web.t (id BIGINT PRIMARY KEY, a TEXT)",
            [
                "CREATE TABLE web.t (id BIGINT, a STRING)",
                "INSERT INTO web._sdc_primary_keys (table_name, column_name) VALUES ('t', 'id')",
            ],
        ),
        (
            "ALTER TABLE web.t ADD COLUMN n VARCHAR(20) DEFAULT 'none'",
            ["ALTER TABLE web.t ADD COLUMN n STRING", "UPDATE web.t SET n = 'none' WHERE TRUE"],
        ),
        (
            "SELECT a FROM information_schema.tables WHERE table_schema = 'web'",
            ["SELECT a FROM web.INFORMATION_SCHEMA.TABLES WHERE table_schema = 'web'"],
        ),
        (
            "SELECT a FROM information_schema.columns WHERE lower(table_schema) = 'web'",
            ["SELECT a FROM web.INFORMATION_SCHEMA.COLUMNS WHERE lower(table_schema) = 'web'"],
        ),
    ],
)
def test_the_suite_speaks_as_bigquery_does(statement: str, spelled: list[str]) -> None:
    assert spell_for_bigquery(statement) == spelled
