"""import-api.md 18 A: HTTP and status."""

import gzip
import http.client
import json
import socket
import time

import pytest
from tests.servers.cases import OK, REC, VALID, compare, rec
from tests.servers.ingest import UNKNOWN_TOKEN, ImportServer, exchange

STATUS = ["name", "version", "revision", "status", "reason"]
BODY = json.dumps([REC]).encode()


@pytest.mark.parametrize("number", ["1", "2"])
def test_status(server: ImportServer, number: str) -> None:
    headers = {"Authorization": f"Bearer {UNKNOWN_TOKEN}"} if number == "2" else {}
    answer = server.send("GET", "/v2/import/status", headers=headers)
    compare(answer, 200, lambda body: list(body) == STATUS)
    body = answer.json()
    assert (body["name"], body["status"], body["reason"]) == ("pipeline.gate", "OK", None)
    assert isinstance(body["version"], str)
    assert isinstance(body["revision"], str)


def test_3_head_of_status(server: ImportServer) -> None:
    answer = server.send("HEAD", "/v2/import/status")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("number", "method", "path", "allow"),
    [
        ("4", "POST", "status", "GET, HEAD, OPTIONS"),
        ("5", "GET", "push", "POST, OPTIONS"),
        ("6", "PUT", "push", "POST, OPTIONS"),
        ("7", "GET", "batch", "POST, OPTIONS"),
        ("8", "DELETE", "validate", "POST, OPTIONS"),
    ],
    ids=["4", "5", "6", "7", "8"],
)
def test_wrong_method(
    server: ImportServer, number: str, method: str, path: str, allow: str
) -> None:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    body = {"4": b"{}", "6": BODY}.get(number)
    answer = server.send(method, f"/v2/import/{path}", body, headers)
    compare(answer, 405, "Method not allowed.")
    assert answer.header("allow") == allow


@pytest.mark.parametrize("path", ["push", "validate", "batch", "status"])
def test_options_says_what_is_allowed(server: ImportServer, path: str) -> None:
    answer = server.send("OPTIONS", f"/v2/import/{path}")
    assert answer.status == 200
    assert answer.header("allow") == ("GET, HEAD" if path == "status" else "POST") + ", OPTIONS"


@pytest.mark.parametrize(
    ("number", "path", "body"),
    [
        ("9", "/v2/import/state", b"{}"),
        ("10", "/v2/import/push/", BODY),
        ("9b", "/v2/import", b"{}"),
        ("9c", "/v2/import/status/", b"{}"),
    ],
    ids=["9", "10", "9b", "9c"],
)
def test_unknown_path(server: ImportServer, number: str, path: str, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    compare(server.send("POST", path, body, headers), 404, {"message": "Not Found"})


@pytest.mark.slow
def test_11_two_pushes_on_one_idle_connection(server: ImportServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.auto_open = 0  # a closed connection must fail the test, not be opened again
    connection.connect()
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    compare(exchange(connection, "POST", "/v2/import/push", BODY, headers), 201, OK)
    time.sleep(16)
    compare(exchange(connection, "POST", "/v2/import/push", BODY, headers), 201, OK)
    connection.close()


def head(server: ImportServer, *fields: str) -> bytes:
    lines = [
        "POST /v2/import/push HTTP/1.1",
        "Host: treadle",
        f"Authorization: Bearer {server.token}",
        "Content-Type: application/json",
        *fields,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def test_12_chunked(server: ImportServer) -> None:
    before = server.accepted()
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as sock:
        sock.sendall(head(server, "Transfer-Encoding: chunked"))
        for part in (BODY[:7], BODY[7:]):
            sock.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            time.sleep(0.05)
        sock.sendall(b"0\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 201 Created\r\n")
    assert server.accepted() == before + 1


def test_13_expect_100_continue(server: ImportServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as sock:
        sock.sendall(head(server, f"Content-Length: {len(BODY)}", "Expect: 100-continue"))
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(BODY)
        assert sock.recv(100).startswith(b"HTTP/1.1 201 Created\r\n")


def test_a_refusal_instead_of_100_closes_the_connection(server: ImportServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as sock:
        sock.sendall(head(server, "Content-Length: 21000000", "Expect: 100-continue"))
        said = b""
        while part := sock.recv(1000):
            said += part
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close\r\n" in said.lower()


def test_14_gzip(server: ImportServer) -> None:
    before = server.accepted()
    answer = server.post(
        "/v2/import/push", gzip.compress(BODY), headers={"Content-Encoding": "gzip"}
    )
    compare(answer, 201, OK)
    assert server.accepted() == before + 1


def test_unknown_content_encoding(server: ImportServer) -> None:
    answer = server.post("/v2/import/push", BODY, headers={"Content-Encoding": "br"})
    compare(answer, 415, lambda body: "content-encoding br" in body["message"])


def test_15_exact_bytes(server: ImportServer) -> None:
    answer = server.post("/v2/import/validate", [rec()])
    compare(answer, 200, VALID)
    assert answer.body == b'{"status":"OK","message":"Batch is valid!"}'


def test_16_no_header_name_occurs_twice(server: ImportServer) -> None:
    """Every other test of a case looks at its own answer, too (`compare`)."""
    answers = [
        server.post("/v2/import/push", [rec()]),
        server.post("/v2/import/validate", [rec()]),
        server.post("/v2/import/batch", {}),
        server.post("/v2/import/push", b"", content_type=None),
        server.send("GET", "/v2/import/push"),
        server.send("GET", "/v2/import/status"),
        server.send("OPTIONS", "/v1/clients/1/token/x"),
        server.send("POST", "/v1/clients/1/token/x", b"{}"),
    ]
    assert [answer.status for answer in answers] == [201, 200, 400, 415, 405, 200, 200, 401]
    for answer in answers:
        names = [name for name, _ in answer.headers]
        assert len(set(names)) == len(names) > 1


def test_query_strings_are_ignored(server: ImportServer) -> None:
    compare(server.post("/v2/import/validate?x=1", [rec()]), 200, VALID)


@pytest.mark.parametrize("size", [1_000_000, 21_000_000])
def test_a_connection_goes_on_after_a_body_that_was_not_read(
    server: ImportServer, size: int
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.auto_open = 0
    connection.connect()
    paused = {"Authorization": f"Bearer {server.paused_token}", "Content-Type": "application/json"}
    refused = exchange(connection, "POST", "/v2/import/batch", b" " * size, paused)
    assert refused.status == (401 if size < 20_971_520 else 413)
    known = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    compare(exchange(connection, "POST", "/v2/import/push", BODY, known), 201, OK)
    connection.close()


@pytest.mark.parametrize("size", [1_000_000, 21_000_000])
def test_a_connection_ends_after_a_body_of_a_stranger_that_was_not_read(
    server: ImportServer, size: int
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    unknown = {"Authorization": f"Bearer {UNKNOWN_TOKEN}", "Content-Type": "application/json"}
    refused = exchange(connection, "POST", "/v2/import/batch", b" " * size, unknown)
    assert refused.status == (401 if size < 20_971_520 else 413)
    assert connection.sock is None, "http.client keeps the socket of a connection that goes on"
    connection.close()


def test_head_of_a_path_that_takes_posts(server: ImportServer) -> None:
    answer = server.send("HEAD", "/v2/import/push")
    assert (answer.status, answer.body) == (405, b"")
