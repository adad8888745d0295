"""Destination types and destinations, numbered, to the byte (connect-rest.md A.2.1, A.2.2).

D01 to D09: types. D10 to D29: answers. D30 to D59: refusals. All with both eras.
"""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.integration.control.api import Answer, Api, MakeApi

from treadle.control import destination_operations
from treadle.control.app import ConnectApiSettings
from treadle.destinations.protocol import Destination
from treadle.destinations.registry import make_destination
from treadle.store.model import DestinationSetter

PASSWORD = "s3cret/pa@ss"
POSTGRES: dict[str, Any] = {
    "host": "db.example.com",
    "port": "5432",
    "username": "loader",
    "password": PASSWORD,
    "database": "warehouse",
    "ssl": "false",
    "encryption_type": "none",
}
POST_RULE = (
    "POST body may only include a type, a name, a description, map of properties, and boolean for "
    "unmapped sources"
)
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.fixture(params=["seed", "modern"])
def api(request: pytest.FixtureRequest, make_api: MakeApi, tmp_path: Path) -> Api:
    """A server of each era, on which accounts may have three destinations."""
    return make_api(
        ConnectApiSettings(era=request.param, destinations_max=3, duckdb_folder=tmp_path)
    )


def post(api: Api, **more: Any) -> Answer:
    return api.post("/v4/destinations", {"type": "postgres", "properties": POSTGRES} | more)


def make(api: Api, **more: Any) -> Any:
    answer = post(api, **more)
    assert answer.status == 200, answer.text
    return answer.body


def text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def descriptor(name: str, schema: dict[str, Any], provided: bool, **more: bool) -> dict[str, Any]:
    return {
        "name": name,
        "is_required": True,
        "is_credential": False,
        "system_provided": False,
        "property_type": "user_provided",
        "json_schema": schema,
        "provided": provided,
        **more,
    }


STRING = {"type": "string"}
REGION = {"type": "string", "pattern": "^[A-Za-z0-9_-]*$"}
DIGITS = {"type": "string", "pattern": "^\\d+$"}
HOST = {
    "anyOf": [
        {"type": "string", "format": "ipv4"},
        {"type": "string", "format": "ipv6"},
        {"type": "string", "format": "hostname"},
    ]
}
SSL = {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": "^(true|false)$"}]}
CERTIFICATE = {
    "type": "string",
    "pattern": "^\\s*-----BEGIN CERTIFICATE-----[\\s\\S]+-----END CERTIFICATE-----\\s*$",
}


def postgres_card(*, configured: bool, **provided: bool) -> dict[str, Any]:
    optional = {"is_required": False}
    tunnel = {"type": "string", "pattern": "^(ssh|none)$"}
    properties = [
        descriptor("host", HOST, configured),
        descriptor("port", DIGITS, configured),
        descriptor("username", STRING, configured),
        descriptor("password", STRING, configured, is_credential=True),
        descriptor("database", STRING, configured),
        descriptor("ssl", SSL, configured),
        descriptor("encryption_type", tunnel, configured),
        descriptor("encryption_host", STRING, False, **optional),
        descriptor("encryption_port", DIGITS, False, **optional),
        descriptor("encryption_username", STRING, False, **optional),
        descriptor("sslrootcert", CERTIFICATE, provided.get("sslrootcert", False), **optional),
    ]
    return {
        "type": "postgres",
        "current_step": 2 if configured else 1,
        "current_step_type": "fully_configured" if configured else "form",
        "steps": [
            {"type": "form", "properties": properties},
            {"type": "fully_configured", "properties": []},
        ],
    }


SERVER_STEPS = {
    "current_step": 1,
    "current_step_type": "form",
    "steps": [
        {
            "type": "form",
            "properties": [
                descriptor("host", HOST, False),
                descriptor("port", DIGITS, False),
                descriptor("username", STRING, False),
                descriptor("password", STRING, False, is_credential=True),
                descriptor("ssl", SSL, False, is_required=False),
                descriptor("sslrootcert", CERTIFICATE, False, is_required=False),
            ],
        },
        {"type": "fully_configured", "properties": []},
    ],
}
MYSQL_CARD = {"type": "mysql_destination", **SERVER_STEPS}
CLICKHOUSE_CARD = {"type": "clickhouse", **SERVER_STEPS}
SNOWFLAKE_CARD = {
    "type": "snowflake",
    "current_step": 1,
    "current_step_type": "form",
    "steps": [
        {
            "type": "form",
            "properties": [
                descriptor("host", HOST, False),
                descriptor("port", DIGITS, False),
                descriptor("username", STRING, False, is_credential=True),
                descriptor("password", STRING, False, is_credential=True),
                descriptor("database", STRING, False),
                descriptor("warehouse", STRING, False),
                descriptor("role", STRING, False, is_required=False),
            ],
        },
        {"type": "fully_configured", "properties": []},
    ],
}


FOLDER = {
    "type": "string",
    "pattern": r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_.=-]+)*/?$",
}
ROLE = {
    "type": "string",
    "pattern": r"^(default|arn:aws[a-z-]*:iam::\d{12}:role/[A-Za-z0-9_+=,.@/:-]+)$",
}


