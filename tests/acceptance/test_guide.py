"""The guide works: from an account token to rows in a table (connect-api.md 0).

The lines are those the server prints at its first start, typed as they are into a shell.
"""

import json
import re
import shlex
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.kinds import POSTGRES_DAILY
from tests.servers.shell import needs_curl, patient, typed
from tests.servers.treadle import TreadleServer


def printed_guide(server: TreadleServer) -> str:
    _, _, lines = server.said.partition("# Where the server is, and who you are")
    assert lines, server.said
    return lines


@POSTGRES_DAILY
@needs_curl
def test_the_printed_lines_lead_from_a_token_to_rows(server: TreadleServer) -> None:
    _, account_token = server.account()
    assert f"to paste into another terminal in the folder {Path.cwd()}:" in server.said
    said = typed(patient(printed_guide(server))).splitlines()
    second = require_answers(server, said)
    assert account_token not in server.log.read_text()
    assert account_token not in server.said
    assert second not in server.log.read_text()


def require_answers(server: TreadleServer, said: list[str]) -> str:
    """Check what the lines printed, and the row; returns the token that the source has then."""
    client_id, _ = server.account()
    card = json.loads(said.pop(0))
    assert card["type"] == "import_api"
    assert (card["current_step"], card["current_step_type"]) == (1, "form")

    source = json.loads(said.pop(0))
    assert source["name"] == "import_api"
    assert source["report_card"]["current_step_type"] == "fully_configured"
    assert source["stitch_client_id"] == client_id
    [(first_id, first)] = source["properties"]["token"].items()
    assert first.startswith("at_")

    assert said.pop(0) == '{"status":"OK","message":"Batch Accepted!"}'
    table = "\n".join(said[: len(said) - 7])
    for column in ("id", "name", "updated_at", "_sdc_sequence", "_sdc_table_version"):
        assert column in table
    said = said[-7:]

    second = said.pop(0)
    assert second.startswith("at_")
    assert second != first
    assert said.pop(0) == '{"status":"OK","message":"Batch Accepted!"}'

    listed = [token["token_id"] for token in json.loads(said.pop(0))]
    assert len(listed) == 2
    assert listed[1] == int(first_id)
    assert listed == sorted(listed, reverse=True)

    assert json.loads(said.pop(0)) == {
        "error": "AccessDenied",
        "data": {
            "message": f"source ({source['id']}) already has the maximum of 2 active access tokens"
        },
    }

    after = json.loads(said.pop(0))
    assert after["properties"]["token"] == {str(listed[0]): second}
    assert said.pop(0) == '{"status":"ERROR","error":"Not Authenticated.","errors":null}'
    assert said.pop(0) == '{"status":"OK","message":"Batch Accepted!"}'
    assert not said

    [row] = server.query("select * from import_api.customers")
    assert (row["id"], row["name"], row["updated_at"]) == ("1", "Ann", "2026-01-01T00:00:00Z")
    assert (row["_sdc_sequence"], row["_sdc_table_version"]) == (100, 0)
    for column in ("_sdc_batched_at", "_sdc_received_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", row[column])
    return second


OTHER_DESTINATION = """
DEFAULT=$(curl -s "$API/v4/destinations" -H "$ACCOUNT" | grep -o '"id":[0-9]*' | grep -o '[0-9]*')
curl -s -w '\\n' -X DELETE "$API/v4/destinations/$DEFAULT" -H "$ACCOUNT"
MADE=$(curl -s "$API/v4/destinations" -H "$ACCOUNT" -H "$JSON" -d @BODY); printf '%s\\n' "$MADE"
MADE_ID=$(echo "$MADE" | grep -o '"id":[0-9]*' | head -n 1 | grep -o '[0-9]*')
CHECK="$API/v4/destinations/$MADE_ID/last-connection-check"
until curl -s "$CHECK" -H "$ACCOUNT" | grep -q succeeded; do sleep 0.1; done
"""
"""Lines for the guide: the account's destination is another one than the server made."""


@needs_curl
def test_the_guide_into_a_destination_that_was_made_by_the_api(
    tmp_path: Path, postgres_database: str
) -> None:
    place = conninfo_to_dict(postgres_database)
    properties = {
        "host": place["host"],
        "port": place["port"],
        "username": place["user"],
        "password": place["password"],
        "database": place["dbname"],
        "ssl": False,
    }
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"type": "postgres", "properties": properties}))
    settings = {"destinations_local": "true", "load_age_seconds": "0.2"}
    with TreadleServer(tmp_path / "data", settings=settings) as server:
        begin, mark, rest = printed_guide(server).partition("\n# 1.")
        assert mark
        lines = OTHER_DESTINATION.replace("BODY", shlex.quote(str(body)))
        deleted, made, *said = typed(patient(begin + lines + mark + rest)).splitlines()
        assert deleted == "{}"
        assert json.loads(made)["type"] == "postgres"
        assert str(place["password"]) not in "\n".join([made, *said])
        require_answers(server, said)
        assert not (tmp_path / "data" / "warehouse.duckdb").exists()
    with psycopg.connect(postgres_database) as database:
        rows = database.execute("SELECT id, name, _sdc_sequence FROM import_api.customers")
        assert rows.fetchall() == [("1", "Ann", 100)]


@pytest.mark.parametrize("destination_url", ["duckdb"], indirect=True)
def test_the_account_is_announced_once(server: TreadleServer) -> None:
    assert server.account()
    server.stop()
    server.start()
    assert "account token" not in server.said
    assert server.said.strip() == f"treadle listens at {server.url}"
