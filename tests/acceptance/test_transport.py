"""A server with TLS, at a UNIX socket, and on a machine with other users."""

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.certificates import CertificateFiles, make_certificate
from tests.servers.treadle import TreadleServer, eventually

FAST = {"load_age_seconds": "0.2"}


def serve_once(*flags: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and messages of a server that ends by itself."""
    done = subprocess.run(
        [sys.executable, "-m", "treadle", "serve", "--port", "0", *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **(environment or {})},
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def push(client: httpx.Client, server: TreadleServer, number: int) -> httpx.Response:
    """Push one record with the token of the only source."""
    client_id, _ = server.account()
    body = {
        "client_id": client_id,
        "table_name": "orders",
        "sequence": number,
        "action": "upsert",
        "key_names": ["id"],
        "data": {"id": number},
    }
    return client.post("/v2/import/push", json=[body])


def make_source(client: httpx.Client, server: TreadleServer) -> None:
    """Make a source, and let the client push with its token."""
    _, token = server.account()
    answer = client.post(
        "/v4/sources",
        json={"type": "import_api", "display_name": "Import API"},
        headers={"Authorization": f"Bearer {token}"},
    )
    [secret] = answer.json()["properties"]["token"].values()
    client.headers["Authorization"] = f"Bearer {secret}"


def count_rows(server: TreadleServer, rows: int) -> None:
    def are_there() -> bool:
        out = server.treadle("query", "SELECT id FROM import_api.orders", "--json", check=False)
        return bool(out) and len(json.loads(out)) == rows

    eventually(are_there)


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return make_certificate(tmp_path, "live", ("localhost",), kind="rsa")


@pytest.fixture(params=["on", pytest.param("off", marks=pytest.mark.release)])
def with_tls(
    tmp_path: Path, files: CertificateFiles, request: pytest.FixtureRequest
) -> Iterator[TreadleServer]:
    tls = {"tls_cert": str(files.cert), "tls_key": str(files.key)}
    settings = {**FAST, **tls, "workers": "2", "fast_path": request.param}
    with TreadleServer(tmp_path / "data", settings=settings) as running:
        yield running


def connect(server: TreadleServer, trusted: Path) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(trusted))
    return httpx.Client(base_url=f"https://localhost:{server.port}", verify=context, timeout=60)


def test_records_come_by_tls_and_a_new_certificate_drops_no_connection(
    with_tls: TreadleServer, files: CertificateFiles, tmp_path: Path
) -> None:
    server = with_tls
    assert f"treadle listens at https://127.0.0.1:{server.port}\n" in server.said
    assert f"API=https://localhost:{server.port}" in server.said
    old = tmp_path / "old.pem"
    old.write_bytes(files.cert.read_bytes())
    with connect(server, old) as kept:
        make_source(kept, server)
        assert [push(kept, server, number).status_code for number in range(1, 4)] == [201] * 3
        pushed = dict(kept.headers)

        second = make_certificate(tmp_path, "second")
        files.cert.write_bytes(second.cert.read_bytes())
        os.kill(server.process.pid, signal.SIGHUP)  # the key does not belong to it yet
        eventually(lambda: server.log.read_text().count("the certificate stays as it was") == 2)
        with connect(server, old) as other:
            assert other.get("/v2/import/status").status_code == 200

        files.replace(second)
        os.kill(server.process.pid, signal.SIGHUP)
        eventually(lambda: server.log.read_text().count("new connections get the certificate") == 2)
        for _ in range(8):  # whichever worker takes it
            with connect(server, second.cert) as renewed:
                renewed.headers.update(pushed)
                assert push(renewed, server, 4).status_code == 201
        with connect(server, old) as refused, pytest.raises(httpx.ConnectError):
            refused.get("/v2/import/status")

        # The connection from before goes on, on its own certificate.
        assert [push(kept, server, number).status_code for number in range(5, 8)] == [201] * 3
    count_rows(server, 7)
    assert server.stop() == 0
    assert "died" not in server.log.read_text()


@pytest.mark.parametrize("damage", ["key readable", "key gone", "other key", "no key set"])
def test_a_certificate_that_cannot_be_used_is_named_at_the_start(
    damage: str, files: CertificateFiles, tmp_path: Path
) -> None:
    flags = ["--data", str(tmp_path / "data"), "--tls-cert", str(files.cert)]
    if damage == "key readable":
        files.key.chmod(0o644)
    elif damage == "key gone":
        files.key.unlink()
    elif damage == "other key":
        files.key.write_bytes(make_certificate(tmp_path, "other").key.read_bytes())
    if damage != "no key set":
        flags += ["--tls-key", str(files.key)]
    code, said = serve_once(*flags)
    assert code == 2
    assert "tls_key" in said or str(files.key) in said
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def secured(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[TreadleServer, CertificateFiles]]:
    """A server that takes TLS, for tests that only ask."""
    folder = tmp_path_factory.mktemp("secured")
    files = make_certificate(folder, "live", ("localhost",), kind="rsa")
    tls = {"tls_cert": str(files.cert), "tls_key": str(files.key)}
    with TreadleServer(folder / "data", settings=tls) as running:
        yield running, files


def test_a_plain_request_to_a_tls_port_is_not_answered_in_clear(
    secured: tuple[TreadleServer, CertificateFiles],
) -> None:
    server, _ = secured
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://127.0.0.1:{server.port}/v2/import/status", timeout=60)


def test_whoever_begins_no_handshake_takes_nobody_elses_place(
    tmp_path: Path, files: CertificateFiles
) -> None:
    """Connections that say nothing, or no end of a greeting, to a server with few files."""
    tls = {"tls_cert": str(files.cert), "tls_key": str(files.key)}
    program = "tests.servers.few_files"
    with (
        TreadleServer(tmp_path / "data", settings={**FAST, **tls}, program=program) as server,
        ExitStack() as held,
        connect(server, files.cert) as tenant,
    ):
        make_source(tenant, server)
        assert push(tenant, server, 1).status_code == 201
        pushed = dict(tenant.headers)
        # Below the strangers of one address in a worker with 1,024 files, then above it.
        for greeting in (b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n", b""):
            for _ in range(200):
                wire = held.enter_context(
                    socket.create_connection(("127.0.0.1", server.port), timeout=60)
                )
                with suppress(OSError):
                    wire.sendall(greeting)
        assert push(tenant, server, 2).status_code == 201
        with connect(server, files.cert) as other:
            other.headers.update(pushed)
            assert push(other, server, 3).status_code == 201
        log = server.log.read_text()
        assert "a connection without a known token was closed, because a newer one" in log
        assert "because its TLS handshake failed" in log
        assert len(log.splitlines()) < 60
        # Those that are left are given up, and the server stops at once with some new ones.
        first = held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
        with suppress(ConnectionResetError):
            assert first.recv(1) == b""  # or it would raise after a minute
        held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
        assert server.stop() == 0
        assert "did not end within" not in server.log.read_text()


def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(
    secured: tuple[TreadleServer, CertificateFiles],
) -> None:
    """A client need not wait: what it sends may arrive before the server knows that it is one."""
    server, files = secured
    request = b"GET /v2/import/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    context = ssl.create_default_context(cafile=str(files.cert))

    def ask(port: int) -> bytes:
        come, gone = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(come, gone, server_hostname="localhost")
        with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    wire.sendall(gone.read())
                    come.write(wire.recv(65536))
            client.write(request)
            wire.sendall(gone.read())  # the end of the handshake and the request, in one piece
            answer = b""
            while piece := wire.recv(65536):
                come.write(piece)
                try:
                    answer += client.read()
                except ssl.SSLWantReadError:
                    continue
                except ssl.SSLZeroReturnError:
                    # The server waits for the client's goodbye for some seconds.
                    with suppress(ssl.SSLWantReadError):
                        client.unwrap()
                    wire.sendall(gone.read())
        return answer

    with ThreadPoolExecutor(20) as pool:
        for answer in pool.map(ask, [server.port] * 20):
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer


# --- UNIX sockets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fast_path", [pytest.param("on", marks=pytest.mark.release), "off"])
def test_records_come_by_a_socket(tmp_path: Path, fast_path: str) -> None:
    path = tmp_path / "t.sock"
    settings = {**FAST, "host": f"unix:{path}", "fast_path": fast_path, "workers": "2"}
    with TreadleServer(tmp_path / "data", settings=settings) as server:
        assert f"treadle listens at unix:{path}\n" in server.said
        assert f"--unix-socket {path}" in server.said
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(base_url="http://localhost", transport=transport, timeout=60) as client:
            make_source(client, server)
            assert [push(client, server, number).status_code for number in (1, 2, 3)] == [201] * 3
        file = tmp_path / "orders.ndjson"
        file.write_text('{"id": 4}\n')
        at = ("--host", f"unix:{path}")
        server.treadle("push", str(file), "--table", "orders", "--key", "id", "--wait", *at)
        count_rows(server, 4)
        server.kill()
    assert path.is_socket()  # it was killed
    with TreadleServer(tmp_path / "data", settings=settings) as server:
        assert server.stop() == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("proxies", "noted"), [("127.0.0.0/8", "203.0.113.7"), (None, "127.0.0.1")]
)
def test_the_trail_has_the_client_that_a_trusted_proxy_names(
    tmp_path: Path, proxies: str | None, noted: str
) -> None:
    settings = {} if proxies is None else {"trusted_proxies": proxies}
    with TreadleServer(tmp_path / "data", settings=settings) as server:
        headers = {"X-Forwarded-For": "198.51.100.1, 203.0.113.7", "X-Forwarded-Proto": "https"}
        with httpx.Client(base_url=server.url, timeout=60, headers=headers) as client:
            make_source(client, server)
        events = json.loads(server.treadle("trail", "--json"))
        assert noted in {event["address"] for event in events}
        assert "198.51.100.1" not in json.dumps(events)


# --- other machines and other users ---------------------------------------------------------------


def test_another_machine_is_not_served_in_clear_by_mistake(tmp_path: Path) -> None:
    flags = ("--data", str(tmp_path / "data"), "--host", "0.0.0.0")  # noqa: S104 - refused
    code, said = serve_once(*flags)
    assert code == 2
    assert "set insecure_http to true" in " ".join(said.lower().split())
    settings = {"host": "0.0.0.0", "insecure_http": "true"}  # noqa: S104 - meant
    with TreadleServer(tmp_path / "data", settings=settings) as server:
        assert f"treadle listens at http://0.0.0.0:{server.port}\n" in server.said


def open_to_others(folder: Path) -> list[Path]:
    """Everything below a folder that another user may read or write."""
    return [path for path in folder.rglob("*") if stat.S_IMODE(path.lstat().st_mode) & 0o077]


@pytest.mark.file_store
def test_nothing_in_a_folder_that_was_there_is_open_to_others(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o755)
    before = os.umask(0o022)
    try:
        with TreadleServer(data, settings=FAST) as server:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                make_source(client, server)
                assert push(client, server, 1).status_code == 201
            count_rows(server, 1)
            server.treadle("log", "stats")
            names = {path.name for path in data.iterdir()}
            assert {"warehouse.duckdb", "log.sqlite", "store.sqlite", "secret.key"} <= names
            assert open_to_others(data) == []
        assert open_to_others(data) == []
        assert "can be read by other users (mode 0755)" in server.log.read_text()
    finally:
        os.umask(before)


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path, mode: int) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(mode)
    code, said = serve_once("--data", str(data))
    assert (code, "can be changed by" in said) == (2, True)
    assert list(data.iterdir()) == []


def test_a_settings_file_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(0o700)
    file = data / "treadle.toml"
    file.write_text(f"secret_key = '{'ab' * 32}'\n")
    file.chmod(0o666)
    code, said = serve_once("--data", str(data))
    assert (code, f"chmod go-w {file}" in said) == (2, True)
    assert [path.name for path in data.iterdir()] == ["treadle.toml"]


def test_a_password_in_a_flag_is_warned_about_and_never_shown(tmp_path: Path) -> None:
    url = "postgresql://loader:5ecret@127.0.0.1:1/warehouse"
    data = tmp_path / "data"
    with TreadleServer(data, settings={"destination": url}) as server:
        said = server.log.read_text()
        assert "--destination holds a secret" in said
        assert "TREADLE_DESTINATION_FILE" in said
        assert "5ecret" not in said + server.said


def test_a_url_in_a_file_is_in_no_list_of_processes(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"duckdb://{tmp_path}/rows-5ecret.duckdb\n")
    file.chmod(0o600)
    settings: dict[str, Any] = {**FAST, "destination_file": str(file)}
    with TreadleServer(tmp_path / "data", settings=settings, forked=False) as server:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            make_source(client, server)
            assert push(client, server, 1).status_code == 201
        made = tmp_path / "rows-5ecret.duckdb"
        eventually(made.exists)
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
        for process in (server.process.pid, *server.processes().values()):
            arguments = Path(f"/proc/{process}/cmdline").read_bytes()
            assert b"5ecret" not in arguments
        assert "holds a secret" not in server.log.read_text()
