"""A REST server cannot have treadle run code, ask another host or sign with the machine's keys."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.servers.iceberg_answers import AnswerServer, make_table

from treadle.destinations.iceberg.catalogue import IcebergCatalogue, open_catalogue
from treadle.destinations.iceberg.errors import translate_open
from treadle.destinations.iceberg.rest_catalogue import (
    ANSWER_SECONDS_MAX,
    CONNECT_SECONDS_MAX,
    FIXED_REGION,
    LimitedFileIO,
    choose_store,
    drop_code,
    find_host,
    list_store_hosts,
    require_object,
)
from treadle.destinations.iceberg_form import IcebergUrl
from treadle.destinations.layout import REJECTED
from treadle.destinations.protocol import AccessDeniedError
from treadle.destinations.registry import make_destination

MODULE = "iceberg_attack"
OWN_KEYS = {"s3.access-key-id": "OWN", "s3.secret-access-key": "own-secret"}
VENDED = {"s3.access-key-id": "VENDED", "s3.secret-access-key": "vended-secret"}

CODE = """
from pathlib import Path
Path({mark!r}).write_text("imported")


class Anything:
    def __init__(self, *args, **kwargs):
        Path({mark!r}).write_text("made")
"""


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that is there when a server had its code run."""
    made = tmp_path / "mark"
    (tmp_path / f"{MODULE}.py").write_text(CODE.format(mark=str(made)))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield made
    sys.modules.pop(MODULE, None)


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[AnswerServer]:
    """A host that nobody is to be sent to, and keys of this machine that nobody is to use."""
    with AnswerServer() as opened:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "MACHINE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "machine-secret")
        monkeypatch.setenv("AWS_ENDPOINT_URL", opened.http_url)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield opened


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    with AnswerServer() as opened:
        opened.answers["GET /v1/config"] = (200, {"defaults": {}, "overrides": {}})
        yield opened


def allow(address: str) -> None:
    """Let every address be connected to."""


def connect(
    server: AnswerServer, check: Callable[[str], None] | None, **parameters: str
) -> IcebergCatalogue:
    parts = IcebergUrl.parse(server.url(**parameters))
    return open_catalogue(parts, warehouse="", check_address=check)


def attack(mark: Path, other: AnswerServer, *, is_custom: bool) -> dict[str, Any]:
    """The settings of a server that wants to run code, and to be asked somewhere else."""
    custom: dict[str, Any] = {"type": "custom", "impl": f"{MODULE}.Anything", "custom": {}}
    if not is_custom:
        arguments = [sys.executable, "-c", f"open({str(mark)!r}, 'w')"]
        custom |= {"impl": "subprocess.Popen", "custom": {"args": arguments}}
    return {
        "auth": custom,
        "ssl": {"cabundle": "/etc/passwd", "client": {"cert": "/etc/hosts"}},
        "uri": other.http_url,
        "oauth2-server-uri": f"{other.http_url}/token",
        "py-io-impl": f"{MODULE}.Anything",
        "py-catalog-impl": f"{MODULE}.Anything",
        "s3.retry-strategy-impl": f"{MODULE}.Anything",
        "s3.endpoint": other.http_url,
        "s3.proxy-uri": other.http_url,
        "s3.anonymous": "true",
        "s3.role-arn": "arn:aws:iam::1:role/operator",
        "rest.sigv4-enabled": "true",
        "scan-planning-mode": "server",
        "header.Host": "inside",
        "client.access-key-id": "MACHINE",
        "client.secret-access-key": "machine-secret",
        "prefix": "lake",
    }


