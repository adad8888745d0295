"""The bodies and parameters of questions."""

import pytest

from treadle.control.query_operations import name_login
from treadle.control.query_requests import (
    StatementRequest,
    choose_by_accept,
    choose_format,
    parse_rows_limit,
    parse_statement,
)
from treadle.errors import RequestRefusedError
from treadle.questions.orders import AnswerFormat
from treadle.questions.refusals import locate_character


def test_a_statement_and_all_that_can_be_said_of_it() -> None:
    assert parse_statement(b'{"sql":"SELECT 1"}') == StatementRequest("SELECT 1")
    body = b'{"sql":"x","limit":100000,"id":"a-B_9","destination_id":3,"format":"csv-safe"}'
    assert parse_statement(body) == StatementRequest(
        "x", 100_000, "a-B_9", 3, AnswerFormat.CSV_SAFE
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "JSON object"),
        (b"{}", "sql is"),
        (b'{"sql":" "}', "sql is"),
        (b'{"sql":1}', "sql is"),
        (b'{"sql":"x","limit":0}', "limit is a number from 1 to 100000"),
        (b'{"sql":"x","limit":100001}', "limit is"),
        (b'{"sql":"x","limit":true}', "limit is"),
        (b'{"sql":"x","limit":1.5}', "limit is"),
        (b'{"sql":"x","id":""}', "id is"),
        (b'{"sql":"x","id":"a/b"}', "id is"),
        (b'{"sql":"x","destination_id":"3"}', "destination_id is"),
        (b'{"sql":"x","format":"xml"}', "json, csv, csv-safe"),
        (b'{"sql":"x","timeout":3}', "timeout is no key"),
    ],
)
def test_what_is_wrong_with_a_body_is_told(body: bytes, says: str) -> None:
    with pytest.raises(RequestRefusedError) as found:
        parse_statement(body)
    refused = found.value
    assert refused.status == 400
    assert isinstance(refused.body, dict)
    assert refused.body["error"] == "InvalidBody"
    assert says in refused.body["data"]["message"]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", AnswerFormat.JSON),
        ("*/*", AnswerFormat.JSON),
        ("text/csv", AnswerFormat.CSV),
        ("text/html, Text/CSV;q=0.9, */*", AnswerFormat.CSV),
        ("application/json, text/csv", AnswerFormat.JSON),
    ],
)
def test_the_format_that_a_client_accepts(accept: str, expected: AnswerFormat) -> None:
    assert choose_by_accept(accept) is expected
    assert choose_format("csv-safe", accept) is AnswerFormat.CSV_SAFE


def test_how_many_rows_of_a_table() -> None:
    assert parse_rows_limit(None, 50) == 50
    assert parse_rows_limit("1000", 50) == 1000
    for wrong in ("0", "1001", "x", "-1", "1.5", ""):
        with pytest.raises(RequestRefusedError):
            parse_rows_limit(wrong, 50)


def test_the_place_of_a_character() -> None:
    assert locate_character("SELECT\n  nix", 9) == {"line": 2, "column": 3, "character": 9}
    assert locate_character("ä\U0001f600x", 2) == {"line": 1, "column": 3, "character": 2}
    for none in (None, -1, 99):
        assert locate_character("SELECT", none) is None


def test_the_login_of_a_url() -> None:
    assert name_login("postgresql://a:s@DB/x") == ("a", "db", "5432")
    assert name_login("postgresql://db:5433/x?user=a") == ("a", "db", "5433")
    assert name_login("postgresql://a@/x?host=/run") == ("a", "/run", "5432")
    assert name_login("mysql://a:s@DB/") == name_login("mariadb://a@db:3306") == ("a", "db", "3306")
    assert name_login("clickhouse://a:s@DB/x?secure=0") == ("a", "db", "8123")
    assert name_login("redshift://a:s@DB/x?s3=lake&iam_role=default") == ("a", "db", "5439")
    assert name_login("clickhouse://a@db/?secure=1") == ("a", "db", "8443")
