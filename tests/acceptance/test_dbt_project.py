"""dbt itself builds `examples/dbt` on DuckDB and PostgreSQL, as the page about it says.

`make dbt-test` passes it by itself.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.servers.shell import typed
from tests.servers.treadle import Client, TreadleServer, eventually

pytestmark = pytest.mark.release
"""It fetches dbt from the package index: some 200 MB."""

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "dbt"
PAGE = ROOT / "docs" / "how-to" / "model-with-dbt.md"
ENVIRONMENT = "DBT_ENVIRONMENT"
"""Variable with the folder of an environment that has dbt already."""

MADE = "dbt-environment"
ODD = ('{{ "x" }}', "a b", "A-b", "Größe", "it's", "a}}\n#{%", 'say "hi"', "1d", "no")
ODD_KEY = 'k "{{'
REVENUE = [("Ann", 2, 7, 11.5), ("Bob", 1, 1, 3.0)]


def find_lines(words: str) -> list[str]:
    """The lines of the page's block that has the words."""
    blocks = re.findall(r"```\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [block] = [block for block in blocks if words in block]
    return str(block).replace("examples/dbt", str(EXAMPLE)).splitlines()


def is_installation(line: str) -> bool:
    return line.startswith(("python3 -m venv", f"{MADE}/bin/pip"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment with dbt."""
    if found := os.environ.get(ENVIRONMENT):
        return Path(found)
    folder = tmp_path_factory.mktemp("installed")
    lines = [line for line in find_lines("-m venv") if "venv" in line or "pip" in line]
    install = "\n".join(line for line in lines if is_installation(line))
    typed(install.replace("analytics/", f"{EXAMPLE}/"), folder=folder)
    return folder / MADE


def query(folder: Path, server: TreadleServer, statement: str) -> list[Any]:
    """Rows of what dbt built in a project."""
    if server.destination is not None:
        with psycopg.connect(server.destination) as connection:
            return connection.execute(statement.encode()).fetchall()
    with duckdb.connect(str(folder / "analytics.duckdb")) as file:
        return file.execute(statement).fetchall()


def load_odd_names(server: TreadleServer) -> None:
    client = Client(server, *server.account())
    _, token = client.create_source("Shop")
    for name in ODD:
        record = {"id": 1, f"c{name}": 1, name: [{name: name}]}
        assert client.push(token, [record], table=name).status_code == 201
    assert client.push(token, [{ODD_KEY: 1}], table="keys", keys=[ODD_KEY]).status_code == 201


@pytest.mark.parametrize("target", ["duckdb", "postgres"])
def test_the_page_builds_the_example_beside_tables_with_odd_names(
    target: str, environment: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_database") if target == "postgres" else None
    published = tmp_path / "loaded.duckdb"
    settings = {"load_age_seconds": "0.1"}
    variables = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TREADLE_DATA": str(tmp_path / "data"),
        "NO_COLOR": "1",
        "DBT_USE_COLORS": "false",
        "DO_NOT_TRACK": "1",
    }
    if url is None:
        settings |= {"publish": str(published), "publish_seconds": "1"}
    else:
        said = conninfo_to_dict(url)
        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}
        variables |= {name: str(said[key]) for key, name in names.items()}
        variables |= {"PGPASSWORD": str(said.get("password", "")), "TREADLE_DESTINATION": url}
    prepare = [line for line in find_lines("-m venv") if not is_installation(line)]
    export = f"export PATH={environment}/bin:$PATH"
    [place] = [n for n, line in enumerate(prepare) if line.startswith("export PATH=")]
    prepare[place] = export
    build = find_lines(f"dbt build --target {target}")
    with TreadleServer(tmp_path / "data", url, settings) as server:
        load_odd_names(server)
        typed("\n".join(prepare), variables, tmp_path)
        if url is None:
            eventually(lambda: _holds_orders(published), 60)
        built = typed("\n".join([export, *build]), variables, tmp_path)
        assert built.count("OK created sql view model") == 2 * len(ODD) + 1 + 2, built
        assert re.search(r"PASS=(\d+) WARN=0 ERROR=0 SKIP=0 NO-OP=0 TOTAL=\1\b", built), built
        assert not re.search(r"deprecat|\[WARNING\]", built, re.IGNORECASE), built
        project = tmp_path / "analytics"
        schema = "main" if url is None else "analytics"
        revenue = f"select * from {schema}.revenue_by_customer order by customer"
        assert query(project, server, revenue) == REVENUE
        named = "--database loaded" if url is None else ""
        fresh = (
            f"treadle dbt --out . {named} --freshness 6h,2d\nLOADED_FILE={published} dbt source "
        )
        told = typed(f"{export}\n{fresh} freshness --target {target}", variables, project)
        assert told.count("PASS freshness of") == len(ODD) + 2, told


def _holds_orders(file: Path) -> bool:
    if not file.exists():
        return False
    with duckdb.connect(str(file), read_only=True) as connection:
        found = connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'orders'")
        return found.fetchone() is not None