def redshift_card() -> dict[str, Any]:
    """As that of PostgreSQL, with what need not be given, and more."""
    card = postgres_card(configured=False)
    form = card["steps"][0]
    for each in form["properties"]:
        if each["name"] == "ssl":
            each["is_required"] = False
    form["properties"] += [
        descriptor("s3", FOLDER, False, is_required=False),
        descriptor("iam_role", ROLE, False, is_required=False),
        descriptor(
            "s3_region", {"type": "string", "pattern": "^[a-z0-9-]+$"}, False, is_required=False
        ),
        descriptor("s3_access_key_id", STRING, False, is_required=False),
        descriptor("s3_secret_access_key", STRING, False, is_required=False, is_credential=True),
    ]
    return card | {"type": "redshift"}


WEB = {"type": "string", "pattern": r"^https?://[^\s/@?#]+[^\s@?#]*$"}
ICEBERG_CARD = {
    "type": "iceberg",
    "current_step": 1,
    "current_step_type": "form",
    "steps": [
        {
            "type": "form",
            "properties": [
                descriptor("catalog", {"type": "string", "pattern": "^(sql|rest)$"}, False),
                descriptor(
                    "path",
                    {"type": "string", "pattern": r"^[^?\\#%]+\.db$"},
                    False,
                    is_required=False,
                ),
                descriptor("uri", WEB, False, is_required=False),
                descriptor("username", STRING, False, is_required=False),
                descriptor("password", STRING, False, is_required=False, is_credential=True),
                descriptor("warehouse", STRING, False, is_required=False),
                descriptor("s3_endpoint", WEB, False, is_required=False),
                descriptor("s3_region", REGION, False, is_required=False),
                descriptor("s3_access_key_id", STRING, False, is_required=False),
                descriptor(
                    "s3_secret_access_key", STRING, False, is_required=False, is_credential=True
                ),
            ],
        },
        {"type": "fully_configured", "properties": []},
    ],
}
FILES_CARD = {
    "type": "s3",
    "current_step": 1,
    "current_step_type": "form",
    "steps": [
        {
            "type": "form",
            "properties": [
                descriptor(
                    "s3_bucket",
                    {"type": "string", "pattern": "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"},
                    False,
                    is_required=False,
                ),
                descriptor("output_file_format", {"type": "string", "pattern": "^parquet$"}, False),
                descriptor(
                    "s3_prefix",
                    {"type": "string", "pattern": r"^[A-Za-z0-9!_.*'()/-]{1,60}$"},
                    False,
                    is_required=False,
                ),
                descriptor("s3_endpoint", WEB, False, is_required=False),
                descriptor("s3_region", REGION, False, is_required=False),
                descriptor("s3_access_key_id", STRING, False, is_required=False),
                descriptor(
                    "s3_secret_access_key", STRING, False, is_required=False, is_credential=True
                ),
                descriptor(
                    "path",
                    {"type": "string", "pattern": r"^[^/?\\#%]+\.files$"},
                    False,
                    is_required=False,
                ),
            ],
        },
        {"type": "fully_configured", "properties": []},
    ],
}


