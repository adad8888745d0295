"""Which changes of a destination ask for its credentials, and who has named it then."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from treadle.control.destination_operations import choose_setter, list_missing_credentials
from treadle.destinations.form import (
    DestinationForm,
    PropertiesRefusedError,
    UrlForm,
    merge_properties,
)
from treadle.destinations.form_registry import FORMS, find_form
from treadle.store.model import ConfiguredDestination, DestinationSetter

FOLDER = Path("/var/lib/treadle")
ROW = ConfiguredDestination(
    id=2,
    account_id=1,
    type="postgres",
    name="Lake",
    url="",
    created_at=0,
    updated_at=0,
    deleted_at=None,
    trouble=None,
    trouble_since=None,
    usable_since=None,
    set_by=DestinationSetter.OPERATOR,
)
SERVER = {"host": "PG", "port": "PG", "username": "", "password": ""}
STORE = {"s3_region": "", "s3_access_key_id": "", "s3_secret_access_key": ""}
TLS = {"ssl": "G", "sslrootcert": "G"}
TUNNEL = dict.fromkeys(
    ("encryption_type", "encryption_host", "encryption_port", "encryption_username"), ""
)
# Property -> P: it names the place; G: credentials are not kept beside another value. A new
# property has to be judged here.
JUDGED: dict[str, dict[str, str]] = {
    "bigquery_v2": {
        "cloud_storage_location": "",
        "loading_mode": "",
        "service_account_credentials": "",
        "project_id": "",
    },
    "clickhouse": SERVER | TLS,
    "duckdb": {"path": "P"},
    "iceberg": {
        "catalog": "P",
        "path": "P",
        "uri": "PG",
        "username": "PG",
        "password": "PG",
        "warehouse": "PG",
        "s3_endpoint": "PG",
        **STORE,
    },
    "mysql_destination": SERVER | TLS,
    "postgres": SERVER | TLS | TUNNEL | {"database": ""},
    "redshift": SERVER | TLS | TUNNEL | {"database": "", "s3": "", "iam_role": ""} | STORE,
    "s3": {
        "s3_bucket": "",
        "output_file_format": "",
        "s3_prefix": "",
        "path": "P",
        "s3_endpoint": "PG",
        **STORE,
    },
    "snowflake": SERVER | {"database": "", "warehouse": "", "role": ""},
    "other": {"url": "PG"},
}
STORE_URL = "&s3.endpoint=https://s3.example.com&s3.access-key-id=AK&s3.secret-access-key=theirs"
REST = f"iceberg+rest://id:theirs@lake.example.com/v1?warehouse=w1{STORE_URL}"
BUCKET = "files+s3://AK:theirs@s3.example.com/lake/in"
KEY = {
    "type": "service_account",
    "client_email": "a@b",
    "private_key": "theirs",
    "private_key_id": "1",
    "project_id": "shop-1234",
}
URLS = {
    "bigquery_v2": f"bigquery://shop-1234/?credentials={quote(json.dumps(KEY))}",
    "clickhouse": "clickhouse://me:theirs@db/",
    "duckdb": "duckdb:///x/lake.duckdb",
    "iceberg": REST,
    "mysql_destination": "mysql://me:theirs@db/",
    "postgres": "postgresql://me:theirs@db/shop",
    "redshift": "redshift://me:theirs@db/shop",
    "s3": BUCKET,
    "snowflake": "snowflake://me:theirs@x/db",
    "other": "other://theirs",
}
# Type, URL of the operator, a change, credentials that it asks for.
CHANGES: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    ("postgres", "postgresql://me:theirs@db/shop", {"host": "evil"}, ("password",)),
    ("postgres", "postgresql://me@db/shop?passfile=/x", {"host": "evil"}, ("password",)),
    ("postgres", "postgresql://me:theirs@db/shop", {"port": 1}, ("password",)),
    ("postgres", "postgresql://db/shop?sslmode=require", {"ssl": False}, ("password",)),
    ("postgres", "postgresql://me:theirs@db/shop", {"database": "x", "username": "y"}, ()),
    ("postgres", "postgresql://me:theirs@db/shop", {"host": "evil", "password": "x"}, ()),
    ("postgres", "postgresql://me:theirs@db/shop", {"host": "db", "port": 5432}, ()),
    ("redshift", "redshift://me:theirs@db/shop", {"host": "evil"}, ("password",)),
    ("mysql_destination", "mysql://me:theirs@db/", {"ssl": True}, ("password",)),
    ("clickhouse", "clickhouse://me:theirs@db/?secure=1", {"ssl": False}, ("password",)),
    ("clickhouse", "clickhouse://me:theirs@db/", {"host": "evil"}, ("password",)),
    ("snowflake", "snowflake://me:theirs@x/db", {"host": "evil"}, ("username", "password")),
    ("snowflake", "snowflake://me:theirs@x/db", {"role": "r", "database": "d"}, ()),
    ("iceberg", REST, {"uri": "http://evil/"}, ("password", "s3_secret_access_key")),
    ("iceberg", REST, {"warehouse": "w2"}, ("password", "s3_secret_access_key")),
    ("iceberg", REST, {"s3_endpoint": "http://evil"}, ("password", "s3_secret_access_key")),
    ("iceberg", REST, {"uri": "http://evil", "password": "x"}, ("s3_secret_access_key",)),
    ("iceberg", REST, {"username": "x"}, ("password", "s3_secret_access_key")),
    ("iceberg", REST, {"password": "x"}, ("s3_secret_access_key",)),
    ("iceberg", REST, {"s3_region": "eu-2", "path": "x.db"}, ()),
    ("s3", BUCKET, {"s3_endpoint": "http://evil"}, ("s3_secret_access_key",)),
    ("s3", BUCKET, {"s3_prefix": "b", "s3_region": "eu-1"}, ()),
    ("other", "other://theirs", {"url": "other://mine"}, ()),
    ("duckdb", "duckdb:///x/lake.duckdb", {"path": "a.duckdb"}, ()),
]


def find(type_: str) -> DestinationForm:
    return find_form(type_, FOLDER)


def test_every_property_is_judged() -> None:
    assert set(JUDGED) == {*FORMS, "other"}
    for type_, judged in JUDGED.items():
        found = {
            each.name: "P" * each.names_place + "G" * each.guards_secrets
            for each in find(type_).properties
        }
        assert found == judged, type_


@pytest.mark.parametrize(("type_", "url", "given", "missing"), CHANGES)
@pytest.mark.parametrize("set_by", list(DestinationSetter))
def test_credentials_of_the_operator_stay_where_the_operator_says(
    set_by: DestinationSetter,
    type_: str,
    url: str,
    given: dict[str, Any],
    missing: tuple[str, ...],
) -> None:
    form, row = find(type_), replace(ROW, type=type_, url=url, set_by=set_by)
    merged = merge_properties(form, given, url)
    found = list_missing_credentials(form, row, given, merged)
    assert found == (() if set_by is DestinationSetter.ACCOUNT else missing)
    assert list_missing_credentials(form, None, given, merged) == ()


def test_the_line_end_of_a_certificate_is_no_change() -> None:
    pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
    form = find("postgres")
    old = {"host": "db", "port": "1", "username": "me", "password": "theirs", "database": "shop"}
    given = old | {"ssl": "true", "sslrootcert": pem + "\n"}
    url = form.write_url(merge_properties(form, given, None), None)
    row = replace(ROW, url=url)
    same = {"sslrootcert": pem}
    assert list_missing_credentials(form, row, same, merge_properties(form, same, url)) == ()
    other = {"sslrootcert": pem.replace("MIIB", "MIIC")}
    merged = merge_properties(form, other, url)
    assert list_missing_credentials(form, row, other, merged) == ("password",)


@pytest.mark.parametrize("type_", list(JUDGED))
def test_who_names_the_place_names_the_destination(type_: str) -> None:
    form, url = find(type_), URLS[type_]
    every = [each.name for each in form.properties]
    assert choose_setter(form, None, [], url, []) == "account"
    for name, judged in JUDGED[type_].items():
        named = "account" if "P" in judged else "adjusted"
        for set_by in DestinationSetter:
            row = replace(ROW, type=type_, url=url, set_by=set_by)
            assert choose_setter(form, row, [], url, []) == set_by
            found = choose_setter(form, row, every, url, [name])
            assert found == (named if set_by is not DestinationSetter.ACCOUNT else "account")
            if type_ != "duckdb" and set_by is not DestinationSetter.ACCOUNT:
                # A credential of the operator is in it still, as with a path beside a server.
                assert choose_setter(form, row, [], url, [name]) == "adjusted"


def test_a_file_in_place_of_a_server_keeps_no_credential() -> None:
    for type_, given in (
        ("iceberg", {"catalog": "sql", "path": "a.db"}),
        ("s3", {"path": "a.files", "s3_bucket": None}),
    ):
        form, former = find(type_), URLS[type_]
        row = replace(ROW, type=type_, url=former)
        merged = merge_properties(form, given, former)
        assert list_missing_credentials(form, row, given, merged) == ()
        url = form.write_url(merged, former)
        assert "theirs" not in url
        assert choose_setter(form, row, given, url, list(given)) == "account"


@pytest.mark.parametrize(
    ("type_", "url", "given", "kept"),
    [
        ("iceberg", REST + "&token=T1", {"uri": "https://evil"}, False),
        ("iceberg", REST + "&token=T1", {"username": "x"}, True),
        ("iceberg", REST + "&s3.session-token=T1", {"s3_endpoint": "https://evil"}, False),
        ("iceberg", REST + "&s3.session-token=T1", {"username": "x"}, True),
        ("iceberg", REST + "&oauth2-server-uri=https://T1/", {"uri": "https://evil"}, False),
        ("s3", BUCKET + "?session-token=T1", {"s3_endpoint": "https://evil"}, False),
        ("s3", BUCKET + "?session-token=T1", {"s3_prefix": "b"}, True),
    ],
)
def test_a_token_that_is_no_property_does_not_go_to_another_server(
    type_: str, url: str, given: dict[str, Any], *, kept: bool
) -> None:
    form = find(type_)
    assert ("T1" in form.write_url(merge_properties(form, given, url), url)) == kept


@pytest.mark.parametrize("region", ["evil.example?", "evil.example/", "a.b", "x@evil", "evil#"])
def test_a_region_is_one_part_of_the_name_of_a_host(region: str) -> None:
    for type_, url in (("s3", BUCKET), ("iceberg", REST)):
        form = find(type_)
        with pytest.raises(PropertiesRefusedError) as refused:
            merge_properties(form, {"s3_region": region}, url)
        assert refused.value.names == ("s3_region",)
        for fits in ("eu-central-1", ""):
            assert merge_properties(form, {"s3_region": fits}, url)["s3_region"] == fits


def test_a_type_of_another_distribution_is_judged_by_its_url() -> None:
    assert isinstance(find("other"), UrlForm)
