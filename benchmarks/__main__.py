"""`python -m benchmarks [--full] [--only W1,W7] [--runs N] [--records N] [--out FOLDER]`.

With `--loaders N` treadle takes part a second time, with N processes that load into PostgreSQL.
With `--databases mysql` everybody loads into MariaDB.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from tests.servers.mariadb import MariaServer
from tests.servers.postgres import PostgresServer

from benchmarks import answers, limits, report, scale, stages, workloads
from benchmarks.contender import Contender, Missing, NotFor, Place, Wrong
from benchmarks.model import Model
from benchmarks.ours import Treadle
from benchmarks.peers import peers

if TYPE_CHECKING:
    from tests.servers.clickhouse import ClickhouseServer

POSTGRES = {"fsync": "on", "synchronous_commit": "on", "shared_buffers": "1GB"}
"""Settings of the PostgreSQL that everybody loads into; more room for its log keeps checkpoints,
which would hit one contender and not another, out of a run."""
POSTGRES_LOG = {"max_wal_size": "8GB", "checkpoint_timeout": "30min"}
MYSQL = {
    "innodb_flush_log_at_trx_commit": "1",
    "innodb_buffer_pool_size": "1G",
    "innodb_log_file_size": "4G",
}
"""Settings of MariaDB, for the same reasons."""
MYSQL_SHOWN = (*MYSQL, "innodb_doublewrite", "log_bin", "version")
SHOWN = (*POSTGRES, *POSTGRES_LOG, "full_page_writes", "work_mem", "wal_level")

SHORT = {"W1": 500_000, "W2": 500_000, "W3": 150_000, "W4": 150_000, "W5": 300_000, "W6": 20_000}
FULL = {**dict.fromkeys(("W1", "W2", "W3", "W4", "W5", "W6"), 1_000_000), "W5": 999_999}
PEERS_SHORT = {"W1": 30_000, "W2": 30_000, "W4": 60_000, "W6": 5_000}
"""Records that a peer gets in the short form; what it costs to start is measured and taken off."""
EVERYTHING = (
    *("W1", "W2", "W3", "W4", "W5", "W6", "acceptance", "W7", "W8", "disk", "stages", "scale"),
)
DATABASES = ("postgres", "duckdb", "sqlite")
"""Those that are loaded into where nobody says which."""
DEFAULTS = ("default", "arrow", "datasette")
"""Contenders that run in W1 and W2 only, which is where the targets speak of them."""


def main() -> int:
    asked = _asked()
    began = time.monotonic()
    results: dict[str, Any] = {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": report.machine(),
        "runs": asked.runs,
        "full": asked.full,
        "versions": {},
        "missing": {},
        "loads": {},
        "answers": {},
    }
    with ExitStack() as stack:
        server = stack.enter_context(PostgresServer(settings={**POSTGRES, **POSTGRES_LOG}))
        results["postgres"] = _settings(server)
        mariadb = None
        if "mysql" in asked.databases:
            mariadb = stack.enter_context(MariaServer(settings=MYSQL))
            results["mysql"] = _mysql_settings(mariadb)
        clickhouse = None
        if "clickhouse" in asked.databases:
            clickhouse = _start_clickhouse(stack)
        print(report.heading(results), flush=True)
        contenders = list(_present(results, asked))
        for run in range(asked.runs):
            for name in asked.only:
                if name in workloads.LOADS:
                    _load(name, asked, contenders, _place(server, mariadb, clickhouse), results)
                else:
                    _answer(name, asked, server, results)
                report.write(results, asked.out)
            print(
                f"run {run + 1} of {asked.runs} done, {time.monotonic() - began:.0f} s", flush=True
            )
        if "stages" in asked.only:
            _stages(server, mariadb, results)
        if "scale" in asked.only:
            results["scale"] = dict(scale.measure(server.create_database))
    results["seconds"] = round(time.monotonic() - began)
    report.write(results, asked.out)
    if asked.document:
        report.put_into(asked.document, results)
    print((asked.out / "results.md").read_text())
    return 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="a million records, five runs")
    parser.add_argument("--only", help=f"some of {','.join(EVERYTHING)}")
    parser.add_argument(
        "--databases",
        help="some of postgres,duckdb,sqlite,mysql,clickhouse,iceberg,files; the first three "
        "by default",
    )
    parser.add_argument("--runs", type=int)
    parser.add_argument("--records", type=int, help="of each load, instead of the form's")
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    parser.add_argument("--loaders", type=int, default=1, help="treadle with N loaders besides")
    parser.add_argument("--document", type=Path, help="a Markdown file to put the table into")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"))
    asked = parser.parse_args()
    if asked.only is None:
        asked.only = [name for name in EVERYTHING if asked.full or name != "scale"]
    else:
        asked.only = asked.only.split(",")
    asked.databases = asked.databases.split(",") if asked.databases else list(DATABASES)
    if asked.runs is None:
        asked.runs = 5 if asked.full else 1
    return asked


def _present(results: dict[str, Any], asked: argparse.Namespace) -> Iterator[Contender]:
    """The contenders that can take part; the others are noted with the reason."""
    everyone: list[Any] = [Treadle("postgres")]
    if asked.loaders > 1:
        everyone.append(Treadle("postgres", asked.loaders))
    everyone += [Treadle(each) for each in ("duckdb", "mysql", "clickhouse", "iceberg", "files")]
    everyone += [limits.PostgresLimit(), limits.DuckDBLimit()]
    everyone += [limits.MysqlLimit(), limits.ClickhouseLimit(), limits.IcebergLimit()]
    everyone.append(limits.FilesLimit())
    everyone += peers() if asked.peers else []
    for contender in everyone:
        if contender.database not in asked.databases:
            continue
        try:
            results["versions"][contender.name] = contender.ready()
        except (Missing, OSError) as error:
            results["missing"][contender.name] = str(error)
            print(f"{contender.name} cannot take part: {error}", flush=True)
        else:
            yield contender


def _load(
    name: str,
    asked: argparse.Namespace,
    contenders: list[Contender],
    where: "_place",
    results: dict[str, Any],
) -> None:
    """One workload with every contender, one after the other."""
    made: dict[int, tuple[workloads.Workload, Model]] = {}
    for contender in contenders:
        if name not in ("W1", "W2") and any(word in contender.name for word in DEFAULTS):
            continue
        count = asked.records or (FULL if asked.full else SHORT)[name]
        if contender.share < 1:
            few = PEERS_SHORT.get(name, 20_000)
            count = min(count, int(count * contender.share) if asked.full else few)
        if count not in made:
            workload = workloads.LOADS[name](count)
            made[count] = workload, Model(workload)
        workload, model = made[count]
        entry = (
            results["loads"]
            .setdefault(name, {})
            .setdefault(
                contender.name,
                {
                    "title": workload.title,
                    "records": workload.records,
                    "rates": [],
                    "faults": [],
                    "figures": [],
                    "database": contender.database,
                },
            )
        )
        with where as place:
            try:
                run = contender.run(workload, place)
                faults = model.faults(run.found) if run.found is not None else []
            except NotFor as error:
                entry["not for"] = str(error)
                print(f"{name}  {contender.name:34} takes no part: {error}", flush=True)
                continue
            except Wrong as error:
                entry["faults"].append(str(error))
                print(f"{name}  {contender.name:34} {error}", flush=True)
                continue
            finally:
                where.settle()
            rate = workload.records / run.seconds
            entry["figures"].append(run.figures)
            if faults:
                entry["faults"].append("; ".join(faults))
                entry.setdefault("rates of wrong tables", []).append(rate)
            else:
                entry["rates"].append(rate)
            said = "; ".join(faults) or f"{rate:10,.0f} records/s"
            print(f"{name}  {contender.name:34} {said}", flush=True)


def _answer(
    name: str, asked: argparse.Namespace, server: PostgresServer, results: dict[str, Any]
) -> None:
    """What is measured at the HTTP side or at the disk."""
    size = 4 if asked.full else 1
    where = _place(server)
    with where as place:
        if name == "acceptance":
            found = answers.acceptance(place, 250_000 * size)
        elif name == "W7":
            found = answers.w7(place, 20_000 * size)
        elif name == "W8":
            found = answers.w8(place, 15.0 * size)
        elif name == "disk":
            alone, grouped = limits.sqlite_rate(place.folder)
            found = {
                "fdatasync a second": limits.fdatasync_rate(place.folder),
                "SQLite commits a second": alone,
                "SQLite rows a second in groups of 64": grouped,
            }
        else:
            return
        where.settle()
    results["answers"].setdefault(name, []).append(found)
    print(f"{name}  {report.short(found)}", flush=True)


def _stages(server: PostgresServer, mariadb: MariaServer | None, results: dict[str, Any]) -> None:
    found = {}
    for name in ("W1", "W2", "W3", "W4", "W5", "W6"):
        workload = workloads.LOADS[name](10_000 if name == "W6" else 100_000)
        found[f"{name} PostgreSQL"] = stages.measure(workload, server.create_database())
        with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
            found[f"{name} DuckDB"] = stages.measure(workload, f"duckdb://{folder}/data.duckdb")
        if mariadb is not None:
            mariadb.empty()
            found[f"{name} MariaDB"] = stages.measure(workload, mariadb.url())
    results["stages"] = found


class _place:  # noqa: N801 - reads as a function
    """A folder and a database of each kind; `with _place(server) as place`."""

    def __init__(
        self,
        server: PostgresServer,
        mariadb: MariaServer | None = None,
        clickhouse: "ClickhouseServer | None" = None,
    ) -> None:
        self._server = server
        self._mariadb = mariadb
        self._clickhouse = clickhouse

    def __enter__(self) -> Place:
        self._folder = tempfile.TemporaryDirectory(prefix="treadle-bench-")
        self._made: list[str] = []
        place = Place(Path(self._folder.name), self._make(), self._make)
        if self._mariadb is not None:
            self._mariadb.empty()
            place.mysql, place.empty_mysql = self._mariadb.url(), self._mariadb.empty
        if self._clickhouse is not None:
            self._clickhouse.empty()
            place.clickhouse = self._clickhouse.url()
        return place

    def _make(self) -> str:
        self._made.append(self._server.create_database())
        return self._made[-1]

    def settle(self) -> None:
        """Begin the next run with nothing left to write from this one."""
        with closing(psycopg.connect(self._server.url(), autocommit=True)) as connection:
            connection.execute("CHECKPOINT")
        os.sync()

    def __exit__(self, *exc: object) -> None:
        for url in self._made:
            self._server.drop_database(url)
        self._folder.cleanup()


def _start_clickhouse(stack: ExitStack) -> "ClickhouseServer":
    from tests.servers.clickhouse import ClickhouseServer

    return stack.enter_context(ClickhouseServer())


def _settings(server: PostgresServer) -> dict[str, str]:
    with closing(psycopg.connect(server.url(), autocommit=True)) as connection:
        found = {}
        for name in ("server_version", *SHOWN):
            row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            found[name] = str(row[0]) if row else ""
        return found


def _mysql_settings(server: MariaServer) -> dict[str, str]:
    found = {name: server.execute(f"SELECT @@global.{name}")[0][0] for name in MYSQL_SHOWN}
    return {name: str(value) for name, value in found.items()}


if __name__ == "__main__":
    sys.exit(main())