BIGQUERY_CARD = {
    "type": "bigquery_v2",
    "current_step": 1,
    "current_step_type": "form",
    "steps": [
        {
            "type": "form",
            "properties": [
                descriptor(
                    "cloud_storage_location",
                    {"type": "string", "pattern": r"^[A-Za-z0-9-]+$"},
                    False,
                ),
                descriptor(
                    "loading_mode", {"type": "string", "pattern": "^(UPSERT|APPEND_ONLY)$"}, False
                ),
                descriptor(
                    "service_account_credentials",
                    {"anyOf": [{"type": "object"}, {"type": "string"}]},
                    False,
                    is_credential=True,
                ),
                descriptor("project_id", STRING, False, is_required=False),
            ],
        },
        {"type": "fully_configured", "properties": []},
    ],
}


def details(type_: str, *, is_proven: bool = True) -> dict[str, Any]:
    return {
        "pricing_tier": "standard",
        "pipeline_state": "released" if is_proven else "beta",
        "protocol": type_,
        "access": True,
    }


DUCKDB_CARD = (
    '{"type":"duckdb","current_step":1,"current_step_type":"form","steps":[{"type":"form",'
    '"properties":[{"name":"path","is_required":true,"is_credential":false,"system_provided":false,'
    '"property_type":"user_provided","json_schema":{"type":"string","pattern":'
    '"^[^?\\\\\\\\]+\\\\.duckdb$"},"provided":false}]},{"type":"fully_configured","properties":[]}],'
    '"details":{"pricing_tier":"standard","pipeline_state":"released","protocol":"duckdb",'
    '"access":true}}'
)


def test_d01_a_card_for_each_installed_driver(api: Api) -> None:
    expected = postgres_card(configured=False) | {"details": details("postgres")}
    mysql = MYSQL_CARD | {"details": details("mysql_destination")}
    clickhouse = CLICKHOUSE_CARD | {"details": details("clickhouse")}
    iceberg = ICEBERG_CARD | {"details": details("iceberg")}
    files = FILES_CARD | {"details": details("s3")}
    redshift = redshift_card() | {"details": details("redshift", is_proven=False)}
    bigquery = BIGQUERY_CARD | {"details": details("bigquery_v2", is_proven=False)}
    first, then = (bigquery, clickhouse), [iceberg, mysql, expected, redshift, files]
    if find_spec("snowflake") is not None:  # where a release is tested
        then.append(SNOWFLAKE_CARD | {"details": details("snowflake", is_proven=False)})
    cards = ",".join([*map(text, first), DUCKDB_CARD, *map(text, then)])
    assert api.get("/v4/destination-types").text == f"[{cards}]"
    assert api.get("/v4/destination-types/bigquery_v2").text == text(bigquery)
    assert api.get("/v4/destination-types/iceberg").text == text(iceberg)
    assert api.get("/v4/destination-types/s3").text == text(files)
    assert api.get("/v4/destination-types/mysql_destination").text == text(mysql)
    assert api.get("/v4/destination-types/clickhouse").text == text(clickhouse)
    assert api.get("/v4/destination-types/duckdb").text == DUCKDB_CARD
    assert api.get("/v4/destination-types/redshift").text == text(redshift)
    assert api.get("/v4/destination-types/postgres").text == text(expected)


def test_d02_an_unknown_type(api: Api) -> None:
    answer = api.get("/v4/destination-types/panoply")
    assert (answer.status, answer.text) == (
        404,
        '{"error":"InvalidType","data":{"message":"invalid destination type (panoply)"}}',
    )


