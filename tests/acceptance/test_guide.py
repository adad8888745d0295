"""The guide works: from an account token to rows in a table (connect-api.md 0).

The lines are those the server prints at its first start, typed as they are into a shell.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.test_destinations import name_postgres
from tests.servers.shell import needs_curl, patient, typed
from tests.servers.treadle import Client, TreadleServer, eventually


def printed_guide(server: TreadleServer) -> str:
    _, _, lines = server.said.partition("# Where the server is, and who you are")
    assert lines, server.said
    return lines


@needs_curl
def test_the_printed_lines_lead_from_a_token_to_rows(server: TreadleServer) -> None:
    follow_guide(server)


@needs_curl
def test_they_do_with_a_database_that_the_account_names(
    tmp_path: Path, postgres_database: str
) -> None:
    """From a server that was started without a destination."""
    with TreadleServer(tmp_path / "data", settings={"destinations_local": "true"}) as server:
        client = Client(server, *server.account())

        def call(method: str, path: str, body: object = None) -> Any:
            answer = client.http.request(method, path, json=body, headers=client.account)
            assert answer.status_code == 200, answer.text
            return answer.json()

        [default] = call("GET", "/v4/destinations")
        call("DELETE", f"/v4/destinations/{default['id']}")
        body = {"type": "postgres", "properties": name_postgres(postgres_database)}
        made = call("POST", "/v4/destinations", body)
        check = f"/v4/destinations/{made['id']}/last-connection-check"
        eventually(lambda: call("GET", check)["status"] == "succeeded")
        follow_guide(server)
        assert not (tmp_path / "data" / "warehouse.duckdb").exists()


def follow_guide(server: TreadleServer) -> None:
    """Type the lines that the server printed, and look at what they answer."""
    client_id, account_token = server.account()
    assert f"to paste into another terminal in the folder {Path.cwd()}:" in server.said
    said = typed(patient(printed_guide(server))).splitlines()

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
    assert account_token not in server.log.read_text()
    assert account_token not in server.said
    assert second not in server.log.read_text()


@pytest.mark.parametrize("destination_url", ["duckdb"], indirect=True)
def test_the_account_is_announced_once(server: TreadleServer) -> None:
    assert server.account()
    server.stop()
    server.start()
    assert "account token" not in server.said
    assert server.said.strip() == f"treadle listens at {server.url}"
