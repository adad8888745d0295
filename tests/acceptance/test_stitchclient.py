"""The official Python client works after changing one URL."""

import datetime
import subprocess
import sys
from decimal import Decimal

import pytest
from tests.conformance.loading.looking import open_warehouse
from tests.servers import stitch_push
from tests.servers.stitch_push import record
from tests.servers.treadle import Client, TreadleServer, eventually

COUNT = 20_000
FEW = 1_000


@pytest.mark.parametrize(
    ("destination_url", "count"),
    [
        ("duckdb", FEW),
        pytest.param("duckdb", COUNT, marks=pytest.mark.release),
        pytest.param("postgres", COUNT, marks=pytest.mark.release),
        ("mysql", FEW),
        *(
            pytest.param(kind, COUNT, marks=pytest.mark.release)
            for kind in ("mysql", "iceberg", "clickhouse")
        ),
    ],
    indirect=["destination_url"],
)
def test_records_through_transit(server: TreadleServer, client: Client, count: int) -> None:
    pytest.importorskip("requests")
    _, token = client.create_source()
    done = subprocess.run(
        [
            sys.executable,
            stitch_push.__file__,
            f"{server.url}/v2/import/push",
            str(client.client_id),
            token,
            str(count),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(count)
    eventually(
        lambda: server.query("select count(*) as n from import_api.customers") == [{"n": count}],
        300,
    )
    server.stop()
    url = server.destination or f"duckdb://{server.data / 'warehouse.duckdb'}"
    tables = open_warehouse(url, "import_api").tables()

    customers = tables["customers"]
    assert dict(customers.columns) | {"": ""} == {
        "": "",
        "_sdc_batched_at": "timestamp",
        "_sdc_received_at": "timestamp",
        "_sdc_sequence": "bigint",
        "_sdc_table_version": "bigint",
        "active": "boolean",
        "address__city": "text",
        "address__floor": "bigint",
        "at": "timestamp",
        "id": "bigint",
        "large": "bigint",
        "name": "text",
        "price": "decimal",
        "reference": "text",
        "score": "double",
    }
    names = [name for name, _ in customers.columns]
    rows = {row[names.index("id")]: dict(zip(names, row, strict=True)) for row in customers.rows}
    assert len(rows) == count
    for number in range(count):
        sent, row = record(number), rows[number]
        assert row["_sdc_sequence"] == 1_000_000 + number
        assert Decimal(row["price"]) == sent["price"]
        assert datetime.datetime.fromisoformat(row["at"]) == sent["at"]
        assert row["reference"] == str(sent["reference"])
        assert (row["address__city"], row["address__floor"]) == ("Ooo", number % 7)
        for name in ("name", "large", "active", "score"):
            assert row[name] == sent[name]

    tags = tables["customers__tags"]
    names = [name for name, _ in tags.columns]
    at = [names.index(name) for name in ("_sdc_source_key_id", "_sdc_level_0_id", "value")]
    assert {tuple(row[index] for index in at) for row in tags.rows} == {
        (number, index, value)
        for number in range(count)
        for index, value in enumerate(record(number)["tags"])
    }
