"""Sends with clients that have packages of their own, as the page says: `target-stitch` and dlt.

    python -m tests.clients.by_the_page [target-stitch] [dlt]

The config of `target-stitch` and the program for dlt are those of
`docs/how-to/send-with-clients.md`; only the server and the credentials are put in their places.
Each client gets a virtual environment in a temporary folder, because `target-stitch` pins versions
that treadle cannot use. So this needs a package index and about a minute, and is no part of the
test suite.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.servers.treadle import TreadleServer, eventually

PAGE: Final = Path(__file__).parents[2] / "docs" / "how-to" / "send-with-clients.md"
BUILT_IN: Final = "https://treadle.example.com"
TOKEN: Final = "at_..."

SINGER: Final[list[dict[str, Any]]] = [
    {
        "type": "SCHEMA",
        "stream": "orders",
        "schema": {
            "type": "object",
            "properties": {
                "id": {"type": "integer"},
                "at": {"type": "string", "format": "date-time"},
                "price": {"type": ["null", "number"], "multipleOf": 0.01},
            },
        },
        "key_properties": ["id"],
    },
    *(
        {
            "type": "RECORD",
            "stream": "orders",
            "record": {
                "id": number,
                "at": "2026-01-01T00:00:00Z",
                "price": 0.1,
            },
        }
        for number in range(1000)
    ),
    {"type": "STATE", "value": {"at": 1000}},
]
"""What a tap prints."""


def find_block(language: str, mark: str) -> str:
    """The first block of the page in a language that has a text in it."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return next(str(block) for block in blocks if mark in block)


def make_environment(folder: Path, *packages: str) -> Path:
    """The folder of the programs of a virtual environment with these packages."""
    venv.create(folder, with_pip=True)
    programs = folder / "bin"
    subprocess.run([programs / "pip", "install", "--quiet", *packages], check=True)
    return programs


def run_client(
    command: list[Path | str], text: str = "", environment: Mapping[str, str] | None = None
) -> str:
    """What a client prints; it is to end well."""
    done = subprocess.run(
        [str(word) for word in command],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_target_stitch(server: TreadleServer, client_id: int, token: str, folder: Path) -> None:
    """Send what a tap prints, and look at the state and the rows."""
    programs = make_environment(folder / "target", *_find_requirements("target-stitch==[0-9.]+"))
    config = json.loads(find_block("json", "batch_size_preferences"))
    assert config["token"] == TOKEN
    config |= {"client_id": client_id, "token": token}
    file = folder / "target.json"
    file.write_text(json.dumps(config).replace(BUILT_IN, server.url))
    lines = "".join(json.dumps(message) + "\n" for message in SINGER)
    state = run_client([programs / "target-stitch", "--config", file], lines)
    assert json.loads(state.splitlines()[-1]) == {"at": 1000}
    _expect(server, "import_api.orders", 1000)


def run_dlt(server: TreadleServer, client_id: int, token: str, folder: Path) -> None:
    """Run the program of the page, with records that have every type it names."""
    programs = make_environment(folder / "dlt", "dlt", "requests")
    file = folder / "pipeline.py"
    file.write_text(find_block("python", "@dlt.destination") + DLT_RECORDS)
    environment = {
        "DESTINATION__TREADLE__URL": server.url,
        "DESTINATION__TREADLE__TOKEN": token,
        "DLT_DATA_DIR": str(folder / "dlt-data"),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
    }
    for _ in range(2):  # what has a key replaces itself
        run_client([programs / "python", file], environment=environment)
    _expect(server, "import_api.typed", 2)
    types = 'typeof("at") as "at", typeof(price) as price, typeof(n) as n'
    [row] = server.query(f"select distinct {types} from import_api.typed")
    assert row["at"] == "TIMESTAMP WITH TIME ZONE"
    assert row["price"].startswith("DECIMAL")
    assert row["n"] == "BIGINT"


DLT_RECORDS: Final = """
from datetime import UTC
from decimal import Decimal

records = [
    {"id": n, "at": datetime(2026, 1, 1, tzinfo=UTC), "price": Decimal("0.10"), "n": n, "ok": True}
    for n in range(2)
]
pipeline.run(records, table_name="typed", primary_key="id")
"""

CLIENTS: Final[Mapping[str, Callable[[TreadleServer, int, str, Path], None]]] = {
    "target-stitch": run_target_stitch,
    "dlt": run_dlt,
}


def _find_requirements(pattern: str) -> list[str]:
    """What the page installs."""
    found = re.search(pattern, PAGE.read_text())
    assert found, pattern
    return [found[0]]


def _expect(server: TreadleServer, table: str, count: int) -> None:
    query = f"select count(*) as n from {table}"
    eventually(lambda: server.query(query) == [{"n": count}], 120)


def main(names: list[str]) -> None:
    """Run the clients with these names, or all."""
    with tempfile.TemporaryDirectory() as name, TreadleServer(Path(name) / "data") as server:
        client_id, _ = server.account()
        server.treadle("source", "create", "Import API")
        made = json.loads(server.treadle("token", "create", "import_api", "--json"))
        for client in names or CLIENTS:
            CLIENTS[client](server, client_id, made["access_token"], Path(name))
            sys.stdout.write(f"{client}: as the page says\n")


if __name__ == "__main__":
    main(sys.argv[1:])