def test_d03_a_driver_of_another_distribution(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "treadle.destinations.form_registry.list_types", lambda: ["duckdb", "elsewhere"]
    )
    [_, card] = api.get("/v4/destination-types").body
    assert card["type"] == card["details"]["protocol"] == "elsewhere"
    [asked] = card["steps"][0]["properties"]
    assert (asked["name"], asked["is_credential"]) == ("url", True)
    assert api.get("/v4/destination-types/postgres").status == 404


def test_d10_a_created_destination(api: Api) -> None:
    source = api.create()
    answer = post(api, description="Staging.", name="Staging")
    row = answer.body
    expected = {
        "description": "Staging.",
        "properties": {
            "database": "warehouse",
            "encryption_type": "none",
            "host": "db.example.com",
            "port": "5432",
            "ssl": "false",
            "username": "loader",
        },
        "updated_at": row["updated_at"],
        "check_job_name": row["check_job_name"],
        "name": "Staging",
        "type": "postgres",
        "deleted_at": None,
        "system_paused_at": None,
        "stitch_client_id": api.account.id,
        "paused_at": None,
        "id": source["id"] + 1,
        "display_name": None,
        "created_at": row["updated_at"],
        "report_card": postgres_card(configured=True),
    }
    assert (answer.status, answer.text) == (200, text(expected))
    assert row["check_job_name"].startswith(f"{api.account.id}.{row['id']}.check.")
    assert api.get("/v4/destinations").text == text([expected])
    assert api.get(f"/v4/destinations/{row['id']}").text == text(expected)


def test_d11_booleans_numbers_and_a_certificate(api: Api) -> None:
    sent = POSTGRES | {"ssl": True, "port": 6543, "sslrootcert": PEM}
    row = make(api, properties=sent)
    assert row["properties"] == {
        "database": "warehouse",
        "encryption_type": "none",
        "host": "db.example.com",
        "port": "6543",
        "ssl": "true",
        "sslrootcert": PEM,
        "username": "loader",
    }
    assert row["report_card"] == postgres_card(configured=True, sslrootcert=True)
    [kept] = api.store.destinations.list_destinations()
    assert "sslmode=verify-full" in kept.url


def test_d12_names_where_none_is_given(api: Api) -> None:
    names = [make(api)["name"], make(api)["name"]]
    duckdb = make(api, type="duckdb", properties={"path": "second.duckdb"}, name=None)
    assert [*names, duckdb["name"]] == ["Default Warehouse", "postgres", "duckdb"]
    assert duckdb["properties"] == {"path": "second.duckdb"}
    assert duckdb["description"] is None


def test_d13_the_first_one_is_the_default(api: Api) -> None:
    source = api.create()["id"]
    ignoring = make(api, ignore_unmapped_sources=True)["id"]
    assert api.get(f"/v4/destinations?source_id={source}").body == []
    first, second = make(api)["id"], make(api)["id"]
    [its] = api.get(f"/v4/destinations?source_id={source}").body
    assert its["id"] == first
    listed = [row["id"] for row in api.get("/v4/destinations").body]
    assert listed == [ignoring, first, second] == sorted(listed)


def test_d14_filters(api: Api) -> None:
    source, own = api.create()["id"], api.create("Own")["id"]
    first, second = make(api)["id"], make(api)["id"]
    assert api.put(f"/v4/sources/{own}", {"destination_id": second}).status == 200

    def ids(query: str) -> list[int]:
        return [row["id"] for row in api.get(f"/v4/destinations?{query}").body]

    assert ids(f"source_id={source}") == [first]
    assert ids(f"source_id={own}") == [second]
    assert ids(f"destination_id={second}") == [second]
    assert ids(f"source_id={own}&destination_id={first}") == []
    assert ids("source_id=999999") == ids("destination_id=x") == ids("source_id=") == []


