"""One account cannot read, change, delay or name what another one has, on both destinations.

What an account may not do is tried past the API as well, as by a source that was made before the
rule.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.tenants import Tenants, serve_tenants
from tests.kinds import some_at_release

from treadle.cli.main import main
from treadle.destinations.layout import tombstones_name
from treadle.tables.names import name_stage_relation, name_tombstones
from treadle.tables.schema_owner import SchemaOwner

Run = Callable[..., str]

SYSTEM_COLUMNS = (
    "_sdc_batched_at timestamptz, _sdc_received_at timestamptz, _sdc_sequence bigint,"
    " _sdc_table_version bigint"
)


@pytest.fixture
def tenants(tmp_path: Path, destination_url: str | None) -> Iterator[Tenants]:
    with serve_tenants(tmp_path / "data", destination_url) as made:
        yield made


@pytest.fixture
def run(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run a command of the operator's, which succeeds."""
    monkeypatch.setenv("TREADLE_DATA", str(tenants.rig.config.data))

    def call(line: str, *words: str, code: int = 0) -> str:
        capsys.readouterr()
        ended = main([*line.split(), *words])
        told = capsys.readouterr()
        assert ended == code, told.err
        return told.out if code == 0 else told.err

    return call


def old_stage_name(schema: str, table: str, version: int) -> str:
    digest = hashlib.sha256(f"{schema}\0{table}".encode()).hexdigest()[:12]
    return f"stage_{digest}_{version}"


def owner_of(tenants: Tenants) -> SchemaOwner:
    b = tenants.b
    return SchemaOwner(tenants.rig.store.installation_id, b.account, b.source_id)


def stage_names(tenants: Tenants, table: str, version: int) -> list[str]:
    """The name that B's stage has, and the one that it had in earlier versions."""
    owner, schema = owner_of(tenants), tenants.b.schema
    return [
        name_stage_relation(owner, schema, table, version, ()),
        old_stage_name(schema, table, version),
    ]


def orders_of_b(tenants: Tenants) -> list[tuple[Any, ...]]:
    return tenants.query(
        f'SELECT id, amount, _sdc_sequence FROM "{tenants.b.schema}".orders ORDER BY id'
    )


# --- the schema of treadle itself -----------------------------------------------------------------


def test_rows_of_another_account_do_not_reach_a_staged_version(tenants: Tenants) -> None:
    tenants.b.use_over_api("beta")
    refused = tenants.a.create(name="_treadle")
    assert refused.status_code == 400
    tenants.a.use("_treadle")
    tenants.b.push("orders", (1, {"id": 1, "amount": 9}), version=1)
    tenants.load()
    tenants.b.push("orders", (2, {"id": 1, "amount": 10}), version=2)
    tenants.load()
    for name in stage_names(tenants, "orders", 2):
        rows = [(99, {"id": 1, "amount": -1}), (99, {"id": 666, "amount": 666})]
        tenants.a.push(name, *rows)
    tenants.load()
    assert set(tenants.a.errors()) == set(stage_names(tenants, "orders", 2))
    assert all('schema "_treadle"' in error for error in tenants.a.errors().values())
    tenants.b.push("orders", activate=2)
    tenants.load()
    assert tenants.b.errors() == {}
    assert orders_of_b(tenants) == [(1, 10, 2)]
    assert tenants.private() == []


def test_no_account_locks_a_version_of_another_out(tenants: Tenants) -> None:
    tenants.b.use_over_api("beta")
    tenants.a.use("_treadle")
    for name in stage_names(tenants, "orders", 7):
        tenants.a.push(name, (1, {"id": 666}))
    tenants.load()
    assert tenants.private() == []
    tenants.b.push("orders", (1, {"id": 1, "amount": 1}), version=6)
    tenants.load()
    tenants.b.push("orders", (2, {"id": 1, "amount": 7}), version=7)
    tenants.load()
    tenants.b.push("orders", activate=7)
    tenants.load()
    assert tenants.b.errors() == {}
    assert orders_of_b(tenants) == [(1, 7, 2)]


