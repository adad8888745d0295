"""Why records wait for a destination that was not checked yet."""

from treadle.ingest.health_endpoint import describe_trouble
from treadle.store.model import ConfiguredDestination, DestinationCheck, TroubledTables
from treadle.tracking.receipt_status import explain_trouble, explain_waiting

NO_TABLES = TroubledTables(0, 0)


def destination(name: str, **changes: int | str | None) -> ConfiguredDestination:
    row: dict[str, int | str | None] = {
        "id": 4, "account_id": 1, "type": "postgres", "name": name, "url": "", "created_at": 1,
        "updated_at": 1, "deleted_at": None, "trouble": None, "trouble_since": None,
        "usable_since": 1,
    }  # fmt: skip
    return ConfiguredDestination(**(row | changes))  # type: ignore[arg-type]  # its fields


def test_receipts_say_what_is_waited_for_and_not_where_the_database_is() -> None:
    row = destination("Staging", usable_since=None)
    check = DestinationCheck(1, 4, "1.4.check.x", 1, 1, None, None, ())
    said = "the destination Staging is loaded into after its first check that succeeds"
    assert explain_waiting(row, None) == explain_waiting(row, check) == said
    failed = DestinationCheck(1, 4, "1.4.check.x", 1, 1, 2, "db:5432 refuses a load.", ())
    told = explain_waiting(row, failed)
    assert told.startswith(f"{said}; the last one failed")
    assert "/v4/destinations/4/last-connection-check" in told
    assert "db:5432" not in told


def test_the_status_names_what_is_not_loaded_into() -> None:
    well, away = destination("a"), destination("b", trouble="down")
    unchecked = destination("c", usable_since=None)
    gone = destination("d", usable_since=None, deleted_at=5)
    assert describe_trouble([well, gone], NO_TABLES) is None
    assert describe_trouble([well, unchecked], NO_TABLES) == (
        "Data is accepted and waits for the first check that succeeds of: c (postgres)"
    )
    assert describe_trouble([away, unchecked], NO_TABLES) == (
        "Data is accepted and waits for loading into: b (postgres); "
        "Data is accepted and waits for the first check that succeeds of: c (postgres)"
    )


def test_the_status_says_of_what_kind_the_trouble_is_and_not_its_text() -> None:
    denied = destination("b", trouble="password of u at db:5432", trouble_kind="denied")
    trouble = "the DuckDB file /data/w.duckdb is held by /opt/metabase (PID 12)"
    held = destination("c", trouble=trouble, trouble_kind="unavailable")
    assert describe_trouble([denied], NO_TABLES) == (
        "Data is accepted and waits for loading into: b (postgres, which refuses: a right, the "
        "password or the URL is wrong); `treadle status` says why"
    )
    told = describe_trouble([denied, held], NO_TABLES)
    assert told is not None
    assert "c (postgres, which another program holds)" in told
    assert "5432" not in told
    assert "metabase" not in told


def test_receipts_name_who_holds_the_file_and_nothing_else_of_a_trouble() -> None:
    trouble = "the DuckDB file /data/w.duckdb is held by /usr/bin/python3.11 (PID 14950)"
    held = destination("warehouse", trouble=trouble)
    assert held.holder == "python3.11 (PID 14950)"
    assert explain_trouble(held) == "the destination warehouse is held by python3.11 (PID 14950)"
    away = destination("warehouse", trouble="password of u at db:5432 is wrong")
    assert away.holder is None
    assert explain_trouble(away) == (
        "the destination warehouse cannot be used now; `treadle status` says why"
    )
    assert explain_trouble(destination("warehouse")) is None
