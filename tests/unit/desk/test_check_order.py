"""Orders and results of checks, as bytes and without secrets."""

from pathlib import Path

import pytest

from treadle.desk.check_desk import select_environment
from treadle.desk.check_order import (
    CheckOrder,
    CheckResult,
    decode_order,
    decode_result,
    encode_order,
    encode_result,
    hide_secrets,
)
from treadle.destinations.rehearsal_result import CheckPhase, PhaseResult, RehearsalResult
from treadle.tables.schema_owner import SchemaOwner

URL = "postgresql://loader:p%40ss-word@db/shop?sslpassword=k3y%21&sslmode=require"


def test_an_order_arrives_as_it_was() -> None:
    schemas = (("web", SchemaOwner("id", 1, 2)),)
    order = CheckOrder(URL, schemas, 5, Path("/data"), Path("/data/turns"), "sqlite:///s")
    assert decode_order(encode_order(order)) == order
    assert "p%40ss" not in repr(order)


def test_a_result_arrives_without_secrets() -> None:
    phases = (PhaseResult(CheckPhase.LOG_IN, 1.5, failed=True),)
    found = RehearsalResult("postgresql://db/shop", (), phases, 'no user with "p@ss-word"')
    assert decode_result(encode_result(found, URL)) == CheckResult(
        'postgresql://db/shop refuses a load: no user with "***". '
        "Phases: log in failed after 2 ms.",
        ({"phase": "log in", "milliseconds": 1.5, "failed": True},),
    )
    well = RehearsalResult("postgresql://db/shop", ("web",))
    assert decode_result(encode_result(well, URL)) == CheckResult(None)


@pytest.mark.parametrize(
    ("url", "text", "expected"),
    [
        (URL, "p%40ss-word, p@ss-word and k3y!", "***, *** and ***"),
        ("postgresql://u:load@h/d", "the load of loads: load", "the *** of loads: ***"),
        ("postgresql://u@h/d", "u at h", "u at h"),
        ("duckdb:///x.duckdb", "x", "x"),
        ("other://h?api_key=abc&Token=xyz", "abc xyz", "*** ***"),
        ("postgresql://[broken", "as it is", "as it is"),
    ],
)
def test_no_password_of_a_url_is_in_a_text(url: str, text: str, expected: str) -> None:
    assert hide_secrets(text, url) == expected


def test_a_check_knows_what_drivers_read_and_no_secret_of_the_server() -> None:
    known = {"PGSSLROOTCERT": "x", "TREADLE_SECRET_KEY": "s", "TREADLE_DESTINATION": "u"}
    assert select_environment(known) == {"PGSSLROOTCERT": "x"}
