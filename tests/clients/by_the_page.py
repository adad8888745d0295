"""Sends with clients that have packages of their own, as the page says.

    python -m tests.clients.by_the_page [target-stitch] [taps] [singer] [meltano]
        [treadle-meltano] [dlt] [--into mysql]

`target-stitch`, three taps that add fields of their own, Meltano and dlt are sent with, into each
kind of destination: DuckDB, PostgreSQL, MariaDB, Iceberg and ClickHouse. The config of
`target-stitch`, the plugin for Meltano and the program for dlt are those of
`docs/how-to/send-with-clients.md`; only the server and the credentials are put in their places.
Each client gets a virtual environment in a temporary folder, or in the one that CLIENT_ENVIRONMENTS
names and keeps, because `target-stitch` pins versions that treadle cannot use. So this needs a
package index and some minutes, and is no part of the test suite.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.servers.clickhouse import ClickhouseServer
from tests.servers.mariadb import MariaServer
from tests.servers.postgres import PostgresServer
from tests.servers.treadle import TreadleServer, eventually

PAGE: Final = Path(__file__).parents[2] / "docs" / "how-to" / "send-with-clients.md"
SINGER_PAGE: Final = PAGE.with_name("singer-and-meltano.md")
BUILT_IN: Final = "https://treadle.example.com"
TOKEN: Final = "at_..."

SINGER: Final[list[dict[str, Any]]] = [
    {
        "type": "SCHEMA",
        "stream": "orders",
        "schema": {
            "type": "object",
            "properties": {
                "id": {"type": "integer"},
                "at": {"type": "string", "format": "date-time"},
                "price": {"type": ["null", "number"], "multipleOf": 0.01},
                "_sdc_last_modified": {"type": "string", "format": "date-time"},
            },
        },
        "key_properties": ["id"],
    },
    *(
        {
            "type": "RECORD",
            "stream": "orders",
            "record": {
                "id": number,
                "at": "2026-01-01T00:00:00Z",
                "price": 0.1,
                "_sdc_last_modified": "2026-01-02T00:00:00Z",
            },
        }
        for number in range(1000)
    ),
    {"type": "STATE", "value": {"at": 1000}},
]
"""What a tap prints, with a field that it adds itself."""

TAP_ROWS: Final = 1000


@dataclass(frozen=True)
class PublishedTap:
    """A tap of the package index that adds fields of its own.

    Attributes:
        package: with its version; the program has its name.
        config: makes it of the folder of its files.
        write: writes its files into a folder, with the programs of its environment.
        own: the fields that it adds.
        capabilities: that Meltano is told of.
    """

    package: str
    config: Callable[[Path], dict[str, Any]]
    write: Callable[[Path, Path], None]
    own: tuple[str, ...]
    capabilities: tuple[str, ...] = ("catalog", "discover", "state")

    @property
    def name(self) -> str:
        """Of the program."""
        return self.package.partition("==")[0]


def write_json_lines(folder: Path, _: Path) -> None:
    """A file with a JSON object in each line."""
    lines = (json.dumps({"id": n, "name": f"Ann {n}"}) + "\n" for n in range(TAP_ROWS))
    (folder / "rows.jsonl").write_text("".join(lines))


def write_csv(folder: Path, _: Path) -> None:
    """A file of comma separated values."""
    rows = "".join(f"{n},Ann {n}\r\n" for n in range(TAP_ROWS))
    (folder / "rows.csv").write_text("id,name\r\n" + rows, newline="")


def write_spreadsheet(folder: Path, programs: Path) -> None:
    """A workbook, written by the library that the tap reads it with."""
    program = f"""
import openpyxl
book = openpyxl.Workbook()
book.active.title = "Rows"
book.active.append(["id", "name"])
for n in range({TAP_ROWS}):
    book.active.append([n, f"Ann {{n}}"])
