"""The headers of every answer of a running server, whoever gives it."""

import re
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.servers.treadle import Client, TreadleServer

Answer = tuple[int, list[tuple[str, str]], bytes]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with TreadleServer(tmp_path_factory.mktemp("headers") / "data") as server:
        yield Client(server, *server.account())


def ask(client: Client, *requests: bytes) -> list[Answer]:
    """Send requests over one connection, each after the answer to the one before."""
    found = []
    address = ("127.0.0.1", client.server.port)
    with socket.create_connection(address, timeout=60) as connection:
        stream = connection.makefile("rb")
        for request in requests:
            connection.sendall(request)
            status = int(stream.readline().split()[1])
            headers = []
            while (line := stream.readline().rstrip(b"\r\n")) != b"":
                name, _, value = line.partition(b":")
                headers.append((name.decode().lower(), value.decode().strip()))
            size = int(dict(headers).get("content-length", "0"))
            is_head = request.startswith(b"HEAD ")
            found.append((status, headers, b"" if is_head else stream.read(size)))
    return found


def write(
    method: str,
    path: str,
    token: str = "",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    sent = {"Host": "localhost", "Content-Length": str(len(body)), **(headers or {})}
    if token:
        sent["Authorization"] = f"Bearer {token}"
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def check_common(answer: Answer) -> None:
    status, headers, _ = answer
    names = [name for name, _ in headers]
    assert len(names) == len(set(names)), f"{status}: a name is sent twice in {names}"
    found = dict(headers)
    assert found["x-content-type-options"] == "nosniff"
    assert found["referrer-policy"] == "no-referrer"
    if status == 401:
        assert found["www-authenticate"] == "Bearer"
    if found.get("content-type", "").startswith("text/html"):
        assert found["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in found["content-security-policy"]


def test_every_path_and_method_of_the_document(client: Client) -> None:
    document: dict[str, Any] = client.http.get("/openapi.json").json()
    account_token = client.account["Authorization"].removeprefix("Bearer ")
    seen = set()
    for path, item in document["paths"].items():
        real = re.sub(r"\{\w+\}", "7", path)  # of nothing: the token of this test is 1
        for method in item:
            for token in ("", "wrong", account_token):
                if path == "/v1/events" and token == account_token:
                    continue  # its answer goes on for minutes
                [answer] = ask(client, write(method.upper(), real, token, b"{}"))
                check_common(answer)
                seen.add(answer[0])
    assert {200, 400, 401, 404} <= seen


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (write("GET", "/nowhere"), 404),
        (write("GET", "/v2/nowhere"), 404),
        (write("DELETE", "/v2/import/push"), 405),
        (write("OPTIONS", "/v2/import/push"), 200),
        (write("GET", "/docs"), 200),
        (write("GET", "/docs", headers={"Host": "evil.example"}), 421),
        (write("GET", "/metrics"), 200),
        (write("GET", "/metrics", headers={"Host": "evil.example"}), 421),
        (write("GET", "/metrics", "wrong"), 401),
        (write("GET", "/metrics", headers={"X-Real-IP": "1.2.3.4"}), 403),
        (write("GET", "/metrics", headers={"Host": "evil.example", "X-Real-IP": "1.2.3.4"}), 421),
        (write("GET", "/openapi.json"), 200),
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400),
        (write("POST", "/v2/import/push", "wrong", b"x", {"Content-Type": "text/plain"}), 415),
    ],
)
def test_other_answers(client: Client, request_: bytes, status: int) -> None:
    [answer] = ask(client, request_)
    assert answer[0] == status
    check_common(answer)


def test_the_fast_path_and_the_full_path_answer_alike(client: Client) -> None:
    _, token = client.create_source("Alike")
    push = write(
        "POST",
        "/v2/import/push",
        token,
        b'[{"client_id":1,"table_name":"t","action":"upsert","sequence":1,"key_names":["id"],'
        b'"data":{"id":1}}]',
        {"Content-Type": "application/json"},
    )
    answers = ask(client, push, push, push)
    for answer in answers:
        assert answer[0] == 201
        check_common(answer)
    orders = [[name for name, _ in headers] for _, headers, _ in answers]
    assert orders[0] == orders[1] == orders[2]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (write("GET", "/v4/sources", "ac_wrong"), "refused for its token"),
        (
            write("POST", "/v2/import/batch", "at_wrong", b"{}", {"Content-Type": "text/json"}),
            "refused for its token",
        ),
        (b"NON SENSE\r\n\r\n", "WARNING"),
    ],
)
def test_refusals_are_logged_with_address_and_number_and_do_not_fill_the_log(
    client: Client, request_: bytes, said: str
) -> None:
    log = client.server.log
    before = len(log.read_text().splitlines())
    began = time.monotonic()
    for _ in range(100):
        [(status, _, _)] = ask(client, request_)
        assert status in (400, 401)
    time.sleep(1.1)
    ask(client, request_)
    seconds = time.monotonic() - began
    lines = log.read_text().splitlines()[before:]
    assert 1 <= len(lines) <= seconds + 2
    told = [line for line in lines if said in line]
    assert told
    assert all("127.0.0.1" in line for line in told)
    assert sum(int(number) for number in re.findall(r"\((\d+) since", "\n".join(told))) >= 100
    assert "wrong" not in "\n".join(lines)
