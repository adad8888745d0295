"""The loaders that people use today, each in a virtual environment of its own."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
from tests.servers.database_server import free_port

from benchmarks.contender import (
    Missing,
    NotFor,
    Place,
    Run,
    Wrong,
    in_duckdb,
    in_mysql,
    in_postgres,
    tables,
)
from benchmarks.model import Found
from benchmarks.workloads import Workload, w1

PATIENCE = 1800.0
_TROUBLE = re.compile("error|exception|fail", re.IGNORECASE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def cache_folder() -> Path:
    """Outside the tree, kept from run to run."""
    given = os.environ.get("BENCHMARK_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "treadle-benchmarks"


@cache
def environment(name: str, *packages: str) -> Path:
    """The `bin` folder of a virtual environment with these packages.

    Raises:
        Missing: they cannot be installed.
    """
    folder = cache_folder() / name
    stamp = folder / "installed"
    wanted = "\n".join(packages)
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        print(f"installing {', '.join(packages)} into {folder}", file=sys.stderr)
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                said = (done.stderr.strip() or "no reason given").splitlines()[-1]
                raise Missing(f"pip could not install {', '.join(packages)}: {said}")
        stamp.write_text(wanted)
    return folder / "bin"


def version(programs: Path, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run(
        [str(programs / "python"), "-c", code], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def timed(
    command: Sequence[str], place: Place, source: Path | None = None, **environ: str
) -> float:
    """Seconds of a program; raises Wrong with the last thing it said."""
    said = place.folder / "said"
    began = time.perf_counter()
    with said.open("wb") as out, (source or Path(os.devnull)).open("rb") as given:
        try:
            code = subprocess.run(
                command,
                stdin=given,
                stdout=out,
                stderr=out,
                cwd=place.folder,
                env={**os.environ, "HOME": str(place.folder), **environ},
                timeout=PATIENCE,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise Wrong(f"not done after {PATIENCE:.0f} s") from None
    seconds = time.perf_counter() - began
    if code:
        text = _COLOURS.sub("", said.read_text(errors="replace"))
        lines = [line for line in text.splitlines() if line.strip()]
        told = [line for line in lines if _TROUBLE.search(line)] or lines
        raise Wrong(f"ended with {code}: {told[-1].strip()[:300] if told else 'said nothing'}")
    return seconds


class _Program(ABC):
    """A program that is started for each load; what an empty load costs is taken off its time."""

    name = ""
    database = "postgres"
    share = 0.1
    _start: float | None = None

    def run(self, workload: Workload, place: Place) -> Run:
        started = self.start_seconds(place)
        source = place.folder / "input"
        self.write(workload, source)
        seconds = self.load(source, workload, place)
        found = self.found(workload, place)
        # On a busy machine the start may have taken longer than the whole does now.
        counted = max(seconds - started, seconds / 4)
        return Run(counted, found, {"start s": round(started, 2)})

    def start_seconds(self, place: Place) -> float:
        """Seconds for one record into a database of its own: start and end of the program."""
        if self._start is None:
            other = replace(place, folder=place.folder / "start", postgres=place.another())
            other.folder.mkdir()
            source = other.folder / "input"
            one = w1(1)
            self.write(one, source)
            self._start = self.load(source, one, other)
            place.empty_mysql()
        return self._start

    @abstractmethod
    def write(self, workload: Workload, source: Path) -> None:
        """Write the input."""

    @abstractmethod
    def load(self, source: Path, workload: Workload, place: Place) -> float:
        """Load it; gives the seconds."""

    def found(self, workload: Workload, place: Place) -> Found:
        """Its tables."""
        if self.database == "postgres":
            return in_postgres(place.postgres, "bench", tables(workload))
        if self.database == "mysql":
            return in_mysql(place.mysql, "bench", tables(workload))
        return in_duckdb(place.duckdb, "bench", tables(workload))


class Singer(_Program):
    """A Singer target for PostgreSQL, fed by a file."""

    def __init__(self, name: str, package: str, settings: dict[str, Any]) -> None:
        self.name = name
        self._package = package
        self._settings = settings

    def ready(self) -> str:
        self._programs = environment(self._package, self._package)
        return version(self._programs, self._package)

    def write(self, workload: Workload, source: Path) -> None:
        with source.open("wb") as file:
            file.writelines(line + b"\n" for line in workload.singer())

    def load(self, source: Path, workload: Workload, place: Place) -> float:
        url = urlsplit(place.postgres)
        config = place.folder / "config.json"
        there = {
            "host": url.hostname,
            "port": url.port,
            "user": url.username,
            "password": unquote(url.password or ""),
            "default_target_schema": "bench",
        }
        database = url.path.removeprefix("/")
        named = {"database": database} if "meltano" in self._package else {"dbname": database}
        config.write_text(json.dumps({**there, **named, **self._settings}))
        program = str(self._programs / "target-postgres")
        return timed([program, "--config", str(config)], place, source)


class Dlt(_Program):
    """dlt with `write_disposition: merge`."""

    def __init__(self, name: str, database: str, form: str, *, arrow: bool = False) -> None:
        self.name = name
        self.database = database
        self._form = form
        self._arrow = arrow

    def ready(self) -> str:
        if self.database == "mysql":
            packages = ("dlt[sqlalchemy]", "pymysql", "pyarrow")
            self._programs = environment("dlt-sqlalchemy", *packages)
        else:
            self._programs = environment("dlt", "dlt[postgres,duckdb]", "pyarrow")
        return version(self._programs, "dlt")

    def write(self, workload: Workload, source: Path) -> None:
        with source.open("wb") as file:
            # Without a column to sort by, dlt keeps any one of several records with one key.
            for number, (table, line) in enumerate(workload.lines()):
                file.write(b'%s\t{"seq":%d,%s\n' % (table.encode(), number, line[1:]))

    def load(self, source: Path, workload: Workload, place: Place) -> float:
        destination, credentials = {
            "postgres": ("postgres", place.postgres),
            "duckdb": ("duckdb", str(place.duckdb)),
            "mysql": ("sqlalchemy", place.mysql.replace("mysql://", "mysql+pymysql://")),
        }[self.database]
        script = Path(__file__).with_name("dlt_script.py")
        return timed(
            [
                *(str(self._programs / "python"), str(script), str(source)),
                *(destination, credentials, self._form, "arrow" if self._arrow else "records"),
            ],
            place,
            RUNTIME__DLTHUB_TELEMETRY="false",
            RUNTIME__LOG_LEVEL="ERROR",
            NORMALIZE__WORKERS="2",
        )


class Sling(_Program):
    """sling, the last version that has its program in a wheel."""

    name = "sling"

    def ready(self) -> str:
        self._programs = environment("sling", "sling-linux-amd64")
        return version(self._programs, "sling-linux-amd64")

    def write(self, workload: Workload, source: Path) -> None:
        if workload.tables > 1:
            raise NotFor("takes one table a run")
        with source.with_suffix(".jsonl").open("wb") as file:
            file.writelines(line + b"\n" for _, line in workload.lines())

    def load(self, source: Path, workload: Workload, place: Place) -> float:
        (program,) = (self._programs.parent / "lib").rglob(
            "sling_linux_amd64/bin/sling-linux-amd64"
        )
        program.chmod(0o755)
        return timed(
            [
                *(str(program), "run", "--src-stream", f"file://{source}.jsonl"),
                *("--src-options", "{flatten: true}"),
                *("--tgt-conn", "BENCH", "--tgt-object", "bench.orders"),
                *("--mode", "incremental", "--primary-key", "id"),
            ],
            place,
            BENCH=f"{place.postgres}?sslmode=disable",
            SLING_DISABLE_TELEMETRY="true",
        )


class Datasette:
    """Datasette's write API: HTTP upserts into SQLite, at most 100 rows a request by default."""

    name = "datasette"
    database = "sqlite"
    share = 0.05

    def ready(self) -> str:
        self._programs = environment("datasette", "--pre", "datasette")
        return version(self._programs, "datasette")

    def run(self, workload: Workload, place: Place) -> Run:
        path = place.folder / "data.sqlite"
        sqlite3.connect(path).close()
        port = free_port()
        command = [str(self._programs / "datasette"), str(path), "--port", str(port), "--root"]
        command += ["--setting", "max_insert_rows", "1000", "--secret", "bench"]
        log = (place.folder / "said").open("wb")
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            return self._sent(workload, place, port)
        finally:
            process.terminate()
            process.wait()
            log.close()

    def _sent(self, workload: Workload, place: Place, port: int) -> Run:
        token = subprocess.run(
            [str(self._programs / "datasette"), "create-token", "root", "--secret", "bench"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            timeout=60,
        )
        records = [json.loads(line) for _, line in workload.lines()]
        groups = [records[start : start + 1000] for start in range(0, len(records), 1000)]
        first = {"table": "orders", "rows": records[:1], "pk": "id"}
        self._wait(client)
        self._checked(client.post("/data/-/create", json=first))
        bodies = [json.dumps({"rows": group}).encode() for group in groups]
        began = time.perf_counter()
        for body in bodies:
            self._checked(client.post("/data/orders/-/upsert", content=body))
        seconds = time.perf_counter() - began
        (held,) = (
            sqlite3.connect(place.folder / "data.sqlite")
            .execute("SELECT count(*) FROM orders")
            .fetchone()
        )
        expected = len({record["id"] for record in records})
        if held != expected:
            raise Wrong(f"{held} rows, expected {expected}")
        return Run(seconds)

    @staticmethod
    def _wait(client: httpx.Client) -> None:
        for _ in range(200):
            try:
                client.get("/-/versions.json")
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return
        raise Wrong("did not listen")

    @staticmethod
    def _checked(answer: httpx.Response) -> None:
        if answer.status_code not in (200, 201):
            raise Wrong(f"{answer.status_code}: {answer.text[:300]}")


def peers() -> list[Any]:
    """All of them, with the best settings found and with their own."""
    meltano, pipelinewise = "meltanolabs-target-postgres", "pipelinewise-target-postgres"
    return [
        Singer(
            "meltanolabs, best",
            meltano,
            {"use_copy": True, "batch_size_rows": 100_000, "validate_records": False},
        ),
        Singer("meltanolabs, default", meltano, {}),
        Singer(
            "pipelinewise, best",
            pipelinewise,
            {"batch_size_rows": 100_000, "parallelism": 0, "flush_all_streams": False},
        ),
        Singer("pipelinewise, default", pipelinewise, {}),
        Dlt("dlt, csv", "postgres", "csv"),
        Dlt("dlt, default", "postgres", "default"),
        Dlt("dlt, arrow tables", "postgres", "csv", arrow=True),
        Dlt("dlt, parquet (DuckDB)", "duckdb", "parquet"),
        Dlt("dlt, default (DuckDB)", "duckdb", "default"),
        Dlt("dlt, arrow tables (DuckDB)", "duckdb", "parquet", arrow=True),
        Dlt("dlt, default (MariaDB)", "mysql", "default"),
        Dlt("dlt, parquet (MariaDB)", "mysql", "parquet"),
        Dlt("dlt, arrow tables (MariaDB)", "mysql", "parquet", arrow=True),
        Sling(),
        Datasette(),
    ]