book.save("{folder / "rows.xlsx"}")
"""
    run_client([programs / "python", "-c", program])


TAPS: Final = (
    PublishedTap(
        "tap-jsonl==0.3.1",
        lambda folder: {
            "path": f"{folder}/*.jsonl",
            "stream_name": "tap_jsonl",
            "primary_keys": ["id"],
        },
        write_json_lines,
        ("_sdc_last_modified", "_sdc_filename", "_sdc_stream"),
    ),
    PublishedTap(
        "tap-csv-folder==0.0.1a1",
        lambda folder: {
            "path": str(folder),
            "filesystem": "local",
            "read_mode": "merge",
            "stream_name": "tap_csv_folder",
        },
        write_csv,
        ("_sdc_line_number", "_sdc_path", "_sdc_modified_at"),
    ),
    PublishedTap(
        "tap-spreadsheets==1.1.2",
        lambda folder: {
            "files": [
                {
                    "path": f"{folder}/rows.xlsx",
                    "format": "excel",
                    "worksheet": "Rows",
                    "table_name": "tap_spreadsheets",
                    "primary_keys": ["id"],
                }
            ]
        },
        write_spreadsheet,
        ("_sdc_last_modified", "_sdc_filename", "_sdc_stream", "_sdc_worksheet"),
    ),
)


def find_block(language: str, mark: str, page: Path = PAGE) -> str:
    """The first block of a page in a language that has a text in it."""
    blocks = re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)
    return next(str(block) for block in blocks if mark in block)


def make_environment(folder: Path, *packages: str) -> Path:
    """The folder of the programs of a virtual environment with these packages, made once."""
    programs = folder / "bin"
    if not programs.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([programs / "pip", "install", "--quiet", *packages], check=True)
    return programs


def run_client(
    command: list[Path | str],
    text: str = "",
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """What a client prints; it is to end well."""
    done = subprocess.run(
        [str(word) for word in command],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        cwd=folder,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class PageRun:
    """A server that clients send to.

    Attributes:
        server: with a source named import_api.
        client_id: of its account.
        token: an import token of the source.
        folder: for files of this run.
        shelf: for environments, which later runs have, too.
    """

    server: TreadleServer
    client_id: int
    token: str
    folder: Path
    shelf: Path

    @property
    def kind(self) -> str:
        """Of the destination: one of `KINDS`."""
        url = self.server.destination or "duckdb"
        scheme = url.partition("://")[0].partition("+")[0]
        return scheme.replace("postgresql", "postgres")

    @property
    def instant_type(self) -> str:
        """The type of a time, as `name_types` returns it."""
        others = {"mysql": "DATETIME", "clickhouse": "DATETIME64(6, 'UTC')"}
        return others.get(self.kind, "TIMESTAMP WITH TIME ZONE")

    @property
    def whole_type(self) -> str:
        """The type of a whole number, as `name_types` returns it."""
        return "INT64" if self.kind == "clickhouse" else "BIGINT"

    def send_by_target(self, lines: str) -> str:
        """Send what a tap printed; what `target-stitch` prints."""
        requirements = _find_requirements("target-stitch==[0-9.]+")
        programs = make_environment(self.shelf / "target", *requirements)
        config = json.loads(find_block("json", "batch_size_preferences"))
        assert config["token"] == TOKEN
        config |= {"client_id": self.client_id, "token": self.token}
        file = self.folder / "target.json"
        file.write_text(json.dumps(config).replace(BUILT_IN, self.server.url))
        return run_client([programs / "target-stitch", "--config", file], lines)

    def expect(self, table: str, count: int) -> None:
        """Wait for the rows of a table, none of them rejected."""
        query = f'select count(*) as n from import_api."{table}"'
        eventually(lambda: self.server.query(query) == [{"n": count}], 120)
        assert self.server.treadle("rejects", "list", "--json") in ("", "[]\n")

    def name_types(self, table: str, *columns: str) -> dict[str, str]:
        """The types of columns, in capitals, as the database names them."""
        if self.kind == "mysql":
            listed = ", ".join(f"'{name}'" for name in columns)
            found = self.server.query(
                "select column_name as name, upper(data_type) as type"
                " from information_schema.columns where table_schema = 'import_api'"
                f" and table_name = '{table}' and column_name in ({listed})"
            )
            return {row["name"]: row["type"] for row in found}
        spelled = {"postgres": 'pg_typeof("{}")::text', "clickhouse": 'toTypeName("{}")'}
        of_kind = spelled.get(self.kind, 'typeof("{}")')
        named = ", ".join(f'upper({of_kind.format(name)}) as "{name}"' for name in columns)
        [row] = self.server.query(f'select distinct {named} from import_api."{table}"')
        return {name: re.sub(r"NULLABLE\((.*)\)", r"\1", type_) for name, type_ in row.items()}


def run_target_stitch(run: PageRun) -> None:
    """Send what a tap prints, and look at the state and the rows."""
    lines = "".join(json.dumps(message) + "\n" for message in SINGER)
    state = run.send_by_target(lines)
    assert json.loads(state.splitlines()[-1]) == {"at": 1000}
    run.expect("orders", 1000)
    types = run.name_types("orders", "_sdc_last_modified")
    assert types == {"_sdc_last_modified": run.instant_type}


def run_taps(run: PageRun) -> None:
    """Send what published taps print; every field that they add is a column with values."""
    for tap in TAPS:
        programs = make_environment(run.shelf / tap.name, tap.package)
        files = run.folder / tap.name
        files.mkdir()
        tap.write(files, programs)
        config = run.folder / f"{tap.name}.json"
        config.write_text(json.dumps(tap.config(files)))
        run.send_by_target(run_client([programs / tap.name, "--config", config]))
        _expect_own_fields(run, tap, tap.name.replace("-", "_"))


def _expect_own_fields(run: PageRun, tap: PublishedTap, table: str) -> None:
    """Every record of a tap is a row, and its own fields have a value in each."""
    run.expect(table, TAP_ROWS)
    filled = ", ".join(f'count("{name}") as "{name}"' for name in tap.own)
    query = f'select count(distinct name) as names, {filled} from import_api."{table}"'
    assert run.server.query(query) == [dict.fromkeys(("names", *tap.own), TAP_ROWS)]


def run_meltano(run: PageRun) -> None:
    """Run Meltano with the plugin of the page, and a tap of the package index."""
    programs = make_environment(run.shelf / "meltano", "meltano")
    plugins = find_block("yaml", "target-stitch").replace(BUILT_IN, run.server.url)
    assert "client_id: 1\n" in plugins
    plugins = plugins.replace("client_id: 1\n", f"client_id: {run.client_id}\n")
    _run_meltano_tap(run, programs, plugins, "target-stitch", {"TARGET_STITCH_TOKEN": run.token})


def _run_meltano_tap(
    run: PageRun, programs: Path, plugins: str, loader: str, environment: Mapping[str, str]
) -> None:
    """Run a tap of the package index into a loader."""
    tap = TAPS[0]
    stream = f"meltano_{loader.replace('-', '_')}"
    project, files = run.folder / stream, run.folder / f"{stream}-rows"
    files.mkdir()
    tap.write(files, programs)
    write_project(project, plugins, tap, tap.config(files) | {"stream_name": stream})
    for words in (["install"], ["run", tap.name, loader]):
        run_client([programs / "meltano", *words], environment=environment, folder=project)
    _expect_own_fields(run, tap, stream)


def write_project(
    project: Path, plugins: str, tap: PublishedTap, config: Mapping[str, Any]
) -> None:
    """Make a project of Meltano with the loaders of a page and one tap."""
    project.mkdir()
    extractor = {
        "name": tap.name,
        "namespace": tap.name.replace("-", "_"),
        "pip_url": tap.package,
        "executable": tap.name,
        "settings": [{"name": name} for name in config],
        "config": config,
        "capabilities": tap.capabilities,
    }
    (project / "meltano.yml").write_text(
        "send_anonymous_usage_stats: false\nproject_id: treadle\n"
        f"environments:\n- name: dev\ndefault_environment: dev\n{plugins}"
        f"  extractors:\n  - {json.dumps(extractor)}\n"
    )


def run_dlt(run: PageRun) -> None:
    """Run the program of the page, with records that have every type it names."""
    programs = make_environment(run.shelf / "dlt", "dlt", "requests")
    file = run.folder / "pipeline.py"
    file.write_text(find_block("python", "@dlt.destination") + DLT_RECORDS)
    environment = {
        "DESTINATION__TREADLE__URL": run.server.url,
        "DESTINATION__TREADLE__TOKEN": run.token,
        "DLT_DATA_DIR": str(run.folder / "dlt-data"),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
    }
    for _ in range(2):  # what has a key replaces itself
        run_client([programs / "python", file], environment=environment)
    run.expect("typed", 2)
    types = run.name_types("typed", "at", "price", "n")
    assert types["at"] == run.instant_type
    assert types["price"].startswith(("DECIMAL", "NUMERIC"))
    assert types["n"] == run.whole_type


def run_singer(run: PageRun) -> None:
    """Send what published taps print with `treadle singer`."""
    for tap in TAPS:
        programs = make_environment(run.shelf / tap.name, tap.package)
        files = run.folder / f"singer-{tap.name}"
        files.mkdir()
        tap.write(files, programs)
        table = f"singer_{tap.name}".replace("-", "_")
        config = run.folder / f"singer-{tap.name}.json"
        config.write_text(json.dumps(tap.config(files)))
        printed = run_client([programs / tap.name, "--config", config])
        printed = printed.replace(json.dumps(tap.name.replace("-", "_")), json.dumps(table))
        environment = {"TREADLE_PUSH_URL": run.server.url, "TREADLE_PUSH_TOKEN": run.token}
        words = [sys.executable, "-m", "treadle", "singer", "--data", str(run.server.data)]
        run_client([*words, "--loaded"], printed, environment)
        _expect_own_fields(run, tap, table)


def run_treadle_meltano(run: PageRun) -> None:
    """Run Meltano with the plugin `target-treadle` of its page; it is installed from the source."""
    programs = make_environment(run.shelf / "meltano", "meltano")
    plugins = find_plugins(run)
    _run_meltano_tap(run, programs, plugins, "target-treadle", {"TARGET_TREADLE_TOKEN": run.token})


def find_plugins(run: PageRun) -> str:
    """The plugin definition of the page for `target-treadle`; it is installed from the source."""
    plugins = find_block("yaml", "target-treadle", SINGER_PAGE).replace(BUILT_IN, run.server.url)
    assert "pip_url: treadle\n" in plugins
    return plugins.replace("pip_url: treadle\n", f"pip_url: {PAGE.parents[2]}\n")


DLT_RECORDS: Final = """
from datetime import UTC
from decimal import Decimal

