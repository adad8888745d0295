"""What the Iceberg back-end decides from values: URLs, forms, notes, errors and conditions."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests
import sqlalchemy.exc
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg import exceptions
from pyiceberg.catalog.rest.response import _handle_non_200_response
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.typedef import Record
from sqlalchemy import make_url

from treadle.destinations.form import PathRefusedError, PropertiesRefusedError, merge_properties
from treadle.destinations.form_registry import find_form
from treadle.destinations.iceberg.catalogue import DATABASE_TIMEOUTS, PLAIN_NAMES, make_engine_url
from treadle.destinations.iceberg.compaction import CompactionRule, FileCount, choose_files
from treadle.destinations.iceberg.errors import (
    ERRORS,
    translate,
    translate_commit,
    translate_open,
    translate_part,
)
from treadle.destinations.iceberg.inspection import list_changes
from treadle.destinations.iceberg.relation_draft import make_condition
from treadle.destinations.iceberg.schema_types import (
    describe_schema,
    make_schema,
    may_identify,
)
from treadle.destinations.iceberg.table_record import (
    HeadNote,
    HeadRecord,
    PartNote,
    decode_head,
    encode_head,
    escape_text,
    is_unfinished,
    name_ledger,
)
from treadle.destinations.iceberg_form import IcebergForm, IcebergUrl
from treadle.destinations.layout import REJECTED
from treadle.destinations.load_mark import LoadMark, digest_mark
from treadle.destinations.protocol import (
    AccessDeniedError,
    CommitUnknownError,
    DestinationUnavailableError,
    PlanOutdatedError,
)
from treadle.destinations.registry import is_exclusive, make_destination
from treadle.destinations.scanned_engine import split_name
from treadle.destinations.schema_claim import refuse_system_schema
from treadle.destinations.transport import find_transport_risk
from treadle.errors import OperatorError, TableStoppedError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    Column,
    CreateRelation,
    LoadPlan,
    OffsetCommit,
    Relation,
    RenameColumn,
    Table,
    WidenColumn,
)

FOLDER = Path("/var/lib/treadle")
FORM = IcebergForm(FOLDER)
REST: dict[str, Any] = {
    "catalog": "rest",
    "uri": "https://lake.example.com:8181/catalog/v1",
    "username": "id@1",
    "password": "s:e/c?r#e%t",
    "warehouse": "s3://lake/x",
    "s3_endpoint": "https://s3.example.com",
    "s3_region": "eu-1",
    "s3_access_key_id": "AK",
    "s3_secret_access_key": "S+/=K",
}


# --- URLs and forms -------------------------------------------------------------------------------


def test_a_file_a_database_and_a_server_are_told_apart() -> None:
    file = make_destination("iceberg+sql:///var/lib/lake%20one.db")
    assert file.kind == "iceberg"
    assert file.identity == "iceberg+sql:///var/lib/lake one.db"
    assert file.file == Path("/var/lib/lake one.db")
    database = make_destination("iceberg+sql://u:p@DB:5433/lake?warehouse=s3://b/x")
    assert database.identity == "iceberg+sql://db:5433/lake"
    assert database.file is None
    server = make_destination("iceberg+rest://id:secret@LAKE.example.com/v1?warehouse=w1")
    assert server.identity == "iceberg+rest://lake.example.com/v1?warehouse=w1"
    assert not any(is_exclusive(url) for url in ("iceberg+sql:///x.db", "iceberg+rest://h"))
    assert not file.capabilities.multi_table_transaction
    assert file.capabilities.load_age_seconds == 60


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("iceberg+sql://", "expected iceberg+sql:///var/lib/treadle/lake.db"),
        ("iceberg+sql:///folder/", "not one of an Iceberg catalogue"),
        ("iceberg+rest:///x", "not one of an Iceberg catalogue"),
        ("iceberg+rest://u:s3cret@h:port/", "not one of an Iceberg catalogue"),
        ("iceberg+rest://u:s3cret@h/?nonsense=1", "parameter 'nonsense'; known are compact-files"),
        ("iceberg+sql://u:s3cret@h/db", "no warehouse"),
        ("iceberg+sql:///x.db?keep-hours=never", "keep-hours=never; expected a number above 0"),
        ("iceberg+sql:///x.db?compact-files=0", "compact-files=0"),
        ("iceberg+rest://h/?names=fancy", "expected names=plain"),
        ("iceberg+sql:///x.db?names=plain", "of iceberg+rest only"),
    ],
)
def test_a_url_that_is_none_says_what_is_wrong(url: str, expected: str) -> None:
    with pytest.raises(OperatorError) as refused:
        make_destination(url)
    assert expected in str(refused.value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "iceberg+sql:///etc/lake.db",
        "iceberg+sql://u:p@h/db?warehouse=file:///etc",
        "iceberg+sql:///var/lib/treadle/./x.db?warehouse=file:///etc",
    ],
)
def test_an_account_names_no_place_of_the_operators(url: str) -> None:
    with pytest.raises(AccessDeniedError):
        make_destination(url, lambda address: None)
    make_destination("iceberg+sql:///var/lib/treadle/./x.db", lambda address: None)
    make_destination("iceberg+rest://h/", lambda address: None)


def test_a_catalogue_of_plain_names_has_names_of_its_own() -> None:
    profile = make_destination("iceberg+rest://h/?names=plain").profile
    assert profile.canonical(" Größe €") == "gr__e__"
    assert profile.display_name == "Iceberg"
    with pytest.raises(TableStoppedError, match="Iceberg's own or treadle's own"):
        refuse_system_schema("treadle", profile)
    refuse_system_schema("treadle", make_destination("iceberg+rest://h/").profile)
    assert profile.tables_reserved == {PLAIN_NAMES[REJECTED]}


def test_a_form_is_a_url_and_gives_the_properties_back() -> None:
    url = FORM.write_url(merge_properties(FORM, REST, None), None)
    assert FORM.read_url(url) == REST
    parts = IcebergUrl.parse(url)
    assert parts.http_url == REST["uri"]
    assert (parts.user, parts.password) == ("id@1", "s:e/c?r#e%t")
    clear = FORM.write_url({**REST, "uri": "http://127.0.0.1:8181"}, url)
    assert IcebergUrl.parse(clear).parameters["tls"] == "false"
    assert FORM.read_url(clear)["uri"] == "http://127.0.0.1:8181"
    assert find_form("iceberg", FOLDER) == FORM


def test_a_file_of_a_form_is_inside_of_the_folder() -> None:
    url = FORM.write_url({"catalog": "sql", "path": "lakes/one.db"}, None)
    assert FORM.read_url(url) == {"catalog": "sql", "path": "lakes/one.db"}
    assert make_destination(url).file == FOLDER / "lakes/one.db"
    elsewhere = FORM.read_url("iceberg+sql:///mnt/secret/place.db")
    assert elsewhere == {"catalog": "sql", "path": "place.db"}
    for path in ("/etc/x.db", "../x.db", "a/../../x.db"):
        with pytest.raises(PathRefusedError):
            FORM.write_url({"catalog": "sql", "path": path}, None)


@pytest.mark.parametrize(
    ("given_", "wrong"),
    [({"catalog": "sql"}, ("path",)), ({"catalog": "rest"}, ("uri",))],
)
def test_what_a_kind_of_catalogue_needs_is_asked_for(
    given_: dict[str, str], wrong: tuple[str, ...]
) -> None:
    with pytest.raises(PropertiesRefusedError) as refused:
        FORM.write_url(given_, None)
    assert refused.value.names == wrong


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(TEXTS, TEXTS, TEXTS)
def test_any_login_and_warehouse_come_back(user: str, password: str, warehouse: str) -> None:
    given_ = {**REST, "username": user, "password": password, "warehouse": warehouse}
    found = FORM.read_url(FORM.write_url(merge_properties(FORM, given_, None), None))
    assert (found["username"], found["password"]) == (user, password)
    assert found["warehouse"] == warehouse


@pytest.mark.parametrize(
    "url",
    [
        "iceberg+rest://u:5ecret@lake.example.com/?tls=false",
        "iceberg+sql:///x.db?s3.endpoint=http://s3.example.com",
    ],
)
def test_a_server_in_clear_is_told(url: str) -> None:
    risk = find_transport_risk(make_destination(url))
    assert risk is not None
    assert "without TLS" in risk.found
    assert "5ecret" not in f"{risk}"


@pytest.mark.parametrize(
    "url",
    [
        "iceberg+rest://u:p@lake.example.com/",
        "iceberg+rest://u:p@127.0.0.1:8181/?tls=false&s3.endpoint=http://localhost:8333",
        "iceberg+sql:///x.db",
    ],
)
def test_an_encrypted_or_local_server_is_no_risk(url: str) -> None:
    assert find_transport_risk(make_destination(url)) is None


def test_the_database_of_a_catalogue_has_a_url_of_its_own() -> None:
    assert make_engine_url(IcebergUrl.parse("iceberg+sql:///a/b.db")) == "sqlite:////a/b.db"
    assert make_engine_url(IcebergUrl.parse("iceberg+sql://u:p%40@h:5/d")) == (
        "postgresql+psycopg://u:p%40@h:5/d?connect_timeout=10&keepalives=1&keepalives_count=3"
        "&keepalives_idle=10&keepalives_interval=5&tcp_user_timeout=60000"
    )


def test_the_driver_takes_the_parameters_of_the_database_of_a_catalogue() -> None:
    conninfo = pytest.importorskip("psycopg.conninfo")
    url = make_url(make_engine_url(IcebergUrl.parse("iceberg+sql://u:p%40@h:5/d")))
    _, arguments = url.get_dialect()().create_connect_args(url)
    read = conninfo.conninfo_to_dict(conninfo.make_conninfo("", **arguments))
    assert {name: str(read[name]) for name in DATABASE_TIMEOUTS} == dict(DATABASE_TIMEOUTS)


# --- types ----------------------------------------------------------------------------------------


def relation(key: tuple[str, ...], **columns: ColumnType) -> Relation:
    made = tuple(Column(n, n, t, nullable=n not in key) for n, t in columns.items())
    return Relation((), "orders", made, key, "orders")


def test_a_relation_comes_back_from_its_schema() -> None:
    every = relation(("bigint", "text"), **{t.value: t for t in ColumnType})
    found = describe_schema(make_schema(every), {})
    assert found.columns == {t.value: t for t in ColumnType}
    assert found.key == {"bigint", "text"}


def test_a_double_is_no_part_of_an_identifier() -> None:
    keyed = relation(("d",), d=ColumnType.DOUBLE, a=ColumnType.TEXT)
    assert not may_identify(keyed)
    schema = make_schema(keyed)
    assert describe_schema(schema, {}).key == frozenset()
    assert describe_schema(schema, {"treadle.key": "d"}).key == {"d"}
    assert describe_schema(schema, {"treadle.key": "d\ngone"}).key == frozenset()


# --- notes ----------------------------------------------------------------------------------------


def test_a_head_is_read_as_it_was_written() -> None:
    mark = LoadMark("log \0", 2**62, "a\0b ü🧵", 5, 3, "report\n", '[{"t":1},{}]')
    entry = Table("web", "orders", (), False, False, 0, (relation(("id",), id=ColumnType.BIGINT),))
    record = HeadRecord(
        HeadNote(7, 5, ("a", "b"), {"stage": "uuid"}),
        entry,
        {digest_mark(mark.log_id, mark.source_id, mark.table_name): mark},
    )
    properties = encode_head(record)
    assert all(value.isascii() and value.isprintable() for value in properties.values())
    assert decode_head({**properties, "other": "x"}) == record
    assert decode_head({"other": "x"}) is None
    assert record.get_mark(OffsetCommit("log \0", 2**62, "a\0b ü🧵", 0, 1)) == mark
    assert record.get_mark(OffsetCommit("log", 2**62, "a\0b ü🧵", 0, 1)) is None


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (None, False),
        (PartNote("b", 7), False),  # the last one
        (PartNote("a", 6), False),
        (PartNote("c", 7), True),  # somebody else was the seventh
        (PartNote("c", 8), True),  # it did not come to its head
        (PartNote("z", 5), False),  # before those that the head remembers
        (PartNote("", 8), False),  # taken back
    ],
)
def test_a_load_that_did_not_come_to_its_head(part: PartNote | None, expected: bool) -> None:
    assert is_unfinished(part, HeadNote(7, 5, ("a", "b"))) is expected


def test_a_record_is_followed_and_forgets() -> None:
    record = HeadRecord()
    for number in range(300):
        record = record.follow(f"l{number}")
    assert record.note.number == 300
    assert len(record.note.loads) == 200
    assert record.note.loads[-1] == "l299"


def test_ledgers_of_different_tables_have_different_names() -> None:
    places = [("web", "a"), ("web", "b"), ("we", "ba"), ("w", "eb\0a"), ("web\0a", "")]
    assert len({name_ledger(*place) for place in places}) == len(places)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_json_text_is_the_same_in_ascii(text: str) -> None:
    escaped = escape_text(json.dumps(text, ensure_ascii=False))
    assert escaped.isascii()
    assert json.loads(escaped) == text


# --- conditions and compaction --------------------------------------------------------------------


def test_few_keys_are_listed_and_many_are_a_range() -> None:
    few = make_condition(["id"], pa.table({"id": [3, 1]}))
    assert "In(" in repr(few)
    many = make_condition(["id"], pa.table({"id": list(range(200))}))
    assert "GreaterThanOrEqual" in repr(many)
    assert "199" in repr(many)
    doubles = make_condition(["id"], pa.table({"id": [0.5]}))
    assert repr(doubles) == "AlwaysTrue()"


def data_file(path: str, size: int, rows: int = 100) -> DataFile:
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=rows,
        file_size_in_bytes=size,
    )


def test_small_and_worn_files_are_written_anew() -> None:
    big = data_file("big", 10**8)
    small = [data_file(f"small{n}", 1000) for n in range(2)]
    assert choose_files([big, *small], {}) == {"small0", "small1"}
    assert choose_files([big, small[0]], {}) == set()  # alone it would only be itself again
    assert choose_files([big], {"big": 24}) == set()
    assert choose_files([big], {"big": 25}) == {"big"}


def test_a_table_is_compacted_when_files_have_come_together() -> None:
    rule = CompactionRule(files=10)
    assert not FileCount(9, 9).is_due(rule)
    assert FileCount(10, 0).is_due(rule)
    assert FileCount(1, 10).is_due(rule)
    assert not FileCount(109, 0, compacted=100).is_due(rule)


# --- errors ---------------------------------------------------------------------------------------


def database_error() -> Exception:
    return sqlalchemy.exc.OperationalError("SELECT secret", {}, Exception("database is locked"))


@pytest.mark.parametrize(
    ("error", "kind", "commit"),
    [
        (exceptions.CommitFailedException("x"), PlanOutdatedError, PlanOutdatedError),
        (exceptions.NoSuchTableError("x"), PlanOutdatedError, PlanOutdatedError),
        (exceptions.ForbiddenError("x"), AccessDeniedError, AccessDeniedError),
        (exceptions.OAuthError("x"), AccessDeniedError, AccessDeniedError),
        (PermissionError("x"), AccessDeniedError, AccessDeniedError),
        (OSError("When: AWS Error ACCESS_DENIED"), AccessDeniedError, CommitUnknownError),
        (exceptions.ServerError("x"), DestinationUnavailableError, CommitUnknownError),
        (requests.ConnectionError("x"), DestinationUnavailableError, CommitUnknownError),
        (database_error(), DestinationUnavailableError, CommitUnknownError),
        (pa.ArrowInvalid("x"), TableStoppedError, CommitUnknownError),
        (exceptions.BadRequestError("x"), TableStoppedError, TableStoppedError),
        (NotImplementedError("x"), TableStoppedError, TableStoppedError),
        (exceptions.RESTError("x"), TableStoppedError, CommitUnknownError),
        (ValueError("the answer is not as it should be"), TableStoppedError, CommitUnknownError),
    ],
)
def test_an_error_has_a_meaning(
    error: Exception, kind: type[Exception], commit: type[Exception]
) -> None:
    assert type(translate(error)) is kind
    assert type(translate_commit(error)) is commit


@pytest.mark.parametrize(
    ("status", "kind", "commit"),
    [
        (400, TableStoppedError, TableStoppedError),
        (404, PlanOutdatedError, PlanOutdatedError),
        (405, TableStoppedError, TableStoppedError),
        (408, DestinationUnavailableError, CommitUnknownError),
        (409, PlanOutdatedError, PlanOutdatedError),
        (413, TableStoppedError, TableStoppedError),
        (419, AccessDeniedError, AccessDeniedError),
        (422, TableStoppedError, TableStoppedError),
        (429, DestinationUnavailableError, CommitUnknownError),
        (500, DestinationUnavailableError, CommitUnknownError),
        (501, TableStoppedError, TableStoppedError),
        (502, DestinationUnavailableError, CommitUnknownError),
        (503, DestinationUnavailableError, CommitUnknownError),
    ],
)
def test_an_answer_has_a_meaning(
    status: int, kind: type[Exception], commit: type[Exception]
) -> None:
    response = requests.Response()
    response.status_code = status
    handlers = {404: exceptions.NoSuchTableError, 409: exceptions.CommitFailedException}
    with pytest.raises(ERRORS) as raised:
        _handle_non_200_response(requests.HTTPError(response=response), handlers)
    assert type(translate(raised.value)) is kind
    assert type(translate_commit(raised.value)) is commit
    part = translate_part(raised.value)
    expected = DestinationUnavailableError if commit is CommitUnknownError else commit
    assert type(part) is expected


def test_an_error_of_the_database_does_not_show_the_statement() -> None:
    assert "secret" not in str(translate(database_error()))
    assert "locked" in str(translate_open(database_error(), "iceberg+sql:///x.db"))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("web.orders", ("web", "orders")),
        ("orders", ("orders",)),
        ('"we.b"."x ""y"', ("we.b", 'x "y')),
    ],
)
def test_a_name_is_taken_to_pieces(name: str, parts: tuple[str, ...]) -> None:
    assert split_name(name) == parts


# --- changes for people ---------------------------------------------------------------------------


def test_changes_are_shown_as_statements() -> None:
    made = relation(("id",), id=ColumnType.BIGINT, a=ColumnType.TEXT)
    late = Column("b`c", "b`c", ColumnType.TIMESTAMP)
    plan = LoadPlan(
        "web",
        "orders",
        OffsetCommit("log", 1, "orders", -1, 0),
        0,
        (
            CreateRelation(made),
            AddColumn("orders", late),
            RenameColumn("orders", "a", "z"),
            WidenColumn("orders", replace(late, type=ColumnType.TEXT), ColumnType.TIMESTAMP),
            ChangeKey("orders", ("id",), ()),
        ),
        (),
        (),
        0,
        0,
        None,
    )
    assert list_changes(plan, "shown", makes_schema=True, rejections=None) == [
        "CREATE NAMESPACE `shown`",
        "CREATE TABLE `shown`.`orders` (`id` BIGINT NOT NULL, `a` STRING) USING iceberg",
        "ALTER TABLE `shown`.`orders` SET IDENTIFIER FIELDS `id`",
        "ALTER TABLE `shown`.`orders` ADD COLUMNS (`b``c` TIMESTAMP)",
        "ALTER TABLE `shown`.`orders` RENAME COLUMN `a` TO `z`",
        "ALTER TABLE `shown`.`orders` ALTER COLUMN `b``c` TYPE STRING",
        "ALTER TABLE `shown`.`orders` DROP IDENTIFIER FIELDS `id`",
    ]
