"""Every input that takes a name is given hostile ones: nothing of another source is reached.

Account A chooses the names; B has a table with a stage, tombstones and a subtable. After each
input, whatever its answer, everything of B is as it was, and B's next records load.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.tenants import Tenants, serve_tenants
from tests.kinds import some_at_release

from treadle.cli.main import main
from treadle.destinations.layout import tombstones_name
from treadle.tables.names import name_auxiliary, name_stage_relation, name_tombstones
from treadle.tables.schema_owner import SchemaOwner

RELEASE = pytest.mark.release
SYSTEM_COLUMNS = ("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "rowid")
OPTIONS = {"options": {"hard_delete": True}}


@pytest.fixture(scope="module", params=[pytest.param("duckdb", marks=RELEASE), "postgres"])
def tenants(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tenants]:
    url = None
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        url = server.lend_database()
    with serve_both(tmp_path_factory.mktemp("hostile") / "data", url) as made:
        yield made
    if url is not None:
        server.take_back(url)


@contextmanager
def serve_both(data: Path, url: str | None) -> Iterator[Tenants]:
    """Both accounts, and what B has."""
    with serve_tenants(data, url) as made:
        made.b.use_over_api("beta")
        made.a.use_over_api("alpha")
        made.rig.store.sources.update_source(None, made.b.source_id, settings=OPTIONS)
        made.b.push("orders", (1, {"id": 1, "amount": 1, "items": ["x"]}), (1, {"id": 2}))
        made.b.push("orders", (2, {"id": 2, "_sdc_deleted_at": "2024-01-01T00:00:00Z"}))
        made.load()
        made.b.push("orders", (1, {"id": 1, "amount": 10}), version=2)
        made.load()
        assert made.b.errors() == {}
        assert len(made.private()) == 3  # tombstones, a stage, and tombstones of that
        yield made


SCHEMAS = (
    *("_treadle", "_TREADLE", "pg_catalog", "pg_temp", "information_schema", "public", "main"),
    *("temp", "system", "beta", "BETA", "beta2", "warehouse"),
)


def hostile_names(tenants: Tenants) -> list[str]:
    """Names that mean something of another account, of treadle or of the database."""
    b = tenants.b
    owner = SchemaOwner(tenants.rig.store.installation_id, b.account, b.source_id)
    digest = hashlib.sha256(b"beta\0orders").hexdigest()[:12]
    return [
        *SCHEMAS,
        # another one's tables, as far as quoting would let go of them
        *("beta.orders", '"beta"."orders"', 'beta"."orders', "orders", "orders__items"),
        *('x"; DROP TABLE beta.orders; --', "x'; DROP TABLE beta.orders; --", "beta.orders(id)"),
        # what treadle keeps
        *("positions", "catalogue", "schemas", "_treadle.catalogue", '_treadle"."schemas'),
        *("_sdc_rejected", "_sdc_x", "stage_1", "tombstones_1", "pkey_1", "orders_pkey"),
        name_stage_relation(owner, "beta", "orders", 2, ()),
        name_stage_relation(owner, "beta", "orders", 2, ("items",)),
        name_tombstones(owner, "beta", "orders"),
        name_auxiliary(owner, "_treadle_", "beta", "orders"),
        name_auxiliary(owner, "pkey_", "beta", "orders"),
        f"stage_{digest}_2",
        tombstones_name("beta", "orders"),
        tombstones_name("_treadle", f"stage_{digest}_2"),
        # the database
        *SYSTEM_COLUMNS,
        *("pg_catalog.pg_class", "pg_class", "sqlite_master", "duckdb_tables()", "select", "*"),
        # characters
        *(
            "",
            " ",
            ".",
            "..",
            "/",
            "\\",
            "%s",
            "{x}",
            "$1",
            "a\0b",
            "a\nb",
            "\u202ex",
            "ü",
            "x" * 300,
        ),
        *("ORDERS", "Orders", "__", "_", "a__b", "__sdc_primary_key", "_treadle_meta"),
    ]


class Watch:
    """What B has, before and after."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self.before = self._look()

    def _look(self) -> dict[str, Any]:
        tenants = self._tenants
        found = tenants.dump("beta")
        for name in tenants.private():
            found[name] = sorted(tenants.query(f'SELECT * FROM _treadle."{name}"'), key=repr)
        found["offsets"] = tenants.query(
            "SELECT table_name, position FROM _treadle.positions"
            f" WHERE source_id = {tenants.b.source_id} ORDER BY 1"
        )
        return found

    def compare(self) -> None:
        """Nothing of B changed; and then B loads as before, A's other table as well."""
        tenants = self._tenants
        after = self._look()
        theirs = {name for name in after if name.startswith(("stage_", "tombstones_"))}
        mine = theirs - self.before.keys()
        assert {name: rows for name, rows in after.items() if name not in mine} == self.before
        [(last,)] = tenants.query("SELECT max(_sdc_sequence) FROM beta.orders")
        tenants.b.push("orders", (last + 1, {"id": 1, "amount": last, "items": ["x"]}))
        tenants.load()
        assert tenants.b.errors() == {}
        assert tenants.query("SELECT id, amount, _sdc_sequence FROM beta.orders") == [
            (1, last, last + 1)
        ]


