"""What each SQLSTATE means to a loader."""

import psycopg
import pytest
from psycopg import errors

from treadle.destinations.postgres.errors import at_login, translate
from treadle.destinations.protocol import Forbidden, PlanOutdated, RowRefused, Unavailable
from treadle.errors import TableStopped, TreadleError


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("08006", Unavailable),
        ("21000", RowRefused),
        ("22003", RowRefused),
        ("22P05", RowRefused),
        ("23502", TableStopped),
        ("23505", RowRefused),
        ("23514", RowRefused),
        ("25006", Unavailable),
        ("28P01", Forbidden),
        ("2BP01", TableStopped),
        ("3D000", Forbidden),
        ("3F000", PlanOutdated),
        ("40001", Unavailable),
        ("40P01", Unavailable),
        ("42501", Forbidden),
        ("42703", PlanOutdated),
        ("42804", TableStopped),
        ("42P01", PlanOutdated),
        ("42P07", PlanOutdated),
        ("42P10", PlanOutdated),
        ("53100", Unavailable),
        ("53300", Unavailable),
        ("54000", RowRefused),
        ("54011", RowRefused),
        ("55P03", Unavailable),
        ("57014", Unavailable),
        ("57P01", Unavailable),
        ("57P03", Unavailable),
        ("58030", Unavailable),
        ("P0001", RowRefused),
        ("0A000", TableStopped),
    ],
)
def test_a_state_has_one_meaning(state: str, expected: type[TreadleError]) -> None:
    error = errors.lookup(state)("what the server said")
    assert type(translate(error)) is expected


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
        ("must be owner of table orders", """ALTER TABLE "orders" OWNER TO <treadle's user>"""),
    ],
)
def test_a_missing_right_comes_with_what_gives_it(said: str, advice: str) -> None:
    found = translate(errors.lookup("42501")(said))
    assert isinstance(found, Forbidden)
    assert str(found) == f"{said}; let its owner run: {advice}"


def test_what_is_not_understood_is_passed_on_as_it_is() -> None:
    assert str(translate(errors.lookup("42501")("keine Berechtigung"))) == "keine Berechtigung"


def test_reasons_are_those_of_the_loading_rules() -> None:
    too_big = translate(errors.lookup("54000")("row is too big: size 12024, maximum size 8160"))
    too_many = translate(errors.lookup("54011")("tables can have at most 1600 columns"))
    assert isinstance(too_big, RowRefused)
    assert too_big.reason == "row is too big for PostgreSQL"
    assert isinstance(too_many, RowRefused)
    assert too_many.reason == "ERROR: too many columns"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('FATAL:  password authentication failed for user "x"', Forbidden),
        ('FATAL:  database "x" does not exist', Forbidden),
        ('FATAL:  no pg_hba.conf entry for host "::1"', Forbidden),
        ("FATAL:  sorry, too many clients already", Unavailable),
        ("FATAL:  the database system is starting up", Unavailable),
        ("connection refused", Unavailable),
        ('could not translate host name "x" to address', Unavailable),
    ],
)
def test_a_failed_login_is_told_by_its_text(text: str, expected: type[TreadleError]) -> None:
    fault = at_login(psycopg.OperationalError(text))
    assert type(fault) is expected
    assert " ".join(text.split()) in str(fault)


def test_a_broken_connection_and_a_value_the_driver_refuses() -> None:
    assert type(translate(psycopg.OperationalError("server closed"))) is Unavailable
    assert type(translate(psycopg.InterfaceError("the connection is closed"))) is Unavailable
    assert type(translate(psycopg.DataError("cannot contain NUL"))) is RowRefused
