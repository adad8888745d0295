"""MySQL without a server: its URL, its form, its names, types, rows and errors."""

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.destinations.conformance.builders import ORDERS, rows
from treadle.destinations.form import merge_properties
from treadle.destinations.form_registry import find_form, list_forms
from treadle.destinations.mysql.connection import MysqlConnection
from treadle.destinations.mysql.destination import OPTIONAL_SETTINGS, MysqlDestination
from treadle.destinations.mysql.dialect import MysqlDialect
from treadle.destinations.mysql.errors import (
    explain,
    is_missing,
    is_refused_change,
    translate,
    translate_login,
)
from treadle.destinations.mysql.row_format import encode_rows, group_rows
from treadle.destinations.mysql_form import MysqlForm, MysqlUrl, SslMode
from treadle.destinations.protocol import (
    AccessDeniedError,
    CommitUnknownError,
    DestinationUnavailableError,
    PlanOutdatedError,
    RowRefusedError,
    TableHeldError,
)
from treadle.destinations.registry import is_exclusive, make_destination
from treadle.destinations.reserved_schemas import is_reserved_schema
from treadle.destinations.sql.text import Quoted
from treadle.destinations.transport import find_transport_risk
from treadle.errors import OperatorError, TableStoppedError
from treadle.tables.arrow_column import to_arrow_if_long
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column
from treadle.tables.profiles import MYSQL

REMOTE = "mysql://loader:5ecret@db.example.com"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB+/=\n-----END CERTIFICATE-----\n"
FULL: dict[str, Any] = {
    "host": "db.example.com",
    "port": "3307",
    "username": "loader",
    "password": "p/a:s@s?w#o%r&d",
    "ssl": "true",
}
FORM = MysqlForm()

# --- the URL and the form -------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "MySQL"])
def test_a_server_is_known_by_host_and_port(scheme: str) -> None:
    destination = make_destination(f"{scheme}://me:secret@DB.example.com:3307/")
    assert destination.identity == "mysql://db.example.com:3307"
    assert make_destination("mysql://me@h").identity == "mysql://h:3306"
    assert not destination.capabilities.transactional_ddl
    assert not is_exclusive(f"{scheme}://h")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mysql://h:3306/", "expected mysql://user:password@host:3306/"),
        ("mysql://u:s3cret@/", "expected mysql://user:password@host:3306/"),
        ("mysql://u:s3cret@h:port/", "expected mysql://user:password@host:3306/"),
        ("mysql://u:s3cret@h/shop", "names the database 'shop'"),
        ("mysql://u:s3cret@h/?charset=latin1", "parameter 'charset'; known are ssl-ca, ssl-mode"),
        ("mysql://u:s3cret@h/?ssl-mode=maybe", "expected one of DISABLED, PREFERRED, REQUIRED"),
    ],
)
def test_a_url_that_is_none_says_what_is_wrong(url: str, expected: str) -> None:
    with pytest.raises(OperatorError) as refused:
        make_destination(url)
    assert expected in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_certificates_that_cannot_be_read_are_the_operators() -> None:
    with pytest.raises(OperatorError, match="ssl-ca cannot be read"):
        make_destination("mysql://u@127.0.0.1:1/?ssl-mode=VERIFY_CA&ssl-ca=/nowhere").open()


def test_a_form_is_a_url_and_gives_the_properties_back() -> None:
    url = FORM.write_url(merge_properties(FORM, FULL, None), None)
    assert FORM.read_url(url) == FULL
    assert make_destination(url).identity == "mysql://db.example.com:3307"
    with_authority = FORM.write_url(merge_properties(FORM, {"sslrootcert": PEM}, url), url)
    assert MysqlUrl.parse(with_authority).ssl_mode is SslMode.VERIFY_IDENTITY
    without = FORM.write_url(
        merge_properties(FORM, {"sslrootcert": None, "ssl": False}, with_authority), with_authority
    )
    assert MysqlUrl.parse(without).parameters == {"ssl-mode": "disabled"}
    assert find_form("mysql_destination", Path("/")) == FORM
    assert FORM.type in [form.type for form in list_forms(Path("/"))]


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(TEXTS, TEXTS, st.integers(1, 65535))
def test_any_login_comes_back(user: str, password: str, port: int) -> None:
    given_ = {"host": "::1", "port": port, "username": user, "password": password}
    url = FORM.write_url(merge_properties(FORM, given_, None), None)
    found = FORM.read_url(url)
    assert (found["username"], found["password"]) == (user, password)
    assert (found["host"], found["port"]) == ("::1", str(port))