def test_no_account_buries_records_of_another(tenants: Tenants) -> None:
    tenants.b.use_over_api("beta")
    tenants.b.push("first", (1, {"id": 1}))
    tenants.load()
    tenants.a.use("_treadle")
    tenants.rig.store.sources.update_source(
        None, tenants.b.source_id, settings={"options": {"hard_delete": True}}
    )
    names = [
        name_tombstones(owner_of(tenants), "beta", "orders"),
        tombstones_name("beta", "orders"),
    ]
    for name in names:
        tenants.a.push(name, (99, {"id": 1}))
    tenants.load()
    assert tenants.private() == []
    # As if it had been done before: the table of the old name is not taken because it is there.
    columns = "id bigint PRIMARY KEY, _sdc_sequence bigint"
    tenants.query(f'CREATE TABLE _treadle."{names[1]}" ({columns})')
    tenants.query(f'INSERT INTO _treadle."{names[1]}" VALUES (1, 99), (2, 99)')
    tenants.b.push("orders", (1, {"id": 1, "amount": 1}), (1, {"id": 2, "amount": 2}))
    tenants.load()
    deleted = {"id": 2, "_sdc_deleted_at": "2024-01-01T00:00:00Z"}
    tenants.b.push("orders", (3, deleted))
    tenants.load()
    tenants.b.push("orders", (2, {"id": 2, "amount": 5}))
    tenants.load()
    assert tenants.b.errors() == {}
    assert orders_of_b(tenants) == [(1, 1, 1)]


@pytest.mark.parametrize("name", ["information_schema", "pg_catalog"])
def test_a_schema_of_the_database_stops_its_own_source_only(tenants: Tenants, name: str) -> None:
    tenants.a.use(name)
    tenants.b.use_over_api("beta")
    tenants.a.push("tables", (1, {"id": 1}))
    tenants.b.push("orders", (1, {"id": 1, "amount": 1}))
    tenants.load()
    assert list(tenants.a.errors()) == ["tables"]
    assert orders_of_b(tenants) == [(1, 1, 1)]


# --- schemas that are there -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["finance", *some_at_release("public", "main")])
def test_a_schema_that_is_there_is_not_written_into(tenants: Tenants, run: Run, name: str) -> None:
    tenants.query(f"CREATE SCHEMA IF NOT EXISTS {name}")
    tenants.query(f"CREATE TABLE {name}.orders (id bigint PRIMARY KEY, a text, {SYSTEM_COLUMNS})")
    tenants.query(f"INSERT INTO {name}.orders (id, a, _sdc_sequence) VALUES (1, 'old', 1)")
    tenants.query(f"CREATE TABLE {name}.notes (text text)")
    tenants.b.use_over_api("beta")
    tenants.a.use(name)
    before = tenants.dump(name)
    tenants.a.push("orders", (2, {"id": 1, "a": "new"}))
    tenants.a.push("other", (1, {"id": 1}))
    tenants.b.push("orders", (1, {"id": 1, "amount": 1}))
    tenants.load()
    assert orders_of_b(tenants) == [(1, 1, 1)]
    assert set(tenants.a.errors()) == {"orders", "other"}
    for error in tenants.a.errors().values():
        assert f"treadle source adopt {tenants.a.source_id}" in error
    dry = tenants.a.send(
        "/v2/import/push?dry_run=1",
        [
            {
                "client_id": tenants.a.account,
                "table_name": "orders",
                "sequence": 5,
                "action": "upsert",
                "key_names": ["id"],
                "data": {"id": 1},
            }
        ],
    ).json()["tables"]
    assert [each["error"] is not None for each in dry] == [True]
    assert {**tenants.dump(name), "schemas": []} == {"catalogue": [], "schemas": [], **before}

    listed = run(f"source adopt {tenants.a.source_id} --dry-run")
    assert "would be the source's" in listed
    assert "orders" in listed
    assert "notes" in listed
    assert {**tenants.dump(name), "schemas": []} == {"catalogue": [], "schemas": [], **before}
    tenants.load()
    assert "orders" in tenants.a.errors()

    assert "1 table adopted" in run(f"source adopt {tenants.a.source_id} orders")
    tenants.load()
    assert tenants.a.errors() == {}
    assert tenants.query(f"SELECT id, a, _sdc_sequence FROM {name}.orders") == [(1, "new", 2)]
    assert tenants.query(f"SELECT id FROM {name}.other") == [(1,)]
    assert "is the source's already" in run(f"source adopt {tenants.a.source_id} --dry-run")