records = [
    {"id": n, "at": datetime(2026, 1, 1, tzinfo=UTC), "price": Decimal("0.10"), "n": n, "ok": True}
    for n in range(2)
]
pipeline.run(records, table_name="typed", primary_key="id")
"""

CLIENTS: Final[Mapping[str, Callable[[PageRun], None]]] = {
    "target-stitch": run_target_stitch,
    "taps": run_taps,
    "singer": run_singer,
    "meltano": run_meltano,
    "treadle-meltano": run_treadle_meltano,
    "dlt": run_dlt,
}


def _find_requirements(pattern: str) -> list[str]:
    """What the page installs."""
    found = re.search(pattern, PAGE.read_text())
    assert found, pattern
    return [found[0]]


def run_clients(
    clients: Mapping[str, Callable[[PageRun], None]],
    destination: str | None,
    folder: Path,
    shelf: Path,
) -> None:
    """Run clients against a new server."""
    with TreadleServer(folder / "data", destination) as server:
        client_id, _ = server.account()
        server.treadle("source", "create", "Import API")
        made = json.loads(server.treadle("token", "create", "import_api", "--json"))
        run = PageRun(server, client_id, made["access_token"], folder, shelf)
        for name, run_it in clients.items():
            run_it(run)
            sys.stdout.write(f"{name}, {run.kind}: as the page says\n")
            sys.stdout.flush()


KINDS: Final = ("duckdb", "postgres", "mysql", "iceberg", "clickhouse")


def main(clients: Mapping[str, Callable[[PageRun], None]], words: list[str]) -> None:
    """Run the clients with these names, or all, into each kind of destination."""
    parser = argparse.ArgumentParser()
    parser.add_argument("client", nargs="*", help=f"some of {', '.join(clients)}")
    parser.add_argument("--into", choices=KINDS, action="append", help="only into this")
    asked = parser.parse_args(words)
    chosen = {name: clients[name] for name in asked.client or clients}
    with tempfile.TemporaryDirectory() as own:
        shelf = os.environ.get("CLIENT_ENVIRONMENTS", own)
        for kind in asked.into or KINDS:
            with ExitStack() as stack:
                url = None
                if kind == "mysql":
                    url = stack.enter_context(MariaServer()).url()
                elif kind == "postgres":
                    url = stack.enter_context(PostgresServer()).create_database()
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                if kind == "iceberg":
                    url = f"iceberg+sql://{folder}/lake.db"
                elif kind == "clickhouse":
                    url = stack.enter_context(ClickhouseServer()).url()
                run_clients(chosen, url, Path(folder), Path(shelf))


if __name__ == "__main__":
    main(CLIENTS, sys.argv[1:])