@pytest.mark.parametrize("where", ["defaults", "overrides"])
@pytest.mark.parametrize("is_custom", [True, False])
def test_settings_of_an_accounts_server_change_nothing_but_paths(
    server: AnswerServer, other: AnswerServer, mark: Path, where: str, is_custom: bool
) -> None:
    told = attack(mark, other, is_custom=is_custom)
    server.answers["GET /v1/config"] = (200, {"defaults": {}, "overrides": {}, where: told})
    server.answers["GET /v1/lake/namespaces"] = (200, {"namespaces": [["web"]]})
    server.answers["GET /v1/lake/namespaces/web/tables/orders"] = (
        200,
        make_table("s3://operator-bucket/orders", told | {"auth": ""}, told),
    )
    catalogue = connect(server, allow)
    assert catalogue.list_schemas() == ["web"]
    with pytest.raises(PermissionError, match="no keys"):
        catalogue.load("web", "orders")
    catalogue.close()
    assert not mark.exists()
    assert MODULE not in sys.modules
    assert other.asked == []
    assert [each.path for each in server.asked] == [
        "/v1/config",
        "/v1/lake/namespaces",
        "/v1/lake/namespaces/web/tables/orders",
    ]
    assert {each.headers["host"] for each in server.asked} == {f"127.0.0.1:{server.port}"}


def test_a_server_of_the_operator_names_no_code(
    server: AnswerServer, other: AnswerServer, mark: Path, tmp_path: Path
) -> None:
    told = {
        name: value
        for name, value in attack(mark, other, is_custom=False).items()
        if name in ("auth", "ssl") or name.endswith("impl")
    }
    properties = {"write.py-location-provider.impl": f"{MODULE}.Anything", "owner": "somebody"}
    server.answers["GET /v1/config"] = (200, {"defaults": told, "overrides": told})
    answer = make_table(f"file://{tmp_path}/orders", properties, {**told, "auth": None})
    server.answers["GET /v1/namespaces/web/tables/orders"] = (200, answer)
    catalogue = connect(server, None)
    table = catalogue.load("web", "orders")
    assert table is not None
    assert table.properties["owner"] == "somebody"
    assert table.location_provider().new_data_location("x") == f"file://{tmp_path}/orders/data/x"
    assert type(table.io).__name__ == "SyncedFileIO"
    catalogue.close()
    assert not mark.exists()
    assert MODULE not in sys.modules


def test_a_commit_does_not_bring_code_in(server: AnswerServer, mark: Path) -> None:
    place = "/v1/namespaces/web/tables/orders"
    server.answers[f"GET {place}"] = (200, make_table("s3://bucket/orders", config=VENDED))
    properties = {"write.py-location-provider.impl": f"{MODULE}.Anything"}
    changed = make_table("s3://bucket/orders", properties)
    catalogue = connect(server, allow)
    table = catalogue.load("web", "orders")
    assert table is not None
    changed["metadata"]["table-uuid"] = str(table.metadata.table_uuid)
    server.answers[f"POST {place}"] = (200, changed)
    with table.transaction() as transaction:
        transaction.set_properties({"a": "b"})
    assert table.location_provider().new_data_location("x") == "s3://bucket/orders/data/x"
    catalogue.close()
    assert not mark.exists()


def test_files_are_reached_with_vended_keys_alone(
    server: AnswerServer, other: AnswerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "machine-token")
    told = {**VENDED, "s3.endpoint": other.http_url, "s3.region": "us-east-1"}
    server.answers["GET /v1/namespaces/web/tables/orders"] = (
        200,
        make_table("s3://bucket/orders", config=told),
    )
    catalogue = connect(server, allow)
    table = catalogue.load("web", "orders")
    assert table is not None
    assert not table.io.new_input("s3://bucket/orders/x").exists()
    catalogue.close()
    signed = [each.headers["authorization"] for each in other.asked]
    assert signed
    assert all("Credential=VENDED/" in each and "/us-east-1/s3/" in each for each in signed)
    assert not any("x-amz-security-token" in each.headers for each in other.asked)


def test_the_address_of_a_store_is_checked_before_it_is_asked(
    server: AnswerServer, other: AnswerServer
) -> None:
    checked = []

    def refuse(address: str) -> None:
        checked.append(address)
        raise AccessDeniedError("an address of the operator's")

    told = {**VENDED, "s3.endpoint": other.http_url}
    server.answers["GET /v1/namespaces/web/tables/orders"] = (
        200,
        make_table("s3://bucket/orders", config=told),
    )
    catalogue = connect(server, refuse)
    table = catalogue.load("web", "orders")
    assert table is not None
    with pytest.raises(AccessDeniedError):
        table.io.new_input("s3://bucket/orders/x").open()
    catalogue.close()
    assert checked == ["127.0.0.1"]
    assert other.asked == []


