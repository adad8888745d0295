"""Runs real clients of the Connect API, unchanged, against treadle (connect-rest.md A.4).

Most clients have `https://api.stitchdata.com` built in. So treadle listens at 127.0.0.1:443 with a
certificate of its own for that name, and the client runs where the hosts file leads the name there.
For that it has to be root, on Linux, with port 443 free; nothing outside of its own mount namespace
is changed.

    python3 -m venv /tmp/talend && /tmp/talend/bin/pip install stitch-api==1.0.0
    python -m tests.clients talend /tmp/talend/bin/python

    python3 -m venv /tmp/connect
    /tmp/connect/bin/pip install stitch-connect-client==0.6.2 aiohttp
    python -m tests.clients connect /tmp/connect/bin/python --postgres

    pip download --no-deps mage-ai==0.9.80
    unzip -d /tmp/mage mage_ai-*.whl 'mage_ai/services/stitch/*' 'mage_ai/shared/*.py'
    /tmp/talend/bin/pip install pyyaml inflection
    python -m tests.clients mage /tmp/talend/bin/python --path /tmp/mage

Every call has to be answered as it is documented.
"""

import argparse
import json
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from psycopg.conninfo import conninfo_to_dict
from tests.clients.program import Outcome
from tests.servers.certificates import make_certificate
from tests.servers.postgres import PostgresServer
from tests.servers.treadle import PATIENCE_SECONDS, TreadleServer, eventually

HOST: Final = "api.stitchdata.com"
HERE: Final = Path(__file__).parent
CLIENTS: Final = ("talend", "connect", "mage")


def main() -> int:
    """Run one client; the exit code is 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("python", help="interpreter of an environment that has the client")
    parser.add_argument("--path", help="folder with modules that are not installed there")
    parser.add_argument("--postgres", action="store_true", help="load into a new PostgreSQL")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as scratch,
        serve(Path(scratch), arguments.postgres) as asked,
    ):
        outcomes = run_client(arguments.client, arguments.python, arguments.path, asked, scratch)
    for one in outcomes:
        print(f"{'ok ' if one.is_right else 'BAD'} {one.call}: {one.seen}")
    wrong = [one for one in outcomes if not one.is_right]
    print(f"{len(outcomes)} calls, {len(wrong)} not as they should be")
    return 1 if wrong or not outcomes else 0


@contextmanager
def serve(folder: Path, postgres: bool) -> Iterator[dict[str, Any]]:
    """Serve, with one table that was loaded; yield what a client program is told."""
    files = make_certificate(folder, "host", (HOST, "127.0.0.1"))
    settings = {
        "tls_cert": str(files.cert),
        "tls_key": str(files.key),
        "load_age_seconds": "0.1",
        "destinations_local": "true",
    }
    with open_postgres(postgres) as (destination, another):
        server = TreadleServer(folder / "data", destination, settings, port=443)
        with server:
            trust = ssl.create_default_context(cafile=str(files.cert))
            with httpx.Client(
                base_url="https://127.0.0.1", verify=trust, timeout=PATIENCE_SECONDS
            ) as http:
                yield {
                    **push_one_table(http, *server.account()),
                    "database": another,
                    "authority": str(files.cert),
                }


@contextmanager
def open_postgres(wanted: bool) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Yield the destination of the server, and the body that a client makes another one with.

    Args:
        wanted: start a PostgreSQL, and make new databases in it; without, they are files of DuckDB.
    """
    if not wanted:
        yield None, {"type": "duckdb", "properties": {"path": "another.duckdb"}}
        return
    with PostgresServer() as running:
        urls = [running.create_database() for _ in range(2)]
        parts = conninfo_to_dict(urls[1])
        properties = {
            "host": parts["host"],
            "port": parts["port"],
            "username": parts["user"],
            "password": parts["password"],
            "database": parts["dbname"],
            "ssl": "false",
        }
        yield urls[0], {"type": "postgres", "properties": properties}
        for url in urls:
            running.drop_database(url)


def push_one_table(http: httpx.Client, client_id: int, token: str) -> dict[str, Any]:
    """Make a source, push a record, and wait until its table is a stream."""
    account = {"Authorization": f"Bearer {token}"}
    body = {"type": "import_api", "display_name": "Seen"}
    source = http.post("/v4/sources", json=body, headers=account).json()
    [push_token] = source["properties"]["token"].values()
    record = {
        "client_id": client_id,
        "table_name": "customers",
        "sequence": 1,
        "action": "upsert",
        "key_names": ["id"],
        "data": {"id": 1, "name": "Ann"},
    }
    pushed = http.post(
        "/v2/import/push", json=[record], headers={"Authorization": f"Bearer {push_token}"}
    )
    assert pushed.status_code == 201, pushed.text
    path = f"/v4/sources/{source['id']}/streams"
    eventually(lambda: len(http.get(path, headers=account).json()) == 1)
    [stream] = http.get(path, headers=account).json()
    return {
        "token": token,
        "client_id": client_id,
        "source_id": source["id"],
        "stream_id": stream["stream_id"],
    }


def run_client(
    client: str, python: str, path: str | None, asked: dict[str, Any], scratch: str
) -> list[Outcome]:
    """Run the program of a client where the built-in name leads to this machine."""
    hosts = Path(scratch) / "hosts"
    hosts.write_text(f"127.0.0.1 {HOST} localhost\n")
    done = subprocess.run(
        [
            "unshare",
            "-m",
            "sh",
            "-c",
            'mount --bind "$0" /etc/hosts && exec "$@"',
            str(hosts),
            python,
            str(HERE / f"{client}_program.py"),
        ],
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={
            "PATH": os.environ["PATH"],
            "HOME": scratch,
            "NO_PROXY": "*",
            "REQUESTS_CA_BUNDLE": asked["authority"],
            "SSL_CERT_FILE": asked["authority"],
            "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), *([path] if path else [])]),
        },
        timeout=PATIENCE_SECONDS,
    )
    outcomes = [Outcome(**json.loads(line)) for line in done.stdout.splitlines() if line[:1] == "{"]
    if done.returncode:
        outcomes.append(Outcome("the program", f"exit code {done.returncode}", is_right=False))
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
