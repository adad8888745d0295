"""`treadle query` on a real DuckDB file."""

import csv
import io
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import duckdb
import psycopg
import pytest
from tests.integration.cli.conftest import Treadle
from tests.integration.cli.shop import Shop

from treadle.cli.query import query_destination
from treadle.config import Config
from treadle.destinations import retry
from treadle.destinations.protocol import DestinationUnavailableError
from treadle.errors import OperatorError
from treadle.store.key_files import load_cipher
from treadle.store.store import Store

TABLE = """
CREATE TABLE orders AS SELECT * FROM (VALUES
  (1, 'one', TIMESTAMPTZ '2024-01-02 03:04:05.5+00', 1.10::DECIMAL(9, 2), [1, 2]),
  (2, NULL, NULL, NULL, NULL)
) AS t(id, name, moment, price, tags)
"""


@pytest.fixture
def warehouse(data: Path) -> Path:
    data.mkdir(0o700)
    path = data / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(TABLE)
    return path


SELECT = "SELECT * FROM orders ORDER BY id"


@pytest.mark.usefixtures("warehouse")
def test_a_table_for_people(treadle: Treadle) -> None:
    done = treadle("query", SELECT)
    assert done.code == 0
    head, first, second = done.out.splitlines()
    assert head.split() == ["id", "name", "moment", "price", "tags"]
    assert first.split() == ["1", "one", "2024-01-02T03:04:05.500000Z", "1.10", "[1,2]"]
    assert second.split() == ["2"]


@pytest.mark.usefixtures("warehouse")
def test_json_for_programs(treadle: Treadle) -> None:
    assert treadle("query --json", SELECT).json == [
        {
            "id": 1,
            "name": "one",
            "moment": "2024-01-02T03:04:05.500000Z",
            "price": 1.1,
            "tags": [1, 2],
        },
        {"id": 2, "name": None, "moment": None, "price": None, "tags": None},
    ]


@pytest.mark.usefixtures("warehouse")
def test_csv_for_spreadsheets(treadle: Treadle) -> None:
    rows = list(csv.reader(io.StringIO(treadle("query --csv", SELECT).out)))
    assert rows == [
        ["id", "name", "moment", "price", "tags"],
        ["1", "one", "2024-01-02T03:04:05.500000Z", "1.10", "[1,2]"],
        ["2", "", "", "", ""],
    ]


@pytest.mark.usefixtures("warehouse")
@pytest.mark.parametrize("statement", ["SELEC", "SELECT * FROM nix", "DELETE FROM orders"])
def test_a_statement_that_fails_is_answered_with_the_databases_words(
    statement: str, treadle: Treadle
) -> None:
    done = treadle("query", statement)
    assert (done.code, done.out) == (2, "")
    assert "Error: " in done.err
    assert done.err.count("\n") == 1
    assert len(treadle("query --json", SELECT).json) == 2