def test_a_table_that_is_there_is_adopted_by_the_operator_only(tenants: Tenants, run: Run) -> None:
    """As after Stitch: tables with subtables, some of which fit."""
    tenants.a.use_over_api("shop")
    tenants.a.push("first", (1, {"id": 1}))
    tenants.load()
    tenants.query(f"CREATE TABLE shop.orders (id bigint PRIMARY KEY, a text, {SYSTEM_COLUMNS})")
    tenants.query("INSERT INTO shop.orders (id, a, _sdc_sequence) VALUES (1, 'old', 1)")
    tenants.query(
        "CREATE TABLE shop.orders__items (_sdc_source_key_id bigint, _sdc_level_0_id bigint,"
        f" value text, {SYSTEM_COLUMNS}, PRIMARY KEY (_sdc_source_key_id, _sdc_level_0_id))"
    )
    tenants.query(f"CREATE TABLE shop.keyless (a text, {SYSTEM_COLUMNS})")
    tenants.query("CREATE TABLE shop.notes (text text)")
    tenants.query(f"CREATE TABLE shop.late (id bigint PRIMARY KEY, {SYSTEM_COLUMNS})")
    for table in ("orders", "keyless", "late"):
        tenants.a.push(table, (2, {"id": 1, "items": ["x"]}))
    tenants.load()
    errors = tenants.a.errors()
    assert set(errors) == {"orders", "keyless", "late"}
    assert f"`treadle source adopt {tenants.a.source_id} orders`" in errors["orders"]
    assert tenants.query("SELECT a, _sdc_sequence FROM shop.orders") == [("old", 1)]
    listed = json.loads(run(f"source adopt {tenants.a.source_id} --dry-run --json"))
    told = {each["table"]: each for each in listed["tables"]}
    assert set(told) == {"orders", "keyless", "notes", "late"}
    assert told["orders"]["subtables"] == "orders__items"
    assert "no primary key" in told["keyless"]["cannot_be_adopted"]
    assert told["notes"]["cannot_be_adopted"]
    assert not listed["adopted"]
    run(f"source adopt {tenants.a.source_id} orders")
    tenants.load()
    assert set(tenants.a.errors()) == {"keyless", "late"}
    assert tenants.query("SELECT a, _sdc_sequence FROM shop.orders") == [(None, 2)]
    assert tenants.query("SELECT value, _sdc_sequence FROM shop.orders__items") == [("x", 2)]
    refused = run(f"source adopt {tenants.a.source_id} keyless", code=2)
    assert "no primary key" in refused
    assert "no table 'none'" in run(f"source adopt {tenants.a.source_id} none", code=2)
    run(f"source adopt {tenants.a.source_id}")
    tenants.load()
    assert set(tenants.a.errors()) == {"keyless"}