@pytest.mark.parametrize("mode", ["", "DISABLED", "PREFERRED", "REQUIRED"])
def test_a_server_that_is_not_verified_is_told(mode: str) -> None:
    risk = find_transport_risk(make_destination(f"{REMOTE}/?ssl-mode={mode}" if mode else REMOTE))
    assert risk is not None
    assert f"ssl-mode={mode or 'PREFERRED'}, which does not verify the server" in risk.found
    assert ("in clear" in risk.meaning) == (mode != "REQUIRED")
    assert "5ecret" not in f"{risk}"


@pytest.mark.parametrize(
    "url",
    [f"{REMOTE}/?ssl-mode=verify_identity", f"{REMOTE}/?ssl_mode=VERIFY-CA", "mysql://u@127.0.0.1"],
)
def test_a_verified_or_local_server_is_no_risk(url: str) -> None:
    assert find_transport_risk(make_destination(url)) is None


class RefusingCursor:
    """Refuses what a user without further rights may not set, and notes all that is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        return

    def execute(self, statement: str) -> None:
        self.asked.append(statement)
        if "_strict_mode" in statement or "sql_require" in statement:
            raise pymysql.err.OperationalError(
                1227, "Access denied; you need SESSION_VARIABLES_..."
            )
        if "idle_write" in statement:
            raise pymysql.err.OperationalError(1193, "Unknown system variable")


class RefusingDriver:
    """A connection to MySQL 8 by such a user."""

    open = True

    def __init__(self) -> None:
        self.asked = RefusingCursor()

    def cursor(self) -> RefusingCursor:
        return self.asked

    def get_server_info(self) -> str:
        return "8.0.36"

    def close(self) -> None:
        return


def test_a_session_does_without_what_it_may_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = RefusingDriver()
    monkeypatch.setattr(MysqlDestination, "_log_in", lambda *_: driver)
    make_destination(REMOTE).open().close()
    asked = driver.asked.asked
    assert "SET SESSION sql_require_primary_key = OFF" in asked
    assert asked[-1] == OPTIONAL_SETTINGS[-1]


# --- names and types ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("CustomeriD", "customerid"),
        (" customer id ", "customer_id"),
        ("e-mail", "e_mail"),
        ("a$b_1", "a$b_1"),
        ("naïve 🧵", "na_ve__"),
        ("   ", ""),
    ],
)
def test_a_name_is_written_as_stitch_does(sent: str, expected: str) -> None:
    assert MYSQL.canonical(sent) == expected


def test_schemas_of_the_server_are_nobodys() -> None:
    server = [make_destination(REMOTE).identity]
    for name in ("mysql", "SYS", "performance_schema"):
        assert is_reserved_schema(name, server)
        assert not is_reserved_schema(name, ["postgresql://h:5432/data"])


def test_texts_of_a_key_share_the_room_of_an_index() -> None:
    dialect = MysqlDialect(is_mariadb=True)
    columns = [
        Column("a", "a", ColumnType.TEXT, nullable=False),
        Column("b", "b", ColumnType.TEXT, nullable=False),
        Column("n", "n", ColumnType.BIGINT, nullable=False),
        Column("c", "c", ColumnType.TEXT),
    ]
    assert dialect.define(columns[:1], ["a"]) == "`a` VARCHAR(768) NOT NULL"
    assert dialect.define(columns, ["a", "b", "n"]) == (
        "`a` VARCHAR(381) NOT NULL, `b` VARCHAR(381) NOT NULL, `n` BIGINT NOT NULL, `c` LONGTEXT"
    )
    # A text that has to be there is no key for that.
    assert dialect.define(columns[:1]) == "`a` LONGTEXT NOT NULL"


def test_a_name_is_quoted() -> None:
    assert MysqlDialect(is_mariadb=False).quote("a`b", "c") == "`a``b`.`c`"


# --- rows -----------------------------------------------------------------------------------------

COLUMNS: list[tuple[ColumnType, list[Any], list[str]]] = [
    (ColumnType.BIGINT, [1, -(2**63), None], ["1", "-9223372036854775808", "\\N"]),
    (ColumnType.BOOLEAN, [True, False, None], ["1", "0", "\\N"]),
    (ColumnType.DECIMAL, [Decimal("1E+3"), Decimal("-0.10"), None], ["1000", "-0.10", "\\N"]),
    (ColumnType.TEXT, ["a\tb\nc\\N", "", None], ["a\\tb\\nc\\\\N", "", "\\N"]),
    (ColumnType.JSON, ['{"a":"\\n"}', "[]", None], ['{"a":"\\\\n"}', "[]", "\\N"]),
    (
        ColumnType.TIMESTAMP,
        [0, -62_135_596_800_000_000, 1],
        ["1970-01-01 00:00:00.000000", "0001-01-01 00:00:00.000000", "1970-01-01 00:00:00.000001"],
    ),
]


@pytest.mark.parametrize("times", [1, 100])
def test_rows_are_lines_of_text(times: int) -> None:
    fields = [(type_, to_arrow_if_long(values * times, type_)) for type_, values, _ in COLUMNS]
    text = b"".join(map(bytes, encode_rows(fields))).decode()
    lines = ["\t".join(row) for row in zip(*(spelled for *_, spelled in COLUMNS), strict=True)]
    assert text.splitlines() == lines * times
    assert text.endswith("\n")


@pytest.mark.parametrize("times", [1, 100])
def test_a_double_is_written_so_that_it_is_the_same_again(times: int) -> None:
    values = [0.1, -0.0, 5e-324, 1.7976931348623157e308, 1e22, 123456789.0] * times
    text = b"".join(map(bytes, encode_rows([(ColumnType.DOUBLE, values)]))).decode()
    assert [float(line) for line in text.splitlines()] == values


@pytest.mark.parametrize("times", [1, 100])
def test_text_that_is_not_unicode_is_found(times: int) -> None:
    with pytest.raises(UnicodeEncodeError):
        list(encode_rows([(ColumnType.TEXT, ["a\ud800"] * times)]))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], []),
        (["a", "b", "c"], [["a", "b"], ["c"]]),
        (["aaa", "bb", "c"], [["aaa", "bb"], ["c"]]),
        (["aaa", "bbb", "c"], [["aaa"], ["bbb", "c"]]),
        (["éé", "bb"], [["éé"], ["bb"]]),
        (["a", "longer than all", "b"], [["a"], ["longer than all"], ["b"]]),
    ],
)
def test_rows_of_a_statement_are_few_and_short(rows: list[str], expected: list[list[str]]) -> None:
    assert list(group_rows(rows, rows_max=2, bytes_max=5)) == expected


class ForgettingDriver(RefusingDriver):
    """Leaves a row out of LOAD DATA and says nothing of it."""

    def load_rows(self, statement: str, pieces: Iterable[bytes | memoryview]) -> tuple[int, int]:
        return b"".join(map(bytes, pieces)).count(b"\n") - 1, 0


def test_a_row_that_is_left_out_without_a_warning_stops_the_table() -> None:
    connection = MysqlConnection(ForgettingDriver(), print)  # type: ignore[arg-type]
    with pytest.raises(TableStoppedError, match=r"left out rows .* takes 2, found 1;"):
        connection.insert(
            Quoted("web.orders"),
            rows(ORDERS, ("id", "_sdc_sequence", "a"), [(1, 1, "x"), (2, 1, "y")]),
        )


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (1044, AccessDeniedError),
        (1142, AccessDeniedError),
        (1205, TableHeldError),
        (1213, TableHeldError),
        (3572, TableHeldError),
        (2013, DestinationUnavailableError),
        (1047, DestinationUnavailableError),  # a node of Galera that does not serve
        (1180, DestinationUnavailableError),
        (3100, DestinationUnavailableError),
        (3797, DestinationUnavailableError),  # a new primary that is still behind
        (1412, PlanOutdatedError),
        (1054, PlanOutdatedError),
        (1146, PlanOutdatedError),
        (1062, RowRefusedError),
        (1406, RowRefusedError),
        (1118, RowRefusedError),
        (1364, TableStoppedError),
        (1193, TableStoppedError),
        (3098, TableStoppedError),
        (3750, AccessDeniedError),
    ],
)
def test_a_number_has_a_meaning(number: int, kind: type[Exception]) -> None:
    error = pymysql.err.OperationalError(number, "what the server says")
    assert type(translate(error)) is kind
    assert type(explain(number, "said")) is kind


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (1180, CommitUnknownError),
        (3100, CommitUnknownError),
        (1053, CommitUnknownError),
        (1213, TableHeldError),  # undone, surely
        (3101, DestinationUnavailableError),
    ],
)
def test_what_became_of_a_commit_is_asked_where_it_is_not_known(
    number: int, kind: type[Exception]
) -> None:
    connection = MysqlConnection(RefusingDriver(), print)  # type: ignore[arg-type]
    error = pymysql.err.OperationalError(number, "what the server says")
    assert type(connection.translate_commit(error)) is kind


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1114, "The table 'orders' is full"),
        (1005, 'Can\'t create table `_treadle`.`x` (errno: 28 "No space left on device")'),
        (1030, 'Got error 28 "No space left on device" from storage engine InnoDB'),
        (3, "Error writing file './web/orders.frm' (Errcode: 28 \"No space left on device\")"),
    ],
)
def test_a_full_disk_is_waited_for(number: int, text: str) -> None:
    assert isinstance(explain(number, text), DestinationUnavailableError)


def test_a_value_that_reads_like_a_full_disk_is_refused() -> None:
    assert isinstance(explain(1062, "Duplicate entry '(errno: 28)' for key 'a'"), RowRefusedError)


def test_the_servers_words_are_kept() -> None:
    error = pymysql.err.IntegrityError(1062, "Duplicate entry '1'\nfor key 'PRIMARY'")
    assert str(translate(error)) == "ERROR 1062: Duplicate entry '1' for key 'PRIMARY'"
    assert is_missing(pymysql.err.ProgrammingError(1146, "Table 'a.b' doesn't exist"))
    assert is_refused_change(pymysql.err.ProgrammingError(1166, "Incorrect column name"))
    assert not is_refused_change(pymysql.err.OperationalError(1142, "denied"))


def test_a_table_that_has_to_have_a_key_is_told_with_what_to_do() -> None:
    text = "Unable to create or change a table without a primary key"
    assert "GRANT SESSION_VARIABLES_ADMIN ON *.* TO" in str(explain(3750, text))
    assert "Group Replication" in str(explain(3098, "The table does not comply"))


def test_a_broken_connection_and_a_refused_login() -> None:
    assert isinstance(translate(pymysql.err.InterfaceError(0, "")), DestinationUnavailableError)
    denied = pymysql.err.OperationalError(1045, "Access denied for user 'a'@'b'")
    assert str(translate_login(denied)).startswith("MySQL refused the connection: ERROR 1045")
    away = pymysql.err.OperationalError(2003, "Can't connect")
    assert isinstance(translate_login(away), DestinationUnavailableError)
