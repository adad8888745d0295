"""`treadle loads` lists what the loader recorded."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tests.integration.cli.conftest import Treadle
from tests.loads import load as plain

from treadle.cli.loads import describe_notes
from treadle.store.key_files import load_cipher
from treadle.store.model import LoadReport
from treadle.store.store import Store


def load(source_id: int, table: str, last: int, error: str | None) -> LoadReport:
    counts = {} if error else {"rows_loaded": 3, "rows_discarded": 1, "rows_rejected": 1}
    at = 1_559_347_200_000_000 + last
    return plain(source_id, table, last, at, rows_received=5, tables={}, error=error, **counts)


def test_loads_are_listed_and_filtered(data: Path, treadle: Treadle) -> None:
    assert treadle("account create").code == 0
    one = treadle("source create One --json").json["source_id"]
    two = treadle("source create Two --json").json["source_id"]
    with closing(
        Store.open(f"sqlite:///{data}/store.sqlite", load_cipher(data / "secret.key"))
    ) as store:
        store.loads.record_load(load(one, "orders", 1, None), [])
        store.loads.record_load(load(two, "customers", 2, None), [])
        store.loads.record_failure(load(one, "orders", 3, "no such right"), stopped=True)

    found = treadle("loads --json").json
    assert [each["table"] for each in found] == ["orders", "customers", "orders"]
    assert list(found[0])[:3] == ["load_id", "source_id", "table"]
    assert [each["error"] for each in treadle("loads --failed --json").json] == ["no such right"]
    assert [each["source_id"] for each in treadle("loads --source two --json").json] == [two]
    assert len(treadle("loads --table orders --limit 1 --json").json) == 1
    lines = treadle("loads --source one").out.splitlines()
    assert lines[0].split() == [
        "finished", "source", "table", "received", "loaded", "discarded", "rejected",
        "notes", "error",
    ]  # fmt: skip
    assert lines[1].split()[1:] == ["one", "orders", "5", "0", "0", "0", "no", "such", "right"]
    assert lines[2].split()[1:] == ["one", "orders", "5", "3", "1", "1"]
    assert treadle("loads --limit x").code == 2
    assert treadle("loads --source three").code == 2


def test_loads_tell_of_fields_left_out_and_rounded_and_of_trouble() -> None:
    found = replace(
        load(1, "orders", 1, None),
        details={
            "left_out": [{"field": "long", "total": 3}],
            "rounded": [{"field": "price", "total": 2}],
            "trouble": "all 5 records of the last load were rejected",
        },
    )
    assert describe_notes(found) == (
        "long left out (3); price rounded (2); all 5 records of the last load were rejected"
    )
    assert describe_notes(load(1, "orders", 1, None)) is None
