"""`python -m benchmarks.clickhouse [--records N] [--runs N]`: into ClickHouse, W1 and W2.

Beside treadle, its own INSERT of the same rows, ready-made as Arrow, into a table of the same
engine by the same way. The server is the engine of chDB behind a door (`tests/servers/clickhouse`),
on the same machine, so both share its processors with it.
"""

import argparse
import io
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
from tests.servers.clickhouse import ClickhouseServer
from tests.servers.treadle import TreadleServer

from benchmarks.limits import MOMENT, parts
from benchmarks.model import HASHED, Model, Sum
from benchmarks.ours import CONNECTIONS, LOOK, begin, usage, with_client
from benchmarks.sender import request, send
from benchmarks.workloads import LOADS, Workload
from treadle.log.sqlite.log import SqliteReader

COLUMNS = {
    "id": pa.int64(),
    "name": pa.string(),
    "email": pa.string(),
    "amount": pa.float64(),
    "quantity": pa.int64(),
    "active": pa.bool_(),
    "created_at": pa.timestamp("us", tz="UTC"),
    "note": pa.string(),
}
TYPES = {
    pa.int64(): "Int64",
    pa.string(): "String",
    pa.float64(): "Float64",
    pa.bool_(): "Bool",
    pa.timestamp("us", tz="UTC"): "DateTime64(6, 'UTC')",
}
SYSTEM = {
    "_sdc_batched_at": pa.timestamp("us", tz="UTC"),
    "_sdc_received_at": pa.timestamp("us", tz="UTC"),
    "_sdc_sequence": pa.int64(),
    "_sdc_table_version": pa.int64(),
}
BOUND = 0.4
"""Of its own INSERT."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clickhouse", description=__doc__)
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    print("| workload | | records a second | of its own INSERT | peak MB (worker, loader) |")
    print("|---|---|---:|---:|---:|")
    reached = True
    with ClickhouseServer() as server:
        for name in ("W1", "W2"):
            workload = LOADS[name](asked.records)
            model = Model(workload)
            limits = [measure_limit(workload, model, server) for _ in range(asked.runs)]
            ours = [measure_treadle(workload, model, server) for _ in range(asked.runs)]
            own, rate = median(limits), median(rate for rate, _ in ours)
            peaks = [max(figures[k] for _, figures in ours) for k in ("worker 1 MB", "loader MB")]
            print(f"| {name} | INSERT of Arrow | {own:,.0f} | | |")
            print(
                f"| {name} | treadle | {rate:,.0f} | {rate / own:.0%} | {peaks[0]}, {peaks[1]} |",
                flush=True,
            )
            reached &= rate >= BOUND * own
    return 0 if reached else 1


def measure_treadle(
    workload: Workload, model: Model, server: ClickhouseServer
) -> tuple[float, dict[str, Any]]:
    """Records a second, from the first byte of the first request to the last row."""
    server.empty()
    with (
        tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder,
        TreadleServer(Path(folder) / "treadle", server.url()) as treadle,
    ):
        port, schema, token, client = begin(treadle)
        bodies = with_client(workload.requests, client)
        requests = [request(workload.path, token, port, body) for body in bodies]
        log = SqliteReader(treadle.data / "log.sqlite")
        began = time.perf_counter()
        send(port, requests, CONNECTIONS)
        while log.list_backlogs():
            time.sleep(LOOK)
        seconds = time.perf_counter() - began
        log.close()
        figures = usage(treadle)
    check(server, schema, model)
    return workload.records / seconds, figures


def measure_limit(workload: Workload, model: Model, server: ClickhouseServer) -> float:
    """Records a second of INSERTs of the same rows."""
    server.empty()
    listed = ", ".join(
        f"{name} {TYPES[t] if name in ('id', '_sdc_sequence') else f'Nullable({TYPES[t]})'}"
        for name, t in (COLUMNS | SYSTEM).items()
    )
    bodies = [encode(rows) for rows in parts(workload)]
    server.execute(
        "CREATE DATABASE bench",
        f"CREATE TABLE bench.orders ({listed}, gone UInt8 MATERIALIZED 0)"
        " ENGINE = ReplacingMergeTree(_sdc_sequence, gone) ORDER BY id",
        "SELECT 1",
    )
    client = server.connect()
    began = time.perf_counter()
    for body in bodies:
        client.raw_insert("bench.orders", list(COLUMNS | SYSTEM), body, fmt="ArrowStream")
    seconds = time.perf_counter() - began
    client.close_connections()
    check(server, "bench", model)
    return workload.records / seconds


def encode(rows: list[tuple[int, dict[str, Any]]]) -> bytes:
    """Rows as a stream of Arrow."""
    at = datetime.fromisoformat(MOMENT)
    columns: dict[str, Any] = {
        name: pa.array(
            [
                datetime.fromisoformat(record[name]).astimezone(UTC)
                if name == "created_at"
                else record[name]
                for _, record in rows
            ],
            type_,
        )
        for name, type_ in COLUMNS.items()
    }
    for name, value in (("_sdc_batched_at", at), ("_sdc_received_at", at)):
        columns[name] = pa.array([value] * len(rows), SYSTEM[name])
    columns["_sdc_sequence"] = pa.array([sequence for sequence, _ in rows], pa.int64())
    columns["_sdc_table_version"] = pa.array([0] * len(rows), pa.int64())
    table = pa.table(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def check(server: ClickhouseServer, schema: str, model: Model) -> None:
    """Compare a table with what must be there.

    Raises:
        SystemExit: it differs.
    """
    row = (
        "concatWithSeparator('|', toString(id), name, email, toString(toInt64(round(amount * 1000"
        "))), toString(quantity), if(active, '1', '0'), toString(toUnixTimestamp(created_at)),"
        " note)"
    )
    digits = f"concat(repeat('0', {16 - HASHED}), substring(lower(hex(MD5({row}))), 1, {HASHED}))"
    number = f"toUInt128(reinterpretAsUInt64(reverse(unhex({digits}))))"
    [(rows, total)] = server.execute(f"SELECT count(), sum({number}) FROM {schema}.orders FINAL")
    if Sum(int(rows), int(total)) != model.root:
        raise SystemExit(f"wrong: {rows} rows, expected {model.root.rows}, or wrong values")


if __name__ == "__main__":
    sys.exit(main())
