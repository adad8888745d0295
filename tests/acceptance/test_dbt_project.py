"""dbt itself, with DuckDB and PostgreSQL, builds the project of `examples/dbt`: `make dbt-test`."""

import os
import re
import shutil
import subprocess
import venv
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.servers.treadle import Client, TreadleServer, eventually

pytestmark = pytest.mark.release
"""It fetches dbt from the package index: some 200 MB."""

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "dbt"
ENVIRONMENT = "DBT_ENVIRONMENT"
"""Variable with the folder of an environment that has dbt already."""

ODD = ('{{ "x" }}', "a b", "A-b", "Größe", "it's", "a}}\n#{%", 'say "hi"', "1d", "no")
ODD_KEY = 'k "{{'
REVENUE = [("Ann", 2, 7, 11.5), ("Bob", 1, 1, 3.0)]


@pytest.fixture(scope="module")
def dbt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program."""
    root = Path(os.environ.get(ENVIRONMENT) or tmp_path_factory.mktemp("dbt"))
    program = root / "bin" / "dbt"
    if not program.exists():
        venv.create(root, with_pip=True)
        install = [str(root / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", str(EXAMPLE / "requirements.txt")], check=True, timeout=600)
    return program


class Project:
    """A copy of the example project, in which dbt runs on what a server loaded.

    Args:
        folder: of the copy.
        server: whose data folder `treadle dbt` reads.
        dbt: the program.
        target: of dbt: duckdb or postgres.
    """

    def __init__(self, folder: Path, server: TreadleServer, dbt: Path, target: str) -> None:
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("target", "logs", "treadle"))
        self.folder = folder
        self.published = Path(server.settings.get("publish", ""))
        self._server = server
        self._dbt = dbt
        self._target = target

    def write(self, *words: str) -> str:
        """Run `treadle dbt`."""
        named = ("--database", "loaded") if self._target == "duckdb" else ()
        return self._server.treadle("dbt", "--out", str(self.folder), *named, *words)

    def run(self, *words: str) -> str:
        """Run dbt; what it printed. Nothing may fail, warn or be deprecated."""
        environment = {
            **os.environ,
            "DO_NOT_TRACK": "1",
            "LOADED_FILE": str(self.published),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }
        if self._server.destination is not None:
            said = conninfo_to_dict(self._server.destination)
            environment |= {
                "PGHOST": str(said["host"]),
                "PGPORT": str(said["port"]),
                "PGUSER": str(said["user"]),
                "PGPASSWORD": str(said.get("password", "")),
                "PGDATABASE": str(said["dbname"]),
            }
        done = subprocess.run(
            [str(self._dbt), "--no-use-colors", *words, "--target", self._target],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert not re.search(r"deprecat|WARN=[1-9]|\[WARNING\]", done.stdout), done.stdout
        return done.stdout

    def query(self, statement: str) -> list[Any]:
        """Rows of what dbt built."""
        if self._server.destination is not None:
            with psycopg.connect(self._server.destination) as connection:
                return connection.execute(statement.encode()).fetchall()
        with duckdb.connect(str(self.folder / "analytics.duckdb")) as connection:
            connection.execute(f"ATTACH '{self.published}' AS loaded (READ_ONLY)")
            return connection.execute(statement).fetchall()


@pytest.mark.parametrize("target", ["duckdb", "postgres"])
def test_dbt_builds_the_example_and_what_has_odd_names(
    target: str, dbt: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_database") if target == "postgres" else None
    settings = {"load_age_seconds": "0.1"}
    if url is None:
        settings |= {"publish": str(tmp_path / "loaded.duckdb"), "publish_seconds": "1"}
    with TreadleServer(tmp_path / "data", url, settings) as server:
        client = Client(server, *server.account())
        _, token = client.create_source("Shop")
        orders = str(EXAMPLE / "orders.ndjson")
        push = ("push", orders, "--source", "shop", "--table", "orders", "--key", "id", "--wait")
        server.treadle(*push)
        for name in ODD:
            record = {"id": 1, f"c{name}": 1, name: [{name: name}]}
            assert client.push(token, [record], table=name).status_code == 201
        assert client.push(token, [{ODD_KEY: 1}], table="keys", keys=[ODD_KEY]).status_code == 201
        server.treadle("push", orders, "--source", "shop", "--table", "last", "--wait")
        project = Project(tmp_path / "analytics", server, dbt, target)
        if url is None:
            eventually(lambda: _holds_table(project.published, "last"))
        project.write("--freshness", "6h,2d")
        built = project.run("build")
        assert len(re.findall(r"OK created sql view model", built)) == 2 * (len(ODD) + 2) + 1
        assert re.search(r"PASS=(\d+) WARN=0 ERROR=0 SKIP=0 NO-OP=0 TOTAL=\1\b", built), built
        revenue = "select * from {}.revenue_by_customer order by customer"
        schema = "main" if url is None else "analytics"
        assert project.query(revenue.format(schema)) == REVENUE
        assert "PASS" in project.run("source", "freshness")
        project.run("docs", "generate")
        assert "Nothing changes" in project.write("--freshness", "6h,2d", "--check")


def _holds_table(file: Path, table: str) -> bool:
    if not file.exists():
        return False
    with duckdb.connect(str(file), read_only=True) as connection:
        statement = "SELECT 1 FROM duckdb_tables() WHERE table_name = $1"
        return connection.execute(statement, [table]).fetchone() is not None
