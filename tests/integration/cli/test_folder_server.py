"""Commands find the server of the data folder, and end at once where there is none."""

import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Treadle
from tests.integration.cli.import_server import ImportServer
from tests.servers.certificates import make_certificate

from treadle.cli.folder_server import FoundServer, find_folder_server
from treadle.config import Config
from treadle.data_lock import take_lock
from treadle.errors import OperatorError
from treadle.server_address import ServerAddress, write_address

PUSH = "--table t --key id"

HOLDER = """
import os, sys
from pathlib import Path
from treadle.data_lock import take_lock
from treadle.server_address import ServerAddress, write_address
lock = Path(sys.argv[1])
held = take_lock(lock)
write_address(lock, ServerAddress(os.getpid(), sys.argv[2]))
print("taken", flush=True)
input()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "records.ndjson"
    file.write_text('{"id":1}\n')
    return file


@pytest.fixture
def server(data: Path, treadle: Treadle) -> Iterator[ImportServer]:
    """A server that runs on the data folder, at a port that no setting names."""
    treadle("account create")
    treadle("source create Shop")
    lock = data / "treadle.lock"
    held = take_lock(lock)
    with ImportServer() as server:
        write_address(lock, ServerAddress(os.getpid(), server.url))
        yield server
    os.close(held)


def test_a_push_goes_to_the_server_of_the_folder(
    server: ImportServer, file: Path, treadle: Treadle
) -> None:
    done = treadle(f"push {file} {PUSH}")
    assert done.code == 0, done.err
    assert [record["data"] for record in server.records] == [{"id": 1}]


def test_links_and_status_name_the_server_of_the_folder(
    server: ImportServer, treadle: Treadle
) -> None:
    assert treadle("console --json").json["link"].startswith(f"{server.url}/console/login?")
    assert treadle("status --json").json["server"] == {
        "process": os.getpid(),
        "address": server.url,
    }
    assert f"server        {server.url}, process {os.getpid()}" in treadle("status").out
    assert f"process {os.getpid()}, at {server.url}." in treadle("doctor --quick").out


def test_a_flag_comes_before_the_server_of_the_folder(server: ImportServer, data: Path) -> None:
    found = find_folder_server(Config.read({"data": str(data)}, {"TREADLE_PORT": "1"}))
    assert found == FoundServer(server.url, None, os.getpid())
    found = find_folder_server(Config.read({"data": str(data), "port": "1"}, {}))
    assert found == FoundServer("http://127.0.0.1:1")


def test_no_server_is_told_at_once(data: Path, file: Path, treadle: Treadle) -> None:
    treadle("account create")
    treadle("source create Shop")
    began = time.monotonic()
    done = treadle(f"push {file} {PUSH} --port 1")
    assert time.monotonic() - began < 60  # to try again takes ten minutes
    assert done.code == 2
    assert done.err == (
        f"treadle: No server runs on {data}, and nothing listens at http://127.0.0.1:1; start one "
        "with `treadle serve`, name its data folder with --data, or name its address with --url.\n"
    )
    done = treadle(f"push {file} {PUSH} --host unix:{data}/socket")
    assert f"nothing listens at unix:{data}/socket;" in done.err


def test_a_second_server_is_told_at_once_who_serves_the_folder(tmp_path: Path) -> None:
    lock = tmp_path / "treadle.lock"
    url = "http://127.0.0.1:8720"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"
        began = time.monotonic()
        with pytest.raises(OperatorError) as refused:
            take_lock(lock, 60.0)
        assert time.monotonic() - began < 30
        other.communicate("\n")
    assert str(refused.value) == (
        f"Another treadle serves {tmp_path} (process {other.pid}, at {url}); stop it first, or "
        "name another folder with --data."
    )


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The URL of a server with TLS, and its certificate."""
    files = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    with ImportServer(context) as server:
        yield server.url.replace("http:", "https:"), files.cert


def test_a_certificate_is_trusted_that_ca_names(
    tls_server: tuple[str, Path], file: Path, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, certificate = tls_server
    monkeypatch.setenv("TREADLE_PUSH_TOKEN", "t")
    line = f"push {file} {PUSH} --client-id 1 --url {url}"
    began = time.monotonic()
    done = treadle(line)
    assert time.monotonic() - began < 30
    assert done.code == 2
    assert f"the certificate of {url} cannot be trusted: self-signed certificate" in done.err
    assert "--ca FILE" in done.err
    assert treadle(f"{line} --ca {certificate}").code == 0
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert treadle(line).code == 0