def test_d15_a_put_merges_and_keeps_the_credential(api: Api) -> None:
    row = make(api, name="Staging", description="d")
    answer = api.put(f"/v4/destinations/{row['id']}", {"properties": {"host": "10.1.2.3"}})
    assert answer.status == 200
    changed = answer.body
    assert changed["properties"] == row["properties"] | {"host": "10.1.2.3"}
    assert changed["updated_at"] > row["updated_at"]
    # The check of the new place is another one.
    assert changed["check_job_name"] != row["check_job_name"]
    new = {"properties": 0, "updated_at": 0, "check_job_name": ""}
    assert {**changed, **new} == {**row, **new}
    [kept] = api.store.destinations.list_destinations()
    assert kept.url == (
        "postgresql://loader:s3cret%2Fpa%40ss@10.1.2.3:5432/warehouse?sslmode=disable"
    )
    # The same again changes nothing.
    again = api.put(f"/v4/destinations/{row['id']}", {"properties": {"host": "10.1.2.3"}})
    assert again.text == answer.text


def test_d16_a_deleted_one_is_gone(api: Api) -> None:
    source, own = api.create()["id"], api.create("Own")["id"]
    first, second = make(api)["id"], make(api)["id"]
    api.put(f"/v4/sources/{own}", {"destination_id": second})
    for gone in (second, first):
        answer = api.delete(f"/v4/destinations/{gone}")
        assert (answer.status, answer.text) == (200, "{}")
        assert api.get(f"/v4/destinations/{gone}").text == '"invalid connection id"'
    assert api.get("/v4/destinations").text == "[]"
    assert api.store.destinations.list_stranded_sources() == [source, own]
    # Nothing of it is kept that opens the database.
    assert [row.url for row in api.store.destinations.list_destinations()] == ["", ""]
    third = make(api)["id"]
    for each in (source, own):
        [its] = api.get(f"/v4/destinations?source_id={each}").body
        assert its["id"] == third
    assert api.store.destinations.list_stranded_sources() == []


def test_d17_a_source_of_a_deleted_one_does_not_load_elsewhere(api: Api) -> None:
    own = api.create("Own")["id"]
    make(api)
    second = make(api)["id"]
    api.put(f"/v4/sources/{own}", {"destination_id": second})
    api.delete(f"/v4/destinations/{second}")
    assert api.get(f"/v4/destinations?source_id={own}").body == []
    # One that takes no sources leaves it alone, and the next one takes it.
    make(api, ignore_unmapped_sources=True)
    assert api.get(f"/v4/destinations?source_id={own}").body == []
    third = make(api)["id"]
    assert [row["id"] for row in api.get(f"/v4/destinations?source_id={own}").body] == [third]


def test_d18_parameters_of_the_operator_survive(api: Api) -> None:
    row = api.store.destinations.set_default_destination(
        api.account.id, "postgres", "postgresql://me:x@db/shop?application_name=etl", "db"
    )
    answer = api.put(f"/v4/destinations/{row.id}", {"properties": {"username": "you"}})
    assert answer.body["properties"]["username"] == "you"
    [kept] = api.store.destinations.list_destinations()
    assert kept.url == "postgresql://you:x@db:5432/shop?application_name=etl"
    assert kept.set_by == "adjusted"


def test_d19_one_account_knows_nothing_of_another(api: Api) -> None:
    row = make(api)
    _, token = api.another_account()
    assert api.get("/v4/destinations", token=token).body == []
    path = f"/v4/destinations/{row['id']}"
    assert api.get(path, token=token).pair == (404, "invalid connection id")
    assert api.put(path, {"properties": {}}, token=token).pair == (400, "invalid connection id")
    assert api.delete(path, token=token).status == 400
    source = api.create()["id"]
    assert api.get(f"/v4/destinations?source_id={source}", token=token).body == []


Refusal = tuple[str, Callable[[Api, int], Answer], int, Callable[[Api, int], object]]


def _post(body: object) -> Callable[[Api, int], Answer]:
    return lambda api, _: api.post("/v4/destinations", body)


def _properties(**changes: object) -> dict[str, Any]:
    return {"type": "postgres", "properties": POSTGRES | changes}


