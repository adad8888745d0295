"""Records that a table rejects for their key: the table goes on, and somebody is told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.tenants import Tenants, serve_tenants

from treadle.store.token_rules import TokenRequest
from treadle.tables.prepare.key_mismatch import KEY_TYPE_DIFFERS, KEYS_DIFFER


@pytest.fixture
def tenants(tmp_path: Path, destination_url: str | None) -> Iterator[Tenants]:
    with serve_tenants(tmp_path / "data", destination_url) as made:
        made.a.use_over_api("shop")
        yield made


def ids(tenants: Tenants, table: str = "t") -> list[tuple[Any, ...]]:
    return sorted(tenants.query(f'SELECT id FROM shop."{table}"'))


def reasons(tenants: Tenants) -> list[str]:
    found = tenants.query("SELECT reason FROM shop._sdc_rejected")
    return sorted(reason for (reason,) in found)


def follow(tenants: Tenants, receipt: str) -> dict[str, Any]:
    answer = tenants.rig.http.get(
        f"/v1/receipts/{receipt}", headers={"Authorization": f"Bearer {tenants.a.import_token}"}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_sheet_with_two_types_of_id_loads_from_its_first_record_on(tenants: Tenants) -> None:
    first = tenants.a.push("t", (1, {"id": 1}), (2, {"id": "A-2"}))
    tenants.load()
    assert tenants.a.errors() == {}
    assert ids(tenants) == [(1,)]
    told = follow(tenants, first.headers["treadle-receipt"])
    [table] = told["tables"]
    assert (told["status"], table["status"], table["loaded"]) == ("loaded", "loaded", 1)
    assert table["rejected"] == [{"record": 1, "reason": KEY_TYPE_DIFFERS}]
    assert "the key id is text in record " in table["trouble"]
    assert "bigint in the table" in table["trouble"]
    assert "drop the table" in table["trouble"]

    second = tenants.a.push("t", (3, {"id": "A-2"}), (4, {"id": "A-3"}))
    tenants.load()
    told = follow(tenants, second.headers["treadle-receipt"])
    assert (told["status"], told["tables"][0]["status"]) == ("rejected", "rejected")
    [status] = tenants.rig.store.tables.list_statuses(tenants.a.source_id)
    assert status.trouble is not None
    assert status.trouble.startswith("all 2 records of the last load were rejected; the first, ")
    assert status.trouble_since is not None
    reason = tenants.rig.http.get("/v2/import/status").json()["reason"]
    assert reason.startswith("1 table rejected records for their key")

    tenants.a.push("t", (5, {"id": 2}))
    tenants.load()
    assert ids(tenants) == [(1,), (2,)]
    assert reasons(tenants) == [KEY_TYPE_DIFFERS] * 3
    [status] = tenants.rig.store.tables.list_statuses(tenants.a.source_id)
    assert (status.trouble, status.trouble_since) == (None, None)


def test_a_webhook_token_does_not_stop_a_table_with_a_key(tenants: Tenants) -> None:
    a = tenants.a
    a.push("t", (1, {"id": 1}))
    tenants.load()
    made = tenants.rig.store.tokens.issue_token(
        TokenRequest("webhook", tables=("t",)), account_id=a.account, source_id=a.source_id
    )
    for body in ({"id": 1}, [{"id": 2}, {"event": "opened"}]):
        assert a.send(f"/v1/clients/{a.account}/token/{made.secret}", body).status_code == 200
    a.push("t", (2, {"id": 3}))
    tenants.load()
    assert a.errors() == {}
    assert ids(tenants) == [(1,), (3,)]
    assert reasons(tenants) == [KEYS_DIFFER] * 3
    # Without a key among its records, a push stops the table as before: its client has the right
    # to change it, and may have meant to.
    a.push("t", (3, {"id": 4}), keys=[])
    tenants.load()
    assert "the table has the key id, record " in a.errors()["t"]


def test_fields_of_singer_taps_are_columns(tenants: Tenants) -> None:
    fields = {"_sdc_last_modified": "2024-01-01T00:00:00Z", "_sdc_filename": "a.csv"}
    fields |= {"_sdc_stream": "t", "_sdc_source_bucket": "b"}
    rows = [(n, {"_sdc_row": n, **fields}) for n in (2, 3)]
    tenants.a.push("t", *rows, keys=["_sdc_row"])
    tenants.load()
    found = tenants.query("SELECT _sdc_row, _sdc_filename, _sdc_stream FROM shop.t ORDER BY 1")
    assert found == [(2, "a.csv", "t"), (3, "a.csv", "t")]
    assert reasons(tenants) == []