@pytest.fixture
def watch(tenants: Tenants) -> Iterator[Watch]:
    with watching_b(tenants) as watching:
        yield watching


@contextmanager
def watching_b(tenants: Tenants) -> Iterator[Watch]:
    watching = Watch(tenants)
    yield watching
    watching.compare()
    assert tenants.tables("_treadle") == sorted(
        {"catalogue", "positions", "schemas", *tenants.private()}
    )


def load_of_a(tenants: Tenants) -> None:
    tenants.load()
    assert tenants.a.errors() == {}


def send_batch(tenants: Tenants, table: str, data: dict[str, Any], keys: Sequence[str]) -> None:
    properties: dict[str, Any] = {name: {} for name in data}
    tenants.a.send(
        "/v2/import/batch",
        {
            "table_name": table,
            "schema": {"type": "object", "properties": properties},
            "key_names": list(keys),
            "messages": [{"action": "upsert", "sequence": 5, "data": data}],
        },
    )


# --- the Connect API ------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["name", *some_at_release("display_name")])
def test_names_of_sources(tenants: Tenants, watch: Watch, field: str) -> None:
    schemas = {tenants.a.schema, tenants.b.schema}
    made = []
    for name in hostile_names(tenants):
        answer = tenants.a.create(**{field: name})
        if answer.status_code != 200:
            assert answer.json()["error"].startswith("Invalid"), answer.text
            continue
        source = tenants.rig.store.sources.get_source(None, answer.json()["id"])
        assert source is not None
        made.append(source)
        assert source.schema not in schemas
        schemas.add(source.schema)
        token = next(iter(answer.json()["properties"]["token"].values()))
        body = [{"table_name": "orders", "key_names": ["id"], "sequence": 99, "action": "upsert"}]
        body[0] |= {"client_id": tenants.a.account, "data": {"id": 1, "amount": -1}}
        pushed = tenants.rig.http.post(
            "/v2/import/push", json=body, headers={"Authorization": f"Bearer {token}"}
        )
        assert pushed.status_code == 201
    tenants.load()
    assert made
    for source in made:
        assert tenants.rig.store.tables.list_statuses(source.id)[0].error is None
        tenants.rig.store.sources.delete_source(None, source.id)


@pytest.mark.parametrize(
    "field", ["name", *some_at_release("display_name", "destination_id", "schema"), "account"]
)
def test_changes_of_sources(tenants: Tenants, watch: Watch, field: str) -> None:
    a = tenants.a
    headers = {"Authorization": f"Bearer {a.token}"}
    values: list[Any] = list(hostile_names(tenants))
    if field == "destination_id":
        [theirs] = tenants.rig.store.destinations.list_destinations(tenants.b.account)
        values = [theirs.id, 0, -1, 2**63]
    for value in values:
        for method in ("PUT", "PATCH"):
            tenants.rig.http.request(
                method, f"/v4/sources/{a.source_id}", json={field: value}, headers=headers
            )
        tenants.rig.http.put(
            f"/v4/sources/{tenants.b.source_id}", json={field: value}, headers=headers
        )
    source = tenants.rig.store.sources.get_source(None, a.source_id)
    assert source is not None
    assert (source.schema, source.account_id) == ("alpha", a.account)
    theirs_source = tenants.rig.store.sources.get_source(None, tenants.b.source_id)
    assert theirs_source is not None
    assert theirs_source.display_name == "x"
    a.push("after", (len(values), {"id": 1}))
    load_of_a(tenants)


# --- the Import API -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way", ["push", *some_at_release("batch", "records", "webhook"), "version"]
)
def test_names_of_tables(tenants: Tenants, watch: Watch, way: str) -> None:
    a = tenants.a
    row = {"id": 666, "amount": -1, "value": "x"}
    for name in hostile_names(tenants):
        if way == "push":
            a.push(name, (99, row))
        elif way == "version":
            a.push(name, (99, row), version=1)
            a.push(name, (99, row), version=2)
        elif way == "batch":
            send_batch(tenants, name, row, ["id"])
        elif way == "records":
            path = f"/v1/tables/{_quoted(name)}/records?key=id"
            tenants.rig.http.post(
                path, json=[row], headers={"Authorization": f"Bearer {a.import_token}"}
            )
        else:
            tenants.rig.http.post(
                f"/v1/clients/{a.account}/token/{a.import_token}?table={_quoted(name)}", json=row
            )
    a.push(f"after_{way}", (1, {"id": 1}))
    load_of_a(tenants)
    if way == "version":
        for name in hostile_names(tenants):
            a.push(name, activate=2)
        load_of_a(tenants)
    assert tenants.query(f"SELECT id FROM alpha.after_{way}") == [(1,)]