def hold(path: Path) -> "subprocess.Popen[str]":
    """Another process that has the file open for writing, as the loader does."""
    program = (
        "import sys, duckdb\n"
        "connection = duckdb.connect(sys.argv[1])\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_file_the_loader_holds_is_waited_for(warehouse: Path) -> None:
    with hold(warehouse) as process:
        waits = 0

        def sleep(_: float) -> None:
            nonlocal waits
            waits += 1
            if waits == 3:
                process.communicate("")

        assert len(query_destination(f"duckdb://{warehouse}", SELECT, sleep=sleep).rows) == 2
    assert waits == 3


def test_a_file_that_stays_held_is_told_after_ten_seconds(warehouse: Path) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds * 20

    with hold(warehouse) as process:
        with pytest.raises(DestinationUnavailableError, match="is held by"):
            query_destination(f"duckdb://{warehouse}", SELECT, clock=lambda: now[0], sleep=sleep)
        process.communicate("")
    assert 10 <= now[0] <= 11.1


@pytest.mark.parametrize("statement", ["CREATE SCHEMA other", "DROP SCHEMA public CASCADE"])
def test_a_statement_that_would_change_something_is_refused_at_once(
    statement: str, postgres_database: str
) -> None:
    def sleep(_: float) -> None:
        pytest.fail("it is tried again")

    with pytest.raises(OperatorError, match="in a read-only transaction"):
        query_destination(postgres_database, statement, sleep=sleep)


def test_a_file_that_is_made_meanwhile_is_found(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"

    def load(_: float) -> None:
        with duckdb.connect(str(path)) as connection:
            connection.execute(TABLE)

    assert len(query_destination(f"duckdb://{path}", SELECT, sleep=load).rows) == 2


def test_another_destination_is_asked_when_it_is_named(
    tmp_path: Path, treadle: Treadle, data: Path
) -> None:
    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE other AS SELECT 7 AS x")
    done = treadle(f"query --json --destination duckdb://{path}", "SELECT x FROM other")
    assert done.json == [{"x": 7}]
    done = treadle("query --destination duckbd://x", "SELECT 1")
    assert done.code == 2
    assert "did you mean duckdb://?" in done.err


def test_the_destination_the_server_was_started_with_is_remembered(
    tmp_path: Path, treadle: Treadle, data: Path
) -> None:
    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE other AS SELECT 7 AS x")
    treadle("account create")
    config = Config(data=data)
    with closing(Store.open(config.store_url, load_cipher(config.key_path))) as store:
        store.destinations.set_default_destination(1, "duckdb", f"duckdb://{path}", "other")
    assert treadle("query --json", "SELECT x FROM other").json == [{"x": 7}]


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_what_is_not_loaded_yet_is_told_to_wait(
    kind: str, data: Path, treadle: Treadle, request: pytest.FixtureRequest
) -> None:
    url = None if kind == "duckdb" else request.getfixturevalue("postgres_database")
    select = 'SELECT * FROM "web"."orders"'
    told = (
        "records wait to be loaded: `treadle ledger` shows of which tables, `treadle doctor` what "
        "is wrong with the destination.\n"
    )
    shop = Shop(data, treadle, url)
    # Nothing waits: the database's own words are all there is to say.
    shop.push("events", [{"id": 1}], first=1)
    done = treadle("query", select)
    assert done.code == 2
    assert "orders" in done.err
    assert " accepted record" not in done.err
    shop.accept("orders", [{"id": 1}, {"id": 2}, {"id": 3}], first=1)
    done = treadle("query", select)
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith(f" 3 accepted {told}")
    assert "does not exist" in done.err
    # A slip of another kind has nothing to do with that.
    assert " accepted record" not in treadle("query", "SELEC").err
    shop.loader.load_once()
    assert len(treadle("query --json", select).json) == 3
    shop.close()


def test_what_waits_is_told_where_there_is_no_file_yet(
    data: Path, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "RETRY_SECONDS", 0.0)
    shop = Shop(data, treadle, None)
    assert " accepted record" not in treadle("query", "SELECT 1").err
    shop.accept("orders", [{"id": 1}], first=1)
    done = treadle("query", "SELECT 1")
    assert done.code == 2
    assert "does not exist yet; the first load makes it. 1 accepted record waits" in done.err
    shop.close()


@pytest.fixture(params=["duckdb", "postgres"])
def orders(
    request: pytest.FixtureRequest, data: Path, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> Treadle:
    """A destination with a table of 2,500 rows, as treadle loads them: its columns in any order."""
    url = f"duckdb://{data}/warehouse.duckdb"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_database")
        monkeypatch.setenv("TREADLE_DESTINATION", url)
    else:
        data.mkdir(0o700)
    statements = (
        "CREATE SCHEMA import_api",
        "CREATE TEMPORARY TABLE numbers AS SELECT m FROM generate_series(0, 499) AS t(m)",
        """
        CREATE TABLE import_api.orders (
            _sdc_sequence bigint, customer text, id bigint, price bigint, PRIMARY KEY (id)
        )
        """,
        """
        INSERT INTO import_api.orders
        SELECT n, CASE n WHEN 1 THEN NULL ELSE 'Ann, ' || n END, n, n
        FROM (SELECT unnest(ARRAY[0, 500, 1000, 1500, 2000]) + m AS n FROM numbers) AS t
        """,
    )
    if request.param == "duckdb":
        with duckdb.connect(str(data / "warehouse.duckdb")) as connection:
            for statement in statements:
                connection.execute(statement)
    else:
        with psycopg.connect(url, autocommit=True) as driver:
            for statement in statements:
                driver.execute(statement.encode())
    return treadle


WHOLE = "SELECT * FROM import_api.orders"


def test_a_screen_has_the_first_rows_and_tells_of_the_others(orders: Treadle) -> None:
    head, first, *rows, told = orders("query", WHOLE).out.splitlines()
    assert head.split() == ["id", "customer", "price", "_sdc_sequence"]
    assert first.split() == ["0", "Ann,", "0", "0", "0"]
    assert len(rows) == 999
    assert told == "1,000 of 2,500 rows; --csv for all"
    # A person who names columns gets them so.
    head, *_, told = orders("query --limit 2", f"{WHOLE.replace('*', 'price, id')};").out.split(
        "\n"
    )[:-1]
    assert (head.split(), told) == (["price", "id"], "2 of 2,500 rows; --csv for all")
    assert orders("query", f"{WHOLE} WHERE false").out.endswith("\nno rows\n")
    assert orders("query", f"{WHOLE} WHERE id = 1 -- one").out.count("\n") == 2


def test_programs_get_every_row(orders: Treadle) -> None:
    found = list(csv.reader(io.StringIO(orders("query --csv", f"{WHOLE} ORDER BY id").out)))
    assert found[0] == ["_sdc_sequence", "customer", "id", "price"]
    assert found[1:] == [
        [str(n), "" if n == 1 else f"Ann, {n}", str(n), str(n)] for n in range(2_500)
    ]
    assert len(orders("query --json", WHOLE).json) == 2_500
    assert orders("query --json", f"{WHOLE} WHERE false").json == []
    assert orders("query --csv", f"{WHOLE} WHERE false").out.count("\n") == 1


def test_a_table_is_found_without_its_schema(orders: Treadle) -> None:
    assert orders("query", "show tables").out.splitlines()[1].split() == [
        *("import_api", "orders", "table")
    ]
    for form in ("", "--csv "):
        done = orders(f"query {form}", "SELECT * FROM orders")
        assert (done.code, done.out) == (2, "")
        assert done.err.endswith('does not exist; did you mean "import_api"."orders"?\n')
    done = orders("query", "SELECT nix FROM import_api.orders")
    assert (done.code, done.out) == (2, "")
    assert "nix" in done.err
    assert "did you mean" not in done.err
