"""A name that a destination does not take costs the record that brings it, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from tests.acceptance.tenants import Tenants, serve_tenants
from tests.servers.postgres import PostgresServer

from treadle.destinations.duckdb.connection import DuckDBConnection
from treadle.destinations.sql.text import Quoted
from treadle.tables.profiles import DUCKDB, POSTGRES

SYSTEM_COLUMNS = sorted(POSTGRES.columns_reserved)


@pytest.fixture
def tenants(tmp_path: Path, destination_url: str | None) -> Iterator[Tenants]:
    with serve_tenants(tmp_path / "data", destination_url) as made:
        made.a.use_over_api("shop")
        yield made


def is_postgres(tenants: Tenants) -> bool:
    return tenants.url.startswith("postgres")


def ids(tenants: Tenants, table: str = "t") -> list[int]:
    return [value for (value,) in tenants.query(f'SELECT id FROM shop."{table}" ORDER BY id')]


def rejections(tenants: Tenants) -> list[tuple[Any, ...]]:
    return sorted(tenants.query("SELECT table_name, reason FROM shop._sdc_rejected"))


# --- what the profiles know -----------------------------------------------------------------------


@pytest.mark.parametrize("server", ["postgres_server", "system_postgres_server"])
def test_postgresqls_own_columns_are_known(server: str, request: pytest.FixtureRequest) -> None:
    running: PostgresServer = request.getfixturevalue(server)
    with psycopg.connect(running.url()) as connection:
        found = connection.execute("SELECT DISTINCT attname FROM pg_attribute WHERE attnum < 0")
        assert {name for (name,) in found} == set(POSTGRES.columns_reserved)
        connection.execute("CREATE TEMPORARY TABLE odd (id bigint)")
        words = connection.execute("SELECT word FROM pg_get_keywords()").fetchall()
        for (word,) in [*words, *((name.upper(),) for name in POSTGRES.columns_reserved)]:
            connection.execute(f'ALTER TABLE odd ADD COLUMN "{word}" bigint'.encode())
        for name in POSTGRES.columns_reserved:
            with pytest.raises(psycopg.errors.DuplicateColumn), connection.transaction():
                connection.execute(f'ALTER TABLE odd ADD COLUMN "{name}" bigint'.encode())


def test_duckdb_refuses_no_name_of_a_column() -> None:
    assert DUCKDB.columns_reserved == frozenset()
    with duckdb.connect() as connection:
        words = connection.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()
        names = {*(word for (word,) in words), *POSTGRES.columns_reserved, "rowid", "oid"}
        for name in sorted(names):
            connection.execute(f'CREATE TABLE "{name}" (id bigint PRIMARY KEY)')
            connection.execute(f'ALTER TABLE "{name}" ADD COLUMN "{name}" bigint')
            connection.execute(f'INSERT INTO "{name}" VALUES (1, 2) ON CONFLICT DO NOTHING')
            connection.execute(f'UPDATE "{name}" SET "{name}" = 3')
            assert connection.execute(f'SELECT "{name}" FROM "{name}"').fetchall() == [(3,)]


# --- loads ----------------------------------------------------------------------------------------


def test_a_field_of_a_reserved_name_rejects_its_record(tenants: Tenants) -> None:
    tenants.a.push("t", (1, {"id": 1, "a": 1}))
    tenants.load()
    odd = [*SYSTEM_COLUMNS, "rowid", "CTID", "oid"]
    tenants.a.push("t", *((2, {"id": 10 + n, name: 1}) for n, name in enumerate(odd)))
    tenants.a.push(
        "t", (3, {"id": 2, "a": 2}), (3, {"id": 3, "o": {"ctid": 1, "l": [{"xmin": 1}]}})
    )
    tenants.load()
    assert tenants.a.errors() == {}
    kept = [1, 2, 3, *(10 + n for n in range(len(odd)))]
    if is_postgres(tenants):
        reasons = [("t", f"Column name {name} is reserved") for name in SYSTEM_COLUMNS]
        kept = [one for one in kept if one < 10 or odd[one - 10] not in SYSTEM_COLUMNS]
        kept.remove(3)  # xmin would be a column of the subtable
        assert rejections(tenants) == sorted([*reasons, ("t", "Column name xmin is reserved")])
    else:
        assert rejections(tenants) == []
    assert ids(tenants) == kept
    tenants.a.push("t", (9, {"id": 4, "a": 4}))
    tenants.load()
    assert ids(tenants) == sorted([*kept, 4])


@pytest.mark.parametrize("way", ["webhook", "records", "key"])
def test_no_way_in_stops_a_table_by_a_reserved_name(tenants: Tenants, way: str) -> None:
    a = tenants.a
    for number, name in enumerate(["plain", *SYSTEM_COLUMNS, "rowid", "plain"]):
        data = {"id": number, name: number}
        if way == "webhook":
            answer = a.send(f"/v1/clients/{a.account}/token/{a.import_token}", data)
        elif way == "records":
            answer = a.send("/v1/tables/records/records?key=id", [data])
        else:
            answer = a.push(f"t_{name}", (number, data), keys=[name])
        assert answer.is_success, answer.text
        tenants.load()
    assert a.errors() == {}
    reasons = {reason for _, reason in rejections(tenants)}
    if is_postgres(tenants):
        assert reasons == {f"Column name {name} is reserved" for name in SYSTEM_COLUMNS}
    else:
        assert reasons == set()
    table = next(name for name in tenants.tables("shop") if not name.startswith("_sdc"))
    assert tenants.query(f'SELECT count(*) FROM shop."{table}"') != [(0,)]


@pytest.fixture
def refused(tenants: Tenants, monkeypatch: pytest.MonkeyPatch) -> re.Pattern[str]:
    """The destination refuses every schema change in which a certain name stands."""
    name = re.compile("odd(?!er)")
    if is_postgres(tenants):
        tenants.query(
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF current_query() ~ 'odd(?!er)' THEN RAISE 'odd is a reserved name'"
            " USING ERRCODE = '42939'; END IF; END $$"
        )
        tenants.query(
            "CREATE EVENT TRIGGER refuse ON ddl_command_start"
            " WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE') EXECUTE FUNCTION refuse()"
        )
        return name
    run = DuckDBConnection.run

    def refuse(connection: DuckDBConnection, statement: Quoted, *values: object) -> int:
        if statement.startswith(("CREATE", "ALTER")) and name.search(statement):
            raise duckdb.CatalogException("Catalog Error: odd is a reserved name")
        return run(connection, statement, *values)

    monkeypatch.setattr(DuckDBConnection, "run", refuse)
    return name


@pytest.mark.usefixtures("refused")
def test_a_refused_schema_change_costs_its_records_only(tenants: Tenants) -> None:
    # A new table, with some odd records among the others.
    rows = [(1, {"id": n, ("odd" if n in (7, 23) else "a"): n}) for n in range(40)]
    tenants.a.push("t", *rows)
    tenants.load()
    kept = [n for n in range(40) if n not in (7, 23)]
    assert (tenants.a.errors(), ids(tenants)) == ({}, kept)
    # A table that is there: a column, a column of a subtable, and a subtable.
    tenants.a.push("t", (2, {"id": 100, "odd": 1}))
    tenants.a.push("t", (2, {"id": 101, "l": [{"x": 1}]}), (2, {"id": 102, "l": [{"odd": 1}]}))
    tenants.a.push("t", (2, {"id": 103, "odd_list": [1]}), (2, {"id": 104, "b": 1}))
    tenants.load()
    assert (tenants.a.errors(), ids(tenants)) == ({}, [*kept, 101, 104])
    # Nothing but an odd record, and a table of such a name.
    tenants.a.push("odd", (1, {"id": 1}))
    tenants.a.push("odder", (1, {"id": 1}))
    tenants.a.push("t", (2, {"id": 105, "odd": 1}))
    tenants.load()
    assert (tenants.a.errors(), ids(tenants, "odder")) == ({}, [1])
    told = rejections(tenants)
    assert len(told) == 7
    assert all("odd is a reserved name" in reason for _, reason in told)
    # A stage.
    tenants.a.push("t", (1, {"id": 1, "c": 1}), (1, {"id": 2, "odd": 1}), version=5, activate=5)
    tenants.load()
    assert (tenants.a.errors(), ids(tenants)) == ({}, [1])


def test_a_subtable_that_is_another_table_costs_its_records_only(tenants: Tenants) -> None:
    tenants.a.push("t__l", (1, {"id": 1}))
    tenants.a.push("t", (1, {"id": 1}))
    tenants.load()
    tenants.a.push("t", (2, {"id": 2, "l": [1]}), (2, {"id": 3}))
    tenants.a.push("t__l", (2, {"id": 2}))
    tenants.load()
    assert tenants.a.errors() == {}
    assert (ids(tenants), ids(tenants, "t__l")) == ([1, 3], [1, 2])
    [(table, reason)] = rejections(tenants)
    assert table == "t"
    assert "already exists" in reason


def test_a_refusal_that_no_record_is_to_blame_for_rejects_none(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenants.a.push("t", (1, {"id": 1}), version=1)
    tenants.load()
    tenants.a.push("t", (1, {"id": 2}), version=2)
    tenants.load()
    if is_postgres(tenants):
        tenants.query(
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE 'no table goes' USING ERRCODE = '42P16'; END $$"
        )
        tenants.query(
            "CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('DROP TABLE')"
            " EXECUTE FUNCTION refuse()"
        )
    else:
        run = DuckDBConnection.run

        def refuse(connection: DuckDBConnection, statement: Quoted, *values: object) -> int:
            if statement.startswith("DROP"):
                raise duckdb.CatalogException("Catalog Error: no table goes")
            return run(connection, statement, *values)

        monkeypatch.setattr(DuckDBConnection, "run", refuse)
    tenants.a.push("t", (2, {"id": 3}), version=2, activate=2)
    tenants.load()
    assert "no table goes" in tenants.a.errors()["t"]
    assert (ids(tenants), rejections(tenants)) == ([1], [])
    if is_postgres(tenants):
        tenants.query("DROP EVENT TRIGGER refuse")
    else:
        monkeypatch.undo()
    tenants.load()
    assert (tenants.a.errors(), ids(tenants), rejections(tenants)) == ({}, [2, 3], [])