def _put(body: object) -> Callable[[Api, int], Answer]:
    return lambda api, id_: api.put(f"/v4/destinations/{id_}", body)


def _says(message: str) -> Callable[[Api, int], object]:
    return lambda api, id_: message.format(account=api.account.id, id=id_)


def _mismatch(names: str) -> Callable[[Api, int], object]:
    return _says(f"properties do not match schema: {names}")


BODIES: list[object] = [
    [],
    {},
    {"type": "postgres"},
    {"properties": POSTGRES},
    _properties() | {"display_name": "x"},
    _properties() | {"name": ""},
    _properties() | {"name": 7},
    _properties() | {"description": []},
    _properties() | {"ignore_unmapped_sources": "true"},
    {"type": "", "properties": POSTGRES},
    {"type": "postgres", "properties": []},
]
DUCKDB = {"type": "duckdb", "properties": {"path": "a.duckdb"}}
OUTSIDE = "path is outside of the folder for DuckDB files"
NO_TUNNEL = "encryption_type ssh is not supported"
FIXED = "this API endpoint does not support modifying destination type"
UPDATE_RULE = "PUT body may only include a map of properties"

REFUSALS: list[Refusal] = [
    (
        "D30",
        lambda api, _: api.get("/v4/destinations?page=1"),
        400,
        _says("GET may only include the params: source_id and/or destination_id"),
    ),
    ("D31", lambda api, _: api.get("/v4/destinations/999"), 404, _says("invalid connection id")),
    ("D31", lambda api, _: api.get("/v4/destinations/abc"), 404, _says("invalid connection id")),
    *(("D32", _post(body), 400, _says(POST_RULE)) for body in BODIES),
    ("D33", lambda api, _: api.post("/v4/destinations", raw=b"{"), 400, _says(POST_RULE)),
    (
        "D34",
        _post({"type": "panoply", "properties": {}}),
        400,
        _says("invalid destination type (panoply)"),
    ),
    ("D35", _post(_properties(ssl="maybe", port=0)), 400, _mismatch("port, ssl")),
    ("D36", _post(_properties(sslmode="allow")), 400, _mismatch("sslmode")),
    (
        "D37",
        _post({"type": "postgres", "properties": {}}),
        400,
        _mismatch("host, port, username, password, database, ssl"),
    ),
    ("D38", _post(_properties(encryption_type="ssh")), 400, _says(NO_TUNNEL)),
    *(
        ("D39", _post({"type": "duckdb", "properties": {"path": path}}), 400, _says(OUTSIDE))
        for path in ("/etc/a.duckdb", "../a.duckdb", "a/../../b.duckdb")
    ),
    ("D40", _post({"type": "duckdb", "properties": {"path": "a.db"}}), 400, _mismatch("path")),
    ("D41", _post(DUCKDB | {"properties": {}}), 400, _mismatch("path")),
    (
        "D42",
        lambda api, _: api.put("/v4/destinations/999", {"properties": {}}),
        400,
        _says("invalid connection id"),
    ),
    (
        "D42",
        lambda api, _: api.put("/v4/destinations/abc", {"properties": {}}),
        400,
        _says("invalid connection id"),
    ),
    ("D43", _put({"type": "postgres", "properties": {}}), 400, _says(FIXED)),
    ("D44", _put({"name": "x"}), 400, _says(UPDATE_RULE)),
    ("D44", _put({"name": "x", "properties": {}}), 400, _says(UPDATE_RULE)),
    ("D44", _put([]), 400, _says(UPDATE_RULE)),
    ("D45", _put({"properties": {"port": "x", "no": 1}}), 400, _mismatch("port, no")),
    ("D46", _put({"properties": {"encryption_type": "ssh"}}), 400, _says(NO_TUNNEL)),
    ("D47", _put({"properties": {"password": None}}), 400, _mismatch("password")),
    (
        "D48",
        lambda api, _: api.delete("/v4/destinations/999"),
        400,
        _says("Unable to locate dest (999) for client ({account}) to delete"),
    ),
    (
        "D49",
        lambda api, _: api.delete("/v4/destinations/abc"),
        404,
        lambda api, _: {"status": "NOT FOUND"},
    ),
    (
        "D50",
        lambda api, _: api.delete("/v4/destinations"),
        404,
        lambda api, _: {"status": "NOT FOUND"},
    ),
    (
        "D51",
        lambda api, _: api.get("/v4/destinations", token=None),
        401,
        lambda api, _: {"message": "Not Authorized"},
    ),
]


