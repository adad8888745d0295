"""What each SQLSTATE means to a loader."""

import psycopg
import pytest
from psycopg import errors

from treadle.destinations.libpq.errors import translate, translate_login
from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    PlanOutdatedError,
    RowRefusedError,
    TableHeldError,
)
from treadle.errors import TableStoppedError, TreadleError


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("08006", DestinationUnavailableError),
        ("08P01", TableHeldError),
        ("21000", RowRefusedError),
        ("22003", RowRefusedError),
        ("22P05", RowRefusedError),
        ("23502", TableStoppedError),
        ("23505", RowRefusedError),
        ("23514", RowRefusedError),
        ("25006", DestinationUnavailableError),
        ("25P02", DestinationUnavailableError),
        ("25P03", DestinationUnavailableError),
        ("25P04", DestinationUnavailableError),
        ("28P01", AccessDeniedError),
        ("2BP01", TableStoppedError),
        ("3D000", AccessDeniedError),
        ("3F000", PlanOutdatedError),
        ("40001", TableHeldError),
        ("40P01", TableHeldError),
        ("42501", AccessDeniedError),
        ("42703", PlanOutdatedError),
        ("42804", TableStoppedError),
        ("42P01", PlanOutdatedError),
        ("42P07", PlanOutdatedError),
        ("42P10", PlanOutdatedError),
        ("53100", DestinationUnavailableError),
        ("53300", DestinationUnavailableError),
        ("53400", TableHeldError),
        ("54000", RowRefusedError),
        ("54011", RowRefusedError),
        ("55P03", TableHeldError),
        ("57014", TableHeldError),
        ("57P01", DestinationUnavailableError),
        ("57P03", DestinationUnavailableError),
        ("58030", TableHeldError),
        ("P0001", RowRefusedError),
        ("0A000", TableStoppedError),
        ("XX000", TableHeldError),
        ("XX001", TableHeldError),
    ],
)
def test_a_state_has_one_meaning(state: str, expected: type[TreadleError]) -> None:
    error = errors.lookup(state)("what the server said")
    assert type(translate(error)) is expected


@pytest.mark.parametrize("state", ["08P01", "40P01", "53400", "55P03", "57014", "58030", "XX000"])
def test_no_table_is_to_blame_where_the_connection_broke(state: str) -> None:
    fault = translate(errors.lookup(state)("what the server said"), is_alive=False)
    assert type(fault) is DestinationUnavailableError


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (
            "permission denied for schema web",
            """GRANT USAGE, CREATE ON SCHEMA "web" TO <treadle's user>""",
        ),
        (
            "permission denied for database shop",
            """GRANT CREATE ON DATABASE "shop" TO <treadle's user>""",
        ),
        (
            'permission denied for table or"ders',
            """ALTER TABLE "or""ders" OWNER TO <treadle's user>""",
        ),
        (
            'permission denied to create temporary tables in database "sh"op"',
            """GRANT TEMPORARY ON DATABASE "sh""op" TO <treadle's user>""",
        ),
        ("must be owner of table orders", """ALTER TABLE "orders" OWNER TO <treadle's user>"""),
    ],
)
def test_a_missing_right_comes_with_what_gives_it(said: str, advice: str) -> None:
    found = translate(errors.lookup("42501")(said))
    assert isinstance(found, AccessDeniedError)
    assert str(found) == f"{said}; let its owner run: {advice}"


def test_what_is_not_understood_is_passed_on_as_it_is() -> None:
    assert str(translate(errors.lookup("42501")("keine Berechtigung"))) == "keine Berechtigung"


def test_reasons_are_those_of_the_loading_rules() -> None:
    too_big = translate(errors.lookup("54000")("row is too big: size 12024, maximum size 8160"))
    too_many = translate(errors.lookup("54011")("tables can have at most 1600 columns"))
    assert isinstance(too_big, RowRefusedError)
    assert too_big.reason == "row is too big for PostgreSQL"
    assert isinstance(too_many, RowRefusedError)
    assert too_many.reason == "ERROR: too many columns"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('FATAL:  password authentication failed for user "x"', AccessDeniedError),
        ('FATAL:  database "x" does not exist', AccessDeniedError),
        ('FATAL:  no pg_hba.conf entry for host "::1"', AccessDeniedError),
        ("FATAL:  sorry, too many clients already", DestinationUnavailableError),
        ("FATAL:  the database system is starting up", DestinationUnavailableError),
        ("connection refused", DestinationUnavailableError),
        ('could not translate host name "x" to address', DestinationUnavailableError),
    ],
)
def test_a_failed_login_is_told_by_its_text(text: str, expected: type[TreadleError]) -> None:
    fault = translate_login(psycopg.OperationalError(text))
    assert type(fault) is expected
    assert " ".join(text.split()) in str(fault)


def test_a_broken_connection_and_a_value_the_driver_refuses() -> None:
    assert type(translate(psycopg.OperationalError("server closed"))) is DestinationUnavailableError
    assert (
        type(translate(psycopg.InterfaceError("the connection is closed")))
        is DestinationUnavailableError
    )
    assert type(translate(psycopg.DataError("cannot contain NUL"))) is RowRefusedError
