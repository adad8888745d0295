"""How fast `treadle push` brings files into PostgreSQL, and whether every value and type is right.

    python -m benchmarks.files [ndjson.gz] [csv] [parquet] [--records N] [--keyless] [--profile]

The time is from the start of the command to its end, with `--wait`: all rows are in the table then.
After it, every row is read back and compared with the record that was written.
"""

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from tests.servers.postgres import PostgresServer
from tests.servers.processes import children
from tests.servers.treadle import Client, TreadleServer

from benchmarks.hooked import POSTGRES
from benchmarks.ours import usage

FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS: Final = ("id", "code", "customer", "city", "pieces", "weight", "price", "paid", "sent_at")
CITIES: Final = ("Århus", "Berlin", "Casablanca", "Dún Laoghaire", "东京")
TARGET: Final = 100_000
"""Records a second."""


def make_record(number: int) -> dict[str, Any]:
    """A record; every ninth has no price, and codes begin with zeros."""
    return {
        "id": number,
        "code": f"{number % 1000:05d}",
        "customer": f'Customer "{number % 7919}", branch {number % 13}',
        "city": CITIES[number % 5],
        "pieces": number * 7919 % 1_000_003,
        "weight": (number % 10_007) / 8,
        "price": None if number % 9 == 0 else Decimal(number * 31 % 9_999_999).scaleb(-2),
        "paid": number % 3 == 0,
        "sent_at": FIRST + timedelta(seconds=number, microseconds=number % 1_000_000),
    }


def make_records(count: int) -> Iterator[dict[str, Any]]:
    return map(make_record, range(count))


def format_time(value: datetime) -> str:
    return value.isoformat(timespec="microseconds").replace("+00:00", "Z")


def write_ndjson(path: Path, count: int) -> None:
    with gzip.open(path, "wt", compresslevel=6) as out:
        for record in make_records(count):
            price = record["price"]
            told = record | {
                "price": None if price is None else float(price),
                "sent_at": format_time(record["sent_at"]),
            }
            out.write(json.dumps(told, ensure_ascii=False) + "\n")


def write_csv(path: Path, count: int) -> None:
    import csv

    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        for record in make_records(count):
            told = record | {
                "sent_at": format_time(record["sent_at"]),
                "paid": "true" if record["paid"] else "false",
            }
            writer.writerow([told[name] for name in COLUMNS])


def write_parquet(path: Path, count: int) -> None:
    fields: list[tuple[str, Any]] = [
        ("id", pa.int64()),
        ("code", pa.string()),
        ("customer", pa.string()),
        ("city", pa.string()),
        ("pieces", pa.int32()),
        ("weight", pa.float64()),
        ("price", pa.decimal128(12, 2)),
        ("paid", pa.bool_()),
        ("sent_at", pa.timestamp("us", tz="UTC")),
    ]
    schema = pa.schema(fields)
    with pq.ParquetWriter(path, schema) as out:
        for start in range(0, count, 100_000):
            rows = [make_record(number) for number in range(start, min(count, start + 100_000))]
            out.write_table(pa.Table.from_pylist(rows, schema))


WRITERS: Final[Mapping[str, Callable[[Path, int], None]]] = {
    "ndjson.gz": write_ndjson,
    "csv": write_csv,
    "parquet": write_parquet,
}
SCHEMA: Final = {"properties": {"sent_at": {"type": "string", "format": "date-time"}}}
"""Given with JSON, which has no times."""


def expect(record: dict[str, Any], form: str) -> tuple[Any, ...]:
    """The row of a record: prices are doubles but for Parquet, which has decimals."""
    price = record["price"]
    told = record | {"price": price if price is None or form == "parquet" else float(price)}
    return tuple(told[name] for name in COLUMNS)


def compare(url: str, form: str, count: int) -> None:
    """Compare every row with its record, value and type."""
    names = ", ".join(COLUMNS)
    with (
        psycopg.connect(url) as connection,
        connection.cursor("rows") as cursor,
    ):
        cursor.itersize = 20_000
        cursor.execute(f"SELECT {names} FROM bench.parcels ORDER BY id")
        seen = 0
        for row, record in zip(cursor, make_records(count), strict=True):
            wanted = expect(record, form)
            assert row == wanted, (row, wanted)
            assert list(map(type, row)) == list(map(type, wanted)), (row, wanted)
            seen += 1
    assert seen == count


def measure_children() -> float:
    """Processor seconds of the processes that this one started, and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def find_child(name: str) -> int:
    """The child of this process that runs a program."""
    for pid in children(os.getpid()):
        if name in Path(f"/proc/{pid}/cmdline").read_text():
            return pid
    raise LookupError(name)


def measure_tree(pid: int) -> float:
    """Processor seconds of a process, its children, and those of them that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(map(measure_tree, children(pid)))


def push(
    server: TreadleServer, file: Path, asked: argparse.Namespace, token: str, database: int
) -> None:
    """Push a file as a user does."""
    command = [sys.executable, "-m", "treadle", "push", str(file), "--table", "parcels", "--wait"]
    if not asked.keyless:
        command += ["--key", "id"]
    if file.name.endswith("ndjson.gz"):
        schema = file.parent / "schema.json"
        schema.write_text(json.dumps(SCHEMA))
        command += ["--schema", str(schema)]
    if asked.profile:
        command[1:2] = ["-m", "cProfile", "-s", "tottime", "-m"]
    environment = {"TREADLE_DATA": str(server.data), "TREADLE_PUSH_URL": server.url}
    environment["TREADLE_PUSH_TOKEN"] = token
    spent = measure_children()
    others = {
        "PostgreSQL cpu": (database, measure_tree(database)),
        "server cpu": (server.process.pid, measure_tree(server.process.pid)),
    }
    began = time.perf_counter()
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    print("\n".join(done.stdout.splitlines()[: 40 if asked.profile else 2]))
    rate = asked.records / seconds
    verdict = "" if rate >= TARGET else f", below {TARGET:,}"
    costs = {name: measure_tree(pid) - before for name, (pid, before) in others.items()}
    costs["client cpu"] = measure_children() - spent
    print(f"{file.name}: {rate:,.0f} records/s, {seconds:.1f} s in all{verdict}")
    print(f"  { ({name: round(one, 1) for name, one in costs.items()}) }; {usage(server)}")
    # What two cores would do that have nothing else to do, and never wait.
    total = sum(costs.values())
    print(f"  {total:.1f} processor seconds: {asked.records / total * 2:,.0f}/s on two cores")


def run(form: str, asked: argparse.Namespace, postgres: PostgresServer, folder: Path) -> None:
    file = folder / f"parcels.{form}"
    WRITERS[form](file, asked.records)
    url = postgres.create_database()
    data = folder / f"data-{form}"
    with TreadleServer(data, url) as server:
        _, token = Client(server, *server.account()).create_source("bench")
        push(server, file, asked, token, find_child("postgres"))
    compare(url, form, asked.records)
    print(f"{file.name}: {asked.records:,} rows are as written, {file.stat().st_size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("forms", nargs="*", choices=[*WRITERS, []], default=[])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--keyless", action="store_true")
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    with PostgresServer(settings=POSTGRES) as postgres, tempfile.TemporaryDirectory() as folder:
        for form in asked.forms or WRITERS:
            run(form, asked, postgres, Path(folder))


if __name__ == "__main__":
    main()
