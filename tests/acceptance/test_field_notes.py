"""Fields that were left out, and values that were rounded, are told wherever somebody looks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.tenants import Tenants, serve_tenants

LONG = ["c" * 63 + "_one", "c" * 63 + "_two"]
"""PostgreSQL would cut both to the same name."""

PRECISE = {
    "table_name": "prices",
    "schema": {
        "properties": {"id": {"type": "integer"}, "p": {"type": "number", "multipleOf": 1e-10}}
    },
    "key_names": ["id"],
}


@pytest.fixture
def tenants(tmp_path: Path, destination_url: str | None) -> Iterator[Tenants]:
    with serve_tenants(tmp_path / "data", destination_url) as made:
        made.a.use_over_api("shop")
        yield made


def is_postgres(tenants: Tenants) -> bool:
    return tenants.url.startswith("postgres")


def follow(tenants: Tenants, receipt: str) -> dict[str, Any]:
    answer = tenants.rig.http.get(
        f"/v1/receipts/{receipt}", headers={"Authorization": f"Bearer {tenants.a.import_token}"}
    )
    [table] = answer.json()["tables"]
    return dict(table)


def report(tenants: Tenants) -> dict[str, Any]:
    """The last load, as the API tells of it."""
    answer = tenants.rig.http.get(
        "/v1/loads?limit=1", headers={"Authorization": f"Bearer {tenants.a.import_token}"}
    )
    [found] = answer.json()["loads"]
    return dict(found)


def test_fields_with_long_names_are_told(tenants: Tenants) -> None:
    rows = [(n, {"id": n, LONG[0]: 1, LONG[1]: 2}) for n in (1, 2)]
    dry = tenants.a.send(
        "/v2/import/push?dry_run=1",
        [
            {
                "client_id": tenants.a.account,
                "table_name": "t",
                "sequence": sequence,
                "action": "upsert",
                "key_names": ["id"],
                "data": data,
            }
            for sequence, data in rows
        ],
    )
    sent = tenants.a.push("t", *rows)
    other = tenants.a.push("t", (3, {"id": 3}))
    tenants.load()
    wanted = [
        {
            "table": "t",
            "field": name,
            "reason": f"Column name {name} is too long for PostgreSQL",
            "records": 2,
        }
        for name in LONG
    ]
    if not is_postgres(tenants):
        wanted = []
    told = follow(tenants, sent.headers["treadle-receipt"])
    assert (told["status"], told["loaded"], told["rejected"]) == ("loaded", 2, [])
    assert told["left_out"] == wanted
    assert follow(tenants, other.headers["treadle-receipt"])["left_out"] == []
    assert dry.json()["tables"][0]["left_out"] == wanted
    assert report(tenants)["left_out"] == wanted
    assert report(tenants)["fields_left_out"] == [each["field"] for each in wanted]


def test_rounded_decimals_are_counted_or_kept(tenants: Tenants) -> None:
    values = [1e-10, 0.25, 0.1234567891]
    messages = [
        {"action": "upsert", "sequence": 1, "data": {"id": n, "p": p}} for n, p in enumerate(values)
    ]
    sent = tenants.a.send("/v2/import/batch", {**PRECISE, "messages": messages})
    assert sent.is_success, sent.text
    tenants.load()
    rounded = [] if is_postgres(tenants) else [{"table": "prices", "field": "p", "values": 2}]
    assert follow(tenants, sent.headers["treadle-receipt"])["rounded"] == rounded
    assert report(tenants)["rounded"] == rounded

    tenants.rig.store.sources.update_source(
        tenants.a.account, tenants.a.source_id, settings={"options": {"decimals": "exact"}}
    )
    messages = [{"action": "upsert", "sequence": 2, "data": {"id": 0, "p": 1e-10}}]
    tenants.a.send("/v2/import/batch", {**PRECISE, "messages": messages})
    tenants.load()
    assert report(tenants)["rounded"] == []
    column = "p" if is_postgres(tenants) else "p__st"
    [(kept,)] = tenants.query(f"SELECT CAST({column} AS varchar) FROM shop.prices WHERE id = 0")
    assert kept == "0.0000000001"


@pytest.mark.parametrize("choice", ["null", "text"])
def test_special_numbers_of_transit_in_a_json_column(tenants: Tenants, choice: str) -> None:
    options = {"nested": "json", "json_special_numbers": choice}
    tenants.rig.store.sources.update_source(
        tenants.a.account, tenants.a.source_id, settings={"options": options}
    )
    body = (
        f'[["^ ","~:client_id",{tenants.a.account},"~:table_name","t","~:action","upsert",'
        '"~:sequence",1,"~:key_names",["id"],"~:data",'
        '["^ ","id",1,"o",["^ ","n","~zNaN","i",["~zINF","~z-INF",1.5]]]]]'
    )
    answer = tenants.rig.http.post(
        "/v2/import/push",
        content=body,
        headers={
            "Authorization": f"Bearer {tenants.a.import_token}",
            "Content-Type": "application/transit+json",
        },
    )
    assert answer.status_code == 201, answer.text
    tenants.load()
    [(found,)] = tenants.query("SELECT CAST(o AS varchar) FROM shop.t")
    wanted = {
        "null": '{"i":[null,null,1.5],"n":null}',
        "text": '{"i":["Infinity","-Infinity",1.5],"n":"NaN"}',
    }
    assert canonical(found) == canonical(wanted[choice])


def canonical(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)