def test_an_account_without_keys_is_told_what_is_missing(
    server: AnswerServer, other: AnswerServer
) -> None:
    server.answers["GET /v1/namespaces/web/tables"] = (
        200,
        {"identifiers": [{"namespace": ["web"], "name": REJECTED}]},
    )
    server.answers[f"GET /v1/namespaces/web/tables/{REJECTED}"] = (
        200,
        make_table("s3://operator-bucket/x"),
    )
    destination = make_destination(server.url(), allow)
    with destination.open(read_only=True) as session, pytest.raises(AccessDeniedError) as refused:
        session.relations("web")
    assert "add s3.access-key-id and s3.secret-access-key" in str(refused.value)
    assert other.asked == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_of_an_accounts_server_is_not_followed(
    server: AnswerServer, other: AnswerServer, status: int
) -> None:
    server.headers["Location"] = f"{other.http_url}/v1/config"
    server.answers["GET /v1/config"] = (status, {})
    with pytest.raises(AccessDeniedError, match="redirects to another address"):
        make_destination(server.url(), allow).open()
    assert other.asked == []


@pytest.mark.parametrize("check", [None, allow])
def test_no_request_waits_without_an_end(
    server: AnswerServer,
    monkeypatch: pytest.MonkeyPatch,
    check: Callable[[str], None] | None,
) -> None:
    waited: list[tuple[str, object]] = []
    send = requests.adapters.HTTPAdapter.send

    def note(
        adapter: requests.adapters.HTTPAdapter, request: requests.PreparedRequest, **given: Any
    ) -> requests.Response:
        waited.append((str(request.path_url), given["timeout"]))
        return send(adapter, request, **given)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", note)
    token = {"access_token": "t", "token_type": "bearer"}
    server.answers["POST /v1/oauth/tokens"] = (200, token)
    server.answers["GET /v1/namespaces"] = (200, {"namespaces": []})
    parts = IcebergUrl.parse(server.url().replace("//", "//id:secret@"))
    catalogue = open_catalogue(parts, warehouse="", check_address=check)
    assert catalogue.list_schemas() == []
    catalogue.close()
    most = (CONNECT_SECONDS_MAX, ANSWER_SECONDS_MAX)
    assert set(waited) == {
        ("/v1/oauth/tokens", most),
        ("/v1/config", most),
        ("/v1/namespaces", most),
    }


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_of_an_accounts_store_is_not_followed(
    server: AnswerServer, other: AnswerServer, status: int
) -> None:
    server.headers["Location"] = f"{other.http_url}/inside"
    for method in ("HEAD", "GET", "PUT", "POST", "DELETE"):
        for path in ("/bucket", "/bucket/x"):
            server.answers[f"{method} {path}"] = (status, b"")
    store = choose_store({**VENDED, "s3.endpoint": server.http_url}, {})
    io = LimitedFileIO(store, allow)
    with pytest.raises(OSError, match="HTTP status"):
        io.new_input("s3://bucket/x").open()
    with pytest.raises(OSError, match="HTTP status"):
        io.new_output("s3://bucket/x").create(overwrite=True)
    with pytest.raises(OSError, match="HTTP status"):
        io.delete("s3://bucket/x")
    assert server.count("HEAD") > 0
    assert server.count("POST") > 0
    assert other.asked == []


def test_settings_that_are_none_are_told(server: AnswerServer) -> None:
    server.answers["GET /v1/config"] = (200, {"defaults": None, "overrides": None})
    with pytest.raises(ValueError, match="not as the protocol says") as found:
        connect(server, allow)
    assert "cannot be used as an Iceberg catalogue" in str(translate_open(found.value, "x"))


# --- values ---------------------------------------------------------------------------------------


