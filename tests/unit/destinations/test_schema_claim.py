"""Who may load into a schema, and which names nobody gets."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.destinations.protocol import SchemaStatus
from treadle.destinations.reserved_schemas import (
    is_reserved_schema,
    is_system_schema,
    name_file_catalog,
)
from treadle.destinations.schema_claim import SchemaClaim, claim_schema
from treadle.errors import TableStoppedError
from treadle.tables.profiles import DUCKDB, POSTGRES
from treadle.tables.schema_owner import UNOWNED, SchemaOwner, make_operator

OURS = SchemaOwner("here", 1, 7)
owners = st.builds(
    SchemaOwner, st.sampled_from(["here", "there", ""]), st.integers(0, 3), st.integers(0, 9)
)


@pytest.mark.parametrize(
    ("status", "claim"),
    [
        (SchemaStatus(False), SchemaClaim.MAKE),
        (SchemaStatus(False, OURS), SchemaClaim.MAKE),
        (SchemaStatus(True, OURS), SchemaClaim.KEEP),
        # a deleted source of the account, and a successor whose predecessor's records come late
        (SchemaStatus(True, replace(OURS, source_id=5)), SchemaClaim.RECORD),
        (SchemaStatus(True, replace(OURS, source_id=9)), SchemaClaim.KEEP),
        # made by an earlier version
        (SchemaStatus(True, None, frozenset({3, 7})), SchemaClaim.RECORD),
    ],
)
def test_a_schema_is_for_its_owner(status: SchemaStatus, claim: SchemaClaim) -> None:
    assert claim_schema("web", status, OURS, POSTGRES) is claim


@pytest.mark.parametrize(
    "status",
    [
        SchemaStatus(True),
        SchemaStatus(True, None, frozenset({3})),
        SchemaStatus(True, replace(OURS, account_id=2)),
        SchemaStatus(True, replace(OURS, installation_id="there")),
        SchemaStatus(False, replace(OURS, account_id=2)),
        SchemaStatus(True, make_operator("here")),
        SchemaStatus(True, UNOWNED),
    ],
)
def test_a_schema_of_others_stops_the_table(status: SchemaStatus) -> None:
    with pytest.raises(TableStoppedError, match="run `treadle source adopt 7`"):
        claim_schema("web", status, OURS, POSTGRES)


@given(owners, owners, st.booleans(), st.frozensets(st.integers(0, 9)))
def test_no_account_claims_what_is_recorded_for_another(
    one: SchemaOwner, other: SchemaOwner, exists: bool, former: frozenset[int]
) -> None:
    status = SchemaStatus(exists, other, former)
    same = (one.installation_id, one.account_id) == (other.installation_id, other.account_id)
    if same:
        assert isinstance(claim_schema("web", status, one, DUCKDB), SchemaClaim)
    else:
        with pytest.raises(TableStoppedError):
            claim_schema("web", status, one, DUCKDB)


@pytest.mark.parametrize("name", ["_treadle", "_TREADLE", "information_schema", "pg_catalog"])
def test_a_schema_of_the_system_is_for_nobody(name: str) -> None:
    for profile in (POSTGRES, DUCKDB):
        assert is_system_schema(name, profile)
        with pytest.raises(TableStoppedError, match="no source is loaded into it"):
            claim_schema(name, SchemaStatus(True, OURS), OURS, profile)


@pytest.mark.parametrize(
    ("name", "reserved"),
    [
        *((name, True) for name in ("_treadle", "Public", "main", "temp", "system", "pg_", "pg_x")),
        *((name, True) for name in ("PG_TEMP", "information_schema", "pg_catalog", "warehouse")),
        *((name, False) for name in ("pg", "pgx", "web", "treadle", "_treadle2", "data", "_")),
    ],
)
def test_names_that_no_source_gets(name: str, reserved: bool) -> None:
    places = ["postgresql://h:5432/data", "duckdb:///var/lib/warehouse.duckdb"]
    assert is_reserved_schema(name, places) is reserved


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        ("duckdb:///a/Shop.v2.duckdb", "shop"),
        ("duckdb:///a/.hidden", "hidden"),
        ("duckdb:///a/main.duckdb", "main_db"),
        ("duckdb:///a b/ü.duckdb", "ü"),
        ("postgresql://h:5432/shop", None),
        ("elsewhere:///shop", None),
    ],
)
def test_the_name_of_a_file(identity: str, name: str | None) -> None:
    assert name_file_catalog(identity) == name
