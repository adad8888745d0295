"""`GET /v1/ledger` over a real log and store."""

import asyncio
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.integration.loader.test_units import Stage

from treadle.control import ledger_routes
from treadle.control.app import ConnectApiSettings, create_control_app
from treadle.log.protocol import NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
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
        "next": None,
    }
    none = client.get("/v1/ledger", headers={"Authorization": f"Bearer {other}"}).json()
    assert none["hours"] == []
    url = f"/v1/ledger?source={stage.source_id + 1000}"
    found = client.get(url, headers={"Authorization": f"Bearer {token}"}).json()
    assert found["hours"] == []
    for wrong in ("x", "7", "x/orders", "/orders", ""):
        url = f"/v1/ledger?after={wrong}"
        assert client.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 400
    url = "/v1/ledger?source=x"
    assert client.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 400
    assert client.get("/v1/ledger").status_code == 401
    loader.close()
    stage.store.close()


def test_a_ledger_of_many_tables_has_pages(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_routes, "TABLES_MAX", 2)
    names = ["a", "b/c", "d e", "z", "\u00e9"]

    async def append() -> None:
        log = SqliteAppender(tmp_path / "log.sqlite")
        await log.append([NewEntry(stage.source_id, name, 1, 3, b"x") for name in names])
        await log.aclose()

    asyncio.run(append())
    [account] = stage.store.accounts.list_accounts()
    token = stage.store.tokens.issue_token(TokenRequest("account"), account_id=account.id).secret
    app = create_control_app(
        stage.store,
        ConnectApiSettings("seed", "objects"),
        changed=lambda: None,
        open_reader=lambda: SqliteReader(tmp_path / "log.sqlite"),
    )
    client = TestClient(app)
    pages: list[list[str]] = []
    after: dict[str, str] = {}
    while True:
        headers = {"Authorization": f"Bearer {token}"}
        page = client.get("/v1/ledger", params=after, headers=headers).json()
        pages.append([hour["table"] for hour in page["hours"]])
        assert page["total"]["accepted"] == 3 * len(pages[-1])
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert pages == [names[:2], names[2:4], names[4:]]
    stage.store.close()
