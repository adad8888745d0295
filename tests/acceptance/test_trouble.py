"""Trouble of the operator's: one sentence that says what to do, and nothing accepted is lost."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.servers.postgres import PostgresServer
from tests.servers.treadle import PATIENCE_SECONDS, Client, TreadleServer, eventually


def refusal(data: Path, *arguments: str, **environment: str) -> str:
    """What `treadle serve` says when it refuses to start; its exit code is 2."""
    done = subprocess.run(
        [sys.executable, "-m", "treadle", "serve", "--data", str(data), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    *warnings, sentence = done.stderr.strip().splitlines()
    assert all("runs as root" in warning for warning in warnings), warnings
    return sentence


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refusal(tmp_path / "data", "--port", port)
    assert port in said
    assert "--port" in said


def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    said = refusal(tmp_path / "file" / "data", "--port", "0")
    assert str(tmp_path / "file" / "data") in said
    assert "--data" in said


def test_the_key_file_of_another_server(tmp_path: Path) -> None:
    with TreadleServer(tmp_path / "one"), TreadleServer(tmp_path / "two"):
        pass
    key = tmp_path / "one" / "secret.key"
    key.write_bytes((tmp_path / "two" / "secret.key").read_bytes())
    said = refusal(tmp_path / "one", "--port", "0")
    assert "key" in said


def test_a_second_server_on_the_same_folder(tmp_path: Path) -> None:
    with TreadleServer(tmp_path / "data"):
        said = refusal(tmp_path / "data", "--port", "0")
    assert str(tmp_path / "data") in said
    assert "stop it first" in said


def test_an_unknown_flag_or_setting_names_the_nearest(tmp_path: Path) -> None:
    assert "--workers" in refusal(tmp_path / "data", "--worker", "2")
    assert "TREADLE_WORKERS" in refusal(tmp_path / "data", TREADLE_WORKER="2")
    destination = ("--destination", "postgress://h/d")
    assert "postgres://" in refusal(tmp_path / "data", "--port", "0", *destination)


def test_a_destination_that_is_down_at_start_and_comes_back(tmp_path: Path) -> None:
    postgres = PostgresServer()
    with postgres:
        url = postgres.create_database()
        postgres.stop()
        with TreadleServer(tmp_path / "data", url) as server:
            client = Client(server, *server.account())
            _, token = client.create_source()
            pushed = [{"id": number} for number in range(100)]
            assert client.push(token, pushed, table="waiting").status_code == 201

            def reason() -> str:
                status = client.http.get("/v2/import/status")
                assert status.status_code == 200
                return str(status.json()["reason"])

            eventually(lambda: "postgres" in reason())
            assert "cannot be used" in server.log.read_text()
            postgres.start()
            eventually(
                lambda: server.query("select count(*) as n from import_api.waiting") == [{"n": 100}]
            )
            eventually(lambda: reason() == "None")


@pytest.mark.parametrize("destination_url", ["postgres"], indirect=True)
def test_one_stuck_table_holds_up_no_other(server: TreadleServer, client: Client) -> None:
    _, token = client.create_source()
    assert client.push(token, [{"id": 1}], table="stuck").status_code == 201
    eventually(lambda: server.query("select count(*) as n from import_api.stuck") == [{"n": 1}])
    changed = client.push(token, [{"code": 2}], table="stuck", keys=["code"])
    assert changed.status_code == 201
    assert client.push(token, [{"id": 1}], table="free").status_code == 201
    eventually(lambda: server.query("select count(*) as n from import_api.free") == [{"n": 1}])
    eventually(lambda: "Keys for table do not match" in server.log.read_text())
    assert server.query("select id from import_api.stuck") == [{"id": 1}]
