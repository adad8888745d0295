"""Which destination a URL means, and what a wrong one is answered."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from treadle.destinations import registry
from treadle.destinations.protocol import Destination
from treadle.destinations.registry import make_destination
from treadle.errors import OperatorError


def test_a_duckdb_file(tmp_path: Path) -> None:
    destination = make_destination(f"duckdb://{tmp_path}/a%20b.duckdb")
    assert destination.kind == "duckdb"
    assert destination.identity == f"duckdb://{tmp_path.resolve()}/a b.duckdb"
    assert destination.profile.display_name == "DuckDB"
    assert not list(tmp_path.iterdir())


def test_a_relative_duckdb_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert make_destination("duckdb://data/a.duckdb").identity == (
        f"duckdb://{tmp_path.resolve()}/data/a.duckdb"
    )


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "PostgreSQL"])
def test_a_postgresql_database(scheme: str) -> None:
    destination = make_destination(f"{scheme}://me:s3cret@DB.example:6543/shop?sslmode=require")
    assert destination.kind == "postgres"
    assert destination.identity == "postgresql://db.example:6543/shop"
    assert destination.profile.display_name == "PostgreSQL"


def test_the_identity_does_not_depend_on_the_credentials() -> None:
    one = make_destination("postgresql://me:s3cret@db/shop").identity
    other = make_destination("postgresql://you@db:5432/shop?application_name=x").identity
    assert one == other == "postgresql://db:5432/shop"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("duckbd:///a.duckdb", "did you mean duckdb://?"),
        ("postgresq://h/d", "did you mean postgresql://?"),
        (
            "zzz://h/d",
            (
                "known are bigquery, clickhouse, duckdb, files, files+s3, iceberg+rest, "
                "iceberg+sql, mariadb, mysql, postgres, postgresql, redshift, snowflake"
            ),
        ),
        ("/var/lib/data.duckdb", "has no ://"),
        ("duckdb://", "expected duckdb:///absolute/path.duckdb"),
        ("duckdb://:memory:", "expected duckdb:///absolute/path.duckdb"),
        ("duckdb:///var/lib/", "expected duckdb:///absolute/path.duckdb"),
        ("duckdb:///var/what?.duckdb", "cannot open a file whose path has '?' in it"),
        ("duckdb:///var/a%3Fb/x.duckdb", "cannot open a file whose path has '?' in it"),
        ("duckdb:///var/a%5Cb.duckdb", r"cannot open a file whose path has '\\' in it"),
    ],
)
def test_a_wrong_url_is_told_what_was_expected(url: str, expected: str) -> None:
    with pytest.raises(OperatorError) as fault:
        make_destination(url)
    assert expected in str(fault.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cr%et@db/shop",
        "postgresql://me:s3cret@db/shop?nonsense=1",
        "postgresql://me:an@s3cret@db/shop",
        "postgresql://me@srv:s3cret@db/shop",
        "postgresql://me:s3cret/a@db/shop",
        "me:s3cret@db/shop",
        "mysq://me:s3cret@db/shop",
    ],
)
def test_no_secret_of_a_wrong_url_is_repeated(url: str) -> None:
    with pytest.raises(OperatorError) as fault:
        make_destination(url)
    assert "s3cr" not in str(fault.value)
    assert fault.value.__cause__ is None


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("treadle.destinations.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(OperatorError, match=r'pip install "treadle\[postgres\]"'):
        make_destination("postgresql://me@db/shop")


def made_elsewhere(url: str) -> Destination:
    return make_destination(url.replace("elsewhere://", "duckdb://"))


def test_a_back_end_of_another_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("elsewhere", f"{__name__}:made_elsewhere", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert make_destination("elsewhere:///a.duckdb").identity == "duckdb:///a.duckdb"
    with pytest.raises(OperatorError, match="did you mean elsewhere://"):
        make_destination("elsewher:///a")