def _quoted(name: str) -> str:
    return "".join(f"%{byte:02X}" for byte in name.encode())


@pytest.mark.parametrize(
    "place", ["column", "nested", *some_at_release("key", "array", "parent", "schema"), "both"]
)
def test_names_of_fields(tenants: Tenants, watch: Watch, place: str) -> None:
    """One odd record does not stop the table, wherever the name is in it."""
    a, table = tenants.a, f"fields_{place}"
    a.push(table, (1, {"id": 1, "a": 1}))
    tenants.load()
    for number, name in enumerate(hostile_names(tenants), 10):
        data: dict[str, Any] = {"id": number}
        if place == "column":
            data |= {name: number}
        elif place == "nested":
            data |= {"o": {name: {name: number}}}
        elif place == "array":
            data |= {"l": [{name: number, "m": [{name: 1}]}]}
        elif place == "parent":
            data |= {name: [{"x": number}]}
        elif place == "both":
            data |= {name: number, f"{name}x": [name]}
        if place == "schema":
            send_batch(tenants, table, {"id": number, name: number}, ["id"])
        elif place == "key":
            a.push(f"{table}_{number}", (2, {"id": number, name: number}), keys=[name])
        else:
            a.push(table, (2, data))
    a.push(table, (3, {"id": 2, "a": 2}))
    load_of_a(tenants)
    kept = tenants.query(f"SELECT id FROM alpha.{table} WHERE id < 10 ORDER BY id")
    assert kept == [(1,), (2,)]


# --- commands of the operator ---------------------------------------------------------------------


@pytest.mark.parametrize("names", ["schemas", pytest.param("others", marks=RELEASE)])
def test_commands(
    tenants: Tenants,
    watch: Watch,
    names: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The operator may do everything, and does by a slip of a name nothing to another's schema."""
    monkeypatch.setenv("TREADLE_DATA", str(tenants.rig.config.data))
    a = tenants.a
    a.push("commands", (1, {"id": 1}))
    load_of_a(tenants)
    records = tmp_path / "records.jsonl"
    records.write_text('{"id": 1}\n')
    source = str(a.source_id)
    commands: list[Callable[[str], list[str]]] = [
        lambda name: [*("replay", "--source", source, "--table", "commands", "--into", name)],
        lambda name: ["replay", "--source", source, "--table", name, "--dry-run"],
        lambda name: ["source", "adopt", source, "--", name],
        lambda name: ["source", "adopt", "--dry-run", "--", name],
        lambda name: ["token", "import", "--", name],
        lambda name: ["source", "pause", "--account", str(a.account), "--", name],
        lambda name: ["source", "options", source, "split_mode=keep", "--table", name],
        lambda name: ["plan", str(records), "--table", name, "--key", "id", "--source", source],
    ]
    reserved = {"_treadle", "pg_catalog", "pg_temp", "information_schema", "public", "main"}
    others = [name for name in hostile_names(tenants) if name not in SCHEMAS]
    for name in SCHEMAS if names == "schemas" else others:
        if "\0" in name:
            continue  # no argument of a program has one
        for command in commands:
            monkeypatch.setattr("sys.stdin", io.StringIO("t" * 64))
            words = command(name)
            try:
                code = main(words)
            except SystemExit as ended:  # argparse takes it for an option
                code = int(ended.code or 0)
            told = capsys.readouterr()
            if words[0] == "replay" and "--into" in words and name in {*reserved, "beta"}:
                assert code == 2
                assert "schema" in told.err
    load_of_a(tenants)


def test_queries_read_only(
    tenants: Tenants,
    watch: Watch,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TREADLE_DATA", str(tenants.rig.config.data))
    if tenants.url.startswith("postgres"):
        monkeypatch.setenv("TREADLE_DESTINATION", tenants.url)
    for statement in (
        "DROP SCHEMA beta CASCADE",
        "UPDATE beta.orders SET amount = 0",
        "DELETE FROM _treadle.schemas",
        "CREATE SCHEMA beta3",
    ):
        assert main(["query", statement]) == 2
    capsys.readouterr()


# --- the same on DuckDB ---------------------------------------------------------------------------


def test_some_on_duckdb(tmp_path: Path) -> None:
    """One way of names with each change; a release passes all of them."""
    with serve_both(tmp_path / "data", None) as tenants, watching_b(tenants) as watch:
        test_names_of_tables(tenants, watch, "push")
