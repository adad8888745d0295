"""`GET /v1/ledger` over a real log and store."""

import asyncio
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.integration.loader.test_lease import Stage

from treadle.control.app import ConnectApiSettings, create_control_app
from treadle.log.sqlite.log import SqliteReader
from treadle.store.token_rules import TokenRequest


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, f"duckdb://{tmp_path / 'warehouse.duckdb'}")


def test_the_ledger_of_an_account(stage: Stage, tmp_path: Path) -> None:
    asyncio.run(stage.append(1))
    loader = stage.loader("a")
    loader.load_once()
    asyncio.run(stage.append(2))
    [account] = stage.store.accounts.list_accounts()
    made = stage.store.tokens.issue_token(TokenRequest("account"), account_id=account.id)
    token = made.secret
    _, other = stage.store.accounts.create_account("other")
    app = create_control_app(
        stage.store,
        ConnectApiSettings("seed", "objects"),
        changed=lambda: None,
        open_reader=lambda: SqliteReader(tmp_path / "log.sqlite"),
    )
    client = TestClient(app)
    answer = client.get("/v1/ledger", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    sums = {"accepted": 10, "loaded": 5, "superseded": 0, "rejected": 0, "waiting": 5}
    assert answer.json() == {
        "total": sums,
        "hours": [
            {
                "source_id": stage.source_id,
                "table": "events",
                "hour": "1970-01-01T00:00:00Z",
                **sums,
            }
        ],
    }
    none = client.get("/v1/ledger", headers={"Authorization": f"Bearer {other}"}).json()
    assert none["hours"] == []
    url = f"/v1/ledger?source={stage.source_id + 1000}"
    found = client.get(url, headers={"Authorization": f"Bearer {token}"}).json()
    assert found["hours"] == []
    url = "/v1/ledger?source=x"
    assert client.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 400
    assert client.get("/v1/ledger").status_code == 401
    loader.close()
    stage.store.close()
