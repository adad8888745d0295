"""The forms of destinations: properties that are checked, and URLs made of them and read back."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from treadle.destinations.duckdb_form import DuckDBForm, move_url
from treadle.destinations.form import (
    PathRefusedError,
    PropertiesRefusedError,
    TunnelRefusedError,
    UrlForm,
    merge_properties,
)
from treadle.destinations.form_registry import list_forms
from treadle.destinations.postgres_form import PostgresForm
from treadle.destinations.registry import list_types

PEM = "-----BEGIN CERTIFICATE-----\nMIIB+/=\n-----END CERTIFICATE-----\n"
FULL: dict[str, Any] = {
    "host": "db.example.com",
    "port": "5432",
    "username": "loader",
    "password": "p/a:s@s?w#o%r&d",
    "database": "ware house",
    "ssl": "true",
    "encryption_type": "none",
}
FORM = PostgresForm()
FOLDER = Path("/var/lib/treadle")


def write(given_: dict[str, Any], former: str | None = None) -> str:
    return FORM.write_url(merge_properties(FORM, given_, former), former)


def refused(given_: dict[str, Any], former: str | None = None) -> tuple[str, ...]:
    with pytest.raises(PropertiesRefusedError) as caught:
        merge_properties(FORM, given_, former)
    return caught.value.names


def test_a_url_is_what_libpq_takes_and_gives_the_properties_back() -> None:
    url = write(FULL)
    assert conninfo_to_dict(url) == {
        "host": "db.example.com",
        "port": "5432",
        "user": "loader",
        "password": FULL["password"],
        "dbname": "ware house",
        "sslmode": "require",
    }
    assert FORM.read_url(url) == FULL


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(TEXTS, TEXTS, TEXTS)
def test_any_text_comes_back(user: str, password: str, database: str) -> None:
    sent = FULL | {"username": user, "password": password, "database": database}
    url = write(sent)
    assert FORM.read_url(url) == sent
    found = conninfo_to_dict(url)
    assert (found["user"], found["password"], found["dbname"]) == (user, password, database)


@pytest.mark.parametrize(("host", "shown"), [("::1", "[::1]"), ("10.0.0.7", "10.0.0.7")])
def test_an_address_is_a_host(host: str, shown: str) -> None:
    url = write(FULL | {"host": host})
    assert f"@{shown}:5432/" in url
    assert FORM.read_url(url)["host"] == host
    assert conninfo_to_dict(url)["host"] == host


def test_booleans_and_numbers_are_texts_from_then_on() -> None:
    found = merge_properties(FORM, FULL | {"ssl": False, "port": 6543}, None)
    assert (found["ssl"], found["port"]) == ("false", "6543")
    assert conninfo_to_dict(FORM.write_url(found, None))["sslmode"] == "disable"


def test_encryption_type_is_none_where_nothing_is_said() -> None:
    sent = {name: value for name, value in FULL.items() if name != "encryption_type"}
    assert merge_properties(FORM, sent, None) == FULL


@pytest.mark.parametrize(
    ("sent", "names"),
    [
        ({}, ("host", "port", "username", "password", "database", "ssl")),
        (FULL | {"host": "two words"}, ("host",)),
        (FULL | {"host": "/var/run/postgresql"}, ("host",)),
        (FULL | {"host": "a,b"}, ("host",)),
        (FULL | {"host": 7}, ("host",)),
        (FULL | {"port": "0"}, ("port",)),
        (FULL | {"port": "65536"}, ("port",)),
        (FULL | {"port": "٣"}, ("port",)),
        (FULL | {"port": "5432\n"}, ("port",)),
        (FULL | {"port": True}, ("port",)),
        (FULL | {"username": ""}, ("username",)),
        (FULL | {"password": None}, ("password",)),
        (FULL | {"password": "a\0b"}, ("password",)),
        (FULL | {"password": "\ud800"}, ("password",)),
        (FULL | {"ssl": "yes"}, ("ssl",)),
        (FULL | {"ssl": 1}, ("ssl",)),
        (FULL | {"sslrootcert": "/etc/passwd"}, ("sslrootcert",)),
        (FULL | {"sslrootcert": "system"}, ("sslrootcert",)),
        (FULL | {"encryption_type": "tls"}, ("encryption_type",)),
        (FULL | {"sslmode": "allow", "url": "x"}, ("sslmode", "url")),
    ],
)
def test_what_does_not_fit_is_named(sent: dict[str, Any], names: tuple[str, ...]) -> None:
    assert refused(sent) == names


def test_a_tunnel_is_refused() -> None:
    with pytest.raises(TunnelRefusedError, match="encryption_type ssh is not supported"):
        write(FULL | {"encryption_type": "ssh", "encryption_host": "jump", "encryption_port": 22})


def test_what_is_left_out_stays_and_parameters_of_the_operator_survive() -> None:
    former = (
        "postgresql://me:s3cret@old.example.com/shop?application_name=a%20b&sslmode=verify-ca"
        "&sslrootcert=/etc/ca.pem&hostaddr=10.0.0.1"
    )
    url = write({"port": 6543}, former)
    assert conninfo_to_dict(url) == conninfo_to_dict(former) | {"port": "6543"}
    # Another host has another address.
    url = write({"host": "new.example.com"}, former)
    assert conninfo_to_dict(url) == {
        "user": "me",
        "password": "s3cret",
        "host": "new.example.com",
        "port": "5432",
        "dbname": "shop",
        "application_name": "a b",
        "sslmode": "verify-ca",
        "sslrootcert": "/etc/ca.pem",
    }
    # The path of a file is the operator's, and is not shown.
    assert "sslrootcert" not in FORM.read_url(former)


def test_the_text_of_a_certificate_is_kept_and_taken_away() -> None:
    url = write(FULL | {"sslrootcert": PEM})
    assert conninfo_to_dict(url)["sslmode"] == "verify-full"
    assert FORM.read_url(url)["sslrootcert"] == PEM
    url = write({"ssl": False}, url)
    assert conninfo_to_dict(url)["sslmode"] == "disable"
    url = write({"ssl": True, "sslrootcert": None}, url)
    found = conninfo_to_dict(url)
    assert found["sslmode"] == "require"
    assert "sslrootcert" not in found


def test_parts_of_a_url_may_be_in_its_query_and_there_may_be_several_hosts() -> None:
    found = FORM.read_url("postgresql:///shop?host=/var/run&user=me&password=x")
    assert found == {
        "host": "/var/run",
        "port": "5432",
        "username": "me",
        "password": "x",
        "database": "shop",
        "ssl": "false",
        "encryption_type": "none",
    }
    several = "postgresql://me:x@a:1,[::2]:2/shop"
    assert FORM.read_url(several)["host"] == "a,::2"
    assert conninfo_to_dict(write({"database": "b"}, several)) == conninfo_to_dict(
        several.replace("shop", "b")
    )


DUCKDB = DuckDBForm(FOLDER)


@pytest.mark.parametrize("path", ["a.duckdb", "sub/b c%.duckdb", "./a.duckdb", "ä#.duckdb"])
def test_a_file_is_inside_of_the_folder(path: str) -> None:
    url = DUCKDB.write_url(merge_properties(DUCKDB, {"path": path}, None), None)
    assert DUCKDB.read_url(url) == {"path": path.removeprefix("./")}
    other = move_url(url, Path("/other place"))
    assert other == f"duckdb://{quote('/other place/./' + path.removeprefix('./'))}"
    assert DuckDBForm(Path("/other place")).read_url(other) == DUCKDB.read_url(url)


@pytest.mark.parametrize("path", ["/etc/a.duckdb", "../a.duckdb", "a/../../b.duckdb", "//x.duckdb"])
def test_a_file_outside_of_the_folder_is_refused(path: str) -> None:
    with pytest.raises(PathRefusedError):
        DUCKDB.write_url(merge_properties(DUCKDB, {"path": path}, None), None)


@pytest.mark.parametrize(
    "path", ["", "a", "a.db", "a?.duckdb", "a\\b.duckdb", ".duckdb\n", "a\0.duckdb", 7, None]
)
def test_a_path_that_duckdb_cannot_open_does_not_fit(path: object) -> None:
    with pytest.raises(PropertiesRefusedError):
        merge_properties(DUCKDB, {"path": path}, None)


def test_of_a_file_of_the_operator_elsewhere_the_name_is_shown() -> None:
    assert DUCKDB.read_url("duckdb:///var/lib/treadle/warehouse.duckdb") == {
        "path": "warehouse.duckdb"
    }
    elsewhere = "duckdb:///mnt/secret/place/big.duckdb"
    assert DUCKDB.read_url(elsewhere) == {"path": "big.duckdb"}
    assert move_url(elsewhere, Path("/x")) == elsewhere


def test_a_driver_without_a_form_has_its_url() -> None:
    form = UrlForm("elsewhere")
    assert merge_properties(form, {"url": "elsewhere://me:x@h"}, None) == {
        "url": "elsewhere://me:x@h"
    }
    with pytest.raises(PropertiesRefusedError):
        merge_properties(form, {"url": "postgresql://me:x@h"}, None)
    assert form.properties[0].is_credential


def test_the_installed_types_are_in_order() -> None:
    found = [form.type for form in list_forms(FOLDER) if form.type != "snowflake"]
    assert found == [
        "bigquery_v2",
        "clickhouse",
        "duckdb",
        "iceberg",
        "mysql_destination",
        "postgres",
        "redshift",
        "s3",
    ]
    # Its driver is there where a release is tested.
    assert ("snowflake" in list_types()) == (find_spec("snowflake") is not None)