def test_d30_to_d51_every_refusal_to_the_byte(api: Api) -> None:
    id_ = make(api)["id"]
    before = api.get("/v4/destinations").text
    for number, request, status, expected in REFUSALS:
        answer = request(api, id_)
        assert (answer.status, answer.text) == (status, text(expected(api, id_))), number
    assert api.get("/v4/destinations").text == before


def test_d52_twice_deleted(api: Api) -> None:
    id_ = make(api)["id"]
    api.delete(f"/v4/destinations/{id_}")
    told = f'"Unable to locate dest ({id_}) for client ({api.account.id}) to delete"'
    answer = api.delete(f"/v4/destinations/{id_}")
    assert (answer.status, answer.text) == (400, told)
    assert api.put(f"/v4/destinations/{id_}", {"properties": {}}).text == '"invalid connection id"'


def test_d53_the_limit_counts_those_that_are_not_deleted(api: Api) -> None:
    ids = [make(api)["id"] for _ in range(3)]
    answer = post(api)
    assert (answer.status, answer.text) == (400, '"you are at your destination limit"')
    api.delete(f"/v4/destinations/{ids[1]}")
    assert post(api).status == 200


def test_d54_what_the_setting_names_is_not_changed(api: Api) -> None:
    row = api.store.destinations.set_default_destination(
        api.account.id,
        "postgres",
        f"postgresql://me:{'x' * 9}@db/shop",
        "db",
        set_by=DestinationSetter.SETTING,
    )
    told = f'"destination {row.id} is set by the server\'s configuration"'
    path = f"/v4/destinations/{row.id}"
    for answer in (
        api.put(path, {"properties": {"host": "10.0.0.1"}}),
        api.put(path, {"type": "duckdb"}),
        api.delete(path),
    ):
        assert (answer.status, answer.text) == (400, told)
    # A second one is the account's own.
    second = make(api)["id"]
    assert api.put(f"/v4/destinations/{second}", {"properties": {"port": 1}}).status == 200
    assert api.delete(f"/v4/destinations/{second}").status == 200
    api.store.destinations.release_destinations()
    assert api.put(path, {"properties": {"port": 6543}}).status == 400  # see D55
    assert api.delete(path).status == 200


def test_d55_a_password_of_the_operator_is_not_sent_where_an_account_says(api: Api) -> None:
    row = api.store.destinations.set_default_destination(
        api.account.id, "postgres", "postgresql://me:theirs@db/shop", "db"
    )
    path = f"/v4/destinations/{row.id}"
    for moved in ({"host": "evil.example.com"}, {"port": 1}):
        answer = api.put(path, {"properties": moved})
        assert (answer.status, answer.text) == (400, '"properties do not match schema: password"')
    moved = {"host": "evil.example.com", "password": "mine"}
    assert api.put(path, {"properties": moved}).status == 200
    # From now on the password is the account's.
    assert api.put(path, {"properties": {"host": "other.example.com"}}).status == 200