def test_code_is_what_a_client_would_import() -> None:
    names = ["auth", "auth.manager", "ssl", "py-io-impl", "s3.retry-strategy-impl", "a.impl"]
    assert drop_code(dict.fromkeys([*names, "token", "s3.region", "impl.x"], "")) == {
        "token": "",
        "s3.region": "",
        "impl.x": "",
    }


def test_the_keys_of_a_store_are_of_one_side() -> None:
    own = {**OWN_KEYS, "s3.session-token": "t", "s3.region": "eu-1", "token": "x"}
    assert choose_store(own, {"s3.access-key-id": "HALF", "s3.region": "us-1"}) == {
        **OWN_KEYS,
        "s3.session-token": "t",
        "s3.region": "eu-1",
    }
    assert choose_store(own, VENDED) == {**VENDED, "s3.region": "eu-1"}
    assert choose_store({}, {**VENDED, "client.region": "eu-2", "s3.proxy-uri": "http://x"}) == {
        **VENDED,
        "s3.region": "eu-2",
    }
    there = {"s3.endpoint": "https://s3.example.com"}
    assert choose_store(there, {**VENDED, "s3.endpoint": "http://inside"}) == {
        **VENDED,
        **there,
        "s3.region": FIXED_REGION,
    }
    near = {"s3.endpoint": "https://s3.eu-central-1.amazonaws.com"}
    assert choose_store({}, {**VENDED, **near}) == {**VENDED, "s3.region": "eu-central-1"}


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({}, {}),
        ({}, {"s3.access-key-id": "HALF"}),
        ({"s3.access-key-id": "HALF"}, {"s3.secret-access-key": "HALF"}),
        ({}, {"client.access-key-id": "A", "client.secret-access-key": "B"}),
        ({}, {"s3.anonymous": "true"}),
        ({}, {"s3.access-key-id": 5, "s3.secret-access-key": ["x"]}),
        (OWN_KEYS, {"s3.region": "inside/#"}),
        (OWN_KEYS, {"s3.endpoint": "inside:80"}),
        (OWN_KEYS, {"s3.endpoint": "http://s3.example.com", "s3.region": "eu-1"}),
        ({**OWN_KEYS, "s3.region": "eu-1"}, {"s3.endpoint": "https://s3.eu-1.amazonaws.com.x"}),
        (OWN_KEYS, {"s3.endpoint": "file:///etc"}),
    ],
)
def test_a_store_without_keys_or_at_no_plain_address_is_refused(
    own: dict[str, str], told: dict[str, Any]
) -> None:
    with pytest.raises(PermissionError):
        choose_store(own, told)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("https://S3.example.com", ("s3.example.com", 443)),
        ("http://s3.example.com/x@y", ("s3.example.com", 80)),
        ("http://[::1]:9000", ("::1", 9000)),
    ],
)
def test_an_address_has_a_host_and_a_port(place: str, expected: tuple[str, int]) -> None:
    assert find_host(place) == expected


@pytest.mark.parametrize(
    "place",
    ["", "localhost:9000", "http://a@b", "http://a\\@b/", "http://a?@b", "http://a b", "ftp://a"],
)
def test_an_address_that_readers_see_differently_is_refused(place: str) -> None:
    with pytest.raises(PermissionError):
        find_host(place)


def test_the_host_of_a_bucket_is_checked_where_it_is_one() -> None:
    there = {"s3.endpoint": "http://a.example:9"}
    virtual = {**there, "s3.force-virtual-addressing": "true"}
    assert list_store_hosts({}, "b") == []
    assert list_store_hosts(there, "b") == [("a.example", 9)]
    assert list_store_hosts(virtual, "b") == [("a.example", 9), ("b.a.example", 9)]


def test_who_is_not_the_operator_reaches_no_file_of_this_machine(tmp_path: Path) -> None:
    io = LimitedFileIO({}, allow)
    for location in (str(tmp_path / "x"), f"file://{tmp_path}/x", "hdfs://h/x", "s3://a@b/x"):
        with pytest.raises(PermissionError):
            io.new_input(location)
        with pytest.raises(PermissionError):
            io.new_output(location)
        with pytest.raises(PermissionError):
            io.delete(location)
    require_object("s3://bucket/x")