def test_a_schema_is_another_treadles_until_it_is_adopted(
    tenants: Tenants, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenants.b.use_over_api("beta")
    tenants.b.push("orders", (1, {"id": 1, "amount": 1}))
    tenants.load()
    before = tenants.dump("beta")
    with serve_tenants(tmp_path / "other", tenants.url) as others:
        others.b.use("beta")
        assert (others.b.account, others.b.source_id) == (tenants.b.account, tenants.b.source_id)
        others.b.push("orders", (2, {"id": 1, "amount": 2}))
        others.load()
        assert "belongs to another source" in others.b.errors()["orders"]
        assert tenants.dump("beta") == before
        with monkeypatch.context() as patched:
            patched.setenv("TREADLE_DATA", str(others.rig.config.data))
            assert main(["source", "adopt", "beta"]) == 0
        others.load()
        assert others.b.errors() == {}
        assert orders_of_b(others) == [(1, 2, 2)]
    tenants.b.push("orders", (3, {"id": 1, "amount": 3}))
    tenants.load()
    assert "belongs to another source" in tenants.b.errors()["orders"]
    assert orders_of_b(tenants) == [(1, 2, 2)]


# --- names ----------------------------------------------------------------------------------------


def _tell_dry_run(tenants: Tenants, table: str) -> str:
    """What an account is told of a load that is not done, as JSON."""
    record = {"client_id": tenants.a.account, "table_name": table, "sequence": 1}
    record |= {"action": "upsert", "key_names": ["id"], "data": {"id": 1, "shop2": 1}}
    answer = tenants.a.send("/v2/import/push?dry_run=1", [record])
    assert answer.status_code == 200, answer.text
    return answer.text


def test_two_accounts_may_use_one_name(tenants: Tenants) -> None:
    tenants.b.use_over_api("shop")
    tenants.b.push("orders", (1, {"id": 1, "amount": 1}))
    tenants.load()
    before = tenants.dump("shop")
    free, taken = tenants.a.create(name="free"), tenants.a.create(name="shop")
    assert (free.status_code, taken.status_code) == (200, 200)
    assert taken.json()["name"] == "shop"
    assert free.json().keys() == taken.json().keys()
    source = tenants.rig.store.sources.get_source(None, taken.json()["id"])
    assert source is not None
    tenants.a._keep(source.id)
    assert source.schema == "shop2"
    told = [_tell_dry_run(tenants, "orders")]
    tenants.rig.store.sources.delete_source(None, source.id)
    tenants.a.use_over_api("other")
    told.append(_tell_dry_run(tenants, "orders").replace("other", "shop"))
    assert told[0] == told[1]
    assert "shop" in told[0]
    tenants.a.use_over_api("shop")
    assert tenants.a.schema == "shop2"
    tenants.a.push("orders", (9, {"id": 1, "amount": 9}))
    tenants.load()
    assert tenants.a.errors() == {}
    assert tenants.dump("shop") == before
    assert tenants.query(f'SELECT amount FROM "{source.schema}".orders') == [(9,)]


def test_the_next_source_of_a_name_goes_on_with_the_schema(tenants: Tenants) -> None:
    tenants.a.use_over_api("shop")
    tenants.a.push("orders", (1, {"id": 1, "amount": 1}))
    tenants.load()
    tenants.rig.store.sources.delete_source(None, tenants.a.source_id)
    tenants.a.use_over_api("shop")
    tenants.a.push("orders", (2, {"id": 2, "amount": 2}))
    tenants.load()
    assert tenants.a.errors() == {}
    assert tenants.query("SELECT id FROM shop.orders ORDER BY 1") == [(1,), (2,)]
    [(source,)] = tenants.query("SELECT source_id FROM _treadle.schemas WHERE schema_name = 'shop'")
    assert source == tenants.a.source_id


# --- what earlier versions made -------------------------------------------------------------------


def test_what_an_earlier_version_made_goes_on(tenants: Tenants) -> None:
    """Owners were not recorded, and private relations had names that are known from outside."""
    b = tenants.b
    b.use_over_api("beta")
    tenants.rig.store.sources.update_source(
        None, b.source_id, settings={"options": {"hard_delete": True}}
    )
    b.push("orders", (1, {"id": 1, "amount": 1}), (1, {"id": 2, "amount": 2}), version=1)
    b.push("orders", (2, {"id": 2, "_sdc_deleted_at": "2024-01-01T00:00:00Z"}), version=1)
    tenants.load()
    b.push("orders", (1, {"id": 5, "amount": 5}), version=2)
    tenants.load()
    b.push("other", (1, {"id": 1}))
    tenants.load()
    stage, tombstones = (
        name_stage_relation(owner_of(tenants), "beta", "orders", 2, ()),
        name_tombstones(owner_of(tenants), "beta", "orders"),
    )
    staged_tombstones = stage.replace("stage_", "tombstones_")
    assert {stage, tombstones, staged_tombstones} <= set(tenants.private())
    old_stage = old_stage_name("beta", "orders", 2)
    for new, old in (
        (stage, old_stage),
        (tombstones, tombstones_name("beta", "orders")),
        (staged_tombstones, tombstones_name("_treadle", old_stage)),
    ):
        tenants.query(f'ALTER TABLE _treadle."{new}" RENAME TO "{old}"')
    for key, document in tenants.query("SELECT table_key, document FROM _treadle.catalogue"):
        entry = json.loads(document.replace(stage, old_stage))
        del entry["tombstones_relation"], entry["adopted"]
        tenants.query(
            f"UPDATE _treadle.catalogue SET document = '{json.dumps(entry)}'"
            f" WHERE table_key = '{key}'"
        )
    tenants.query("DROP TABLE _treadle.schemas")

    tenants.a.use_over_api("alpha")
    tenants.a.push("orders", (1, {"id": 1}))
    b.push("orders", (2, {"id": 6, "amount": 6}), version=2)
    b.push("orders", (1, {"id": 2, "amount": 3}), version=1)  # older than its delete
    tenants.load()
    assert (tenants.a.errors(), b.errors()) == ({}, {})
    assert orders_of_b(tenants) == [(1, 1, 1)]
    b.push("orders", activate=2)
    tenants.load()
    b.push("orders", (3, {"id": 7, "amount": 7}), version=2)
    b.push("orders", (4, {"id": 7, "_sdc_deleted_at": "2024-01-01T00:00:00Z"}), version=2)
    b.push("other", (2, {"id": 2}))
    tenants.load()
    assert b.errors() == {}
    assert orders_of_b(tenants) == [(5, 5, 1), (6, 6, 2)]
    assert old_stage not in tenants.private()
    owners = tenants.query("SELECT schema_name, source_id FROM _treadle.schemas ORDER BY 1")
    assert owners == [("alpha", tenants.a.source_id), ("beta", b.source_id)]