@pytest.mark.parametrize("type_", ["postgresql", "mysql", "redshift"])
def test_d55_no_change_before_leads_the_password_of_the_operator_elsewhere(
    api: Api, type_: str
) -> None:
    url = f"{type_}://me:theirs@db/{'' if type_ == 'mysql' else 'shop'}"
    place = make_destination(url)
    row = api.store.destinations.set_default_destination(
        api.account.id, place.kind, url, place.identity, set_by=DestinationSetter.OPERATOR
    )
    path = f"/v4/destinations/{row.id}"
    harmless = {"username": "you"} if type_ == "mysql" else {"database": "wh2"}
    assert api.put(path, {"properties": harmless}).status == 200
    [kept] = api.store.destinations.list_destinations()
    # Its address is the operator's still, so it is connected to wherever that is.
    assert (kept.set_by, kept.is_named_by_account) == ("adjusted", False)
    ssl = {"ssl": type_ != "redshift"}
    for moved in (
        {"host": "evil.example.com"},
        {"host": "evil.example.com", **ssl},
        {"port": 1},
        {"sslrootcert": PEM},
        {"ssl": True},
    ):
        answer = api.put(path, {"properties": moved})
        assert (answer.status, answer.text) == (400, '"properties do not match schema: password"')
    assert api.store.destinations.list_destinations() == [kept]
    # With its password the account says how it is encrypted, and the address stays the operator's.
    assert api.put(path, {"properties": {"ssl": True, "password": "mine"}}).status == 200
    assert api.put(path, {"properties": {"ssl": False}}).status == 400
    moved = {"host": "evil.example.com", "password": "mine"}
    assert api.put(path, {"properties": moved}).status == 200
    [mine] = api.store.destinations.list_destinations()
    assert mine.is_named_by_account
    assert "theirs" not in mine.url
    assert api.put(path, {"properties": {"port": 1, "ssl": False}}).status == 200


def test_d55_what_an_account_changed_goes_to_no_other_account(api: Api) -> None:
    row = api.store.destinations.set_default_destination(
        api.account.id, "postgres", "postgresql://me:x@db/shop", "db"
    )
    changed = {"properties": {"database": "mine", "password": "mine"}}
    assert api.put(f"/v4/destinations/{row.id}", changed).status == 200
    second, _ = api.another_account()
    assert second.destination_id is None


def test_d56_no_answer_and_no_event_has_a_password(api: Api) -> None:
    row = make(api)
    path = f"/v4/destinations/{row['id']}"
    told = [
        api.put(path, {"properties": {"password": PASSWORD + "2"}}).text,
        api.put(path, {"properties": {"password": PASSWORD, "port": "x"}}).text,
        api.post("/v4/destinations", {"type": "postgres", "name": PASSWORD[:0] or None}).text,
        api.get(path).text,
        api.get("/v4/destinations").text,
        api.delete(path).text,
        api.get("/v1/trail").text,
    ]
    assert not [one for one in told if "s3cret" in one]
    actions = [event["action"] for event in api.get("/v1/trail").body["events"]]
    assert actions[0] == "delete_destination"
    [changed] = [
        event
        for event in api.get("/v1/trail").body["events"]
        if event["action"] == "change_destination" and event["outcome"] == "done"
    ]
    assert changed["detail"] == {"changed": ["password"]}


def test_d57_two_accounts_in_one_database_have_schemas_of_their_own(api: Api) -> None:
    _, token = api.another_account()
    api.create("Shop")
    api.create("Shop", token=token)
    make(api)
    assert post(api).status == 200
    answer = api.post("/v4/destinations", _properties(), token=token)
    assert answer.status == 200
    schemas = [source.schema for source in api.store.sources.list_sources()]
    assert schemas == ["shop", "shop2"]


def test_d58_a_driver_is_imported_while_the_store_is_free(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import may take seconds, and every other change would wait for it."""
    row = make(api)
    path = str(api.store._database.engine.url.database)
    free: list[bool] = []

    def note(url: str) -> Destination:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
                free.append(True)
            except sqlite3.OperationalError:
                free.append(False)
        return make_destination(url)

    monkeypatch.setattr(destination_operations, "make_destination", note)
    changed = {"properties": {"host": "10.1.2.3"}}
    assert api.put(f"/v4/destinations/{row['id']}", changed).status == 200
    assert free[0]
    assert not free[-1]  # decided again where nobody else changes the row
