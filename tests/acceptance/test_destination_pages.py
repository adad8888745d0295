"""The pages about several destinations: their commands, and what they print."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.servers.shell import typed
from tests.servers.treadle import Client, TreadleServer, eventually

from treadle.log.protocol import TrimPoint
from treadle.log.sqlite.log import SqliteReader

REMOTE = ("name N.N well", "TLS N.N well")
"""Phases of a check that a database of another machine has."""

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


class WalkThrough:
    """The commands of a page, typed beside a running server.

    Args:
        page: name of the page.
        server: that the commands are about.
        folder: in which they are typed.
    """

    def __init__(self, page: str, server: TreadleServer, folder: Path) -> None:
        self._text = (PAGES / page).read_text()
        self._server = server
        self._folder = folder

    def type(self, lines: str) -> str:
        data = {"TREADLE_DATA": str(self._server.data), "TREADLE_PORT": str(self._server.port)}
        return typed(lines, data, self._folder)

    def type_block(self, mark: str) -> str:
        """Type the block without shown output that has a text in it."""
        blocks = re.findall(r"(?ms)^```\n(.*?)^```$", self._text)
        [lines] = [block for block in blocks if mark in block]
        return self.type(lines)

    def compare(self, mark: str, *, waits: bool = False) -> None:
        """Type a command whose output the page shows, and compare both.

        Args:
            mark: the command, or what only it begins with.
            waits: what it shows comes about by itself.
        """
        blocks = re.findall(r"(?ms)^```console\n(.*?)^```$", self._text)
        shown = [part for block in blocks for part in re.split(r"(?m)^\$ ", block)[1:]]
        outputs = dict(part.split("\n", 1) for part in shown)
        [command] = [one for one in outputs if one == mark] or [
            one for one in outputs if one.startswith(mark)
        ]
        if waits:
            eventually(lambda: _alike(self.type(command)) == _alike(outputs[command]))
        else:
            shown_lines = _alike(outputs[command])
            if "check" in command:  # a database of this machine is reached by its address, in clear
                shown_lines = [each for each in shown_lines if each not in REMOTE]
            assert _alike(self.type(command)) == shown_lines


def _alike(text: str) -> list[str]:
    """Lines with what differs from run to run made equal: numbers, and the width of columns."""
    return [" ".join(re.sub(r"\d+", "N", line).split()) for line in text.splitlines()]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TreadleServer]:
    """A server that began with the embedded default."""
    with TreadleServer(tmp_path / "data", settings={"load_age_seconds": "0.2"}) as running:
        yield running


def test_two_destinations(server: TreadleServer, tmp_path: Path) -> None:
    (tmp_path / "url.txt").write_text(f"duckdb://{tmp_path}/lake.duckdb")
    page = WalkThrough("two-destinations.md", server, tmp_path)
    client = Client(server, *server.account())
    source_id, token = client.create_source("Orders")
    assert client.push(token, [{"id": 0}], table="orders").status_code == 201
    count = "select count(*) as n from orders.orders"
    eventually(lambda: server.query(count) == [{"n": 1}])
    page.type_block("destination create")
    page.compare("treadle destination check Lake")
    page.compare("treadle source move orders")
    assert client.push(token, [{"id": 1}, {"id": 2}], table="orders").status_code == 201
    page.compare("treadle destination show Lake")
    page.compare("treadle query --destination", waits=True)

    # And back over the network, as the page says.
    [first, _] = client.http.get("/v4/destinations", headers=client.account).json()
    call = (
        f"API={server.url} SOURCE={source_id} LAKE={first['id']} "
        f"TOKEN={client.account['Authorization'].split()[1]}\n"
    )
    [curl] = re.findall(r"(?m)^curl .*$", (PAGES / "two-destinations.md").read_text())
    page.type(call + curl)
    # The first place gets what it missed.
    eventually(lambda: server.query(count) == [{"n": 3}])


@pytest.mark.file_log
def test_from_duckdb_to_postgresql(
    server: TreadleServer, tmp_path: Path, postgres_database: str
) -> None:
    (tmp_path / "url.txt").write_text(postgres_database)
    page = WalkThrough("duckdb-to-postgresql.md", server, tmp_path)
    client = Client(server, *server.account())
    source_id, token = client.create_source()

    def push(table: str, first: int, count: int) -> None:
        records = [{"id": number} for number in range(first, first + count)]
        assert client.push(token, records, table=table).status_code == 201

    push("orders", 0, 2)
    push("orders", 2, 4)
    push("customers", 0, 3)
    eventually(
        lambda: (
            server.query("select count(*) as n from import_api.orders") == [{"n": 6}]
            and server.query("select count(*) as n from import_api.customers") == [{"n": 3}]
        )
    )
    with closing(SqliteReader(server.data / "log.sqlite")) as reader:
        assert reader.trim([TrimPoint(source_id, "orders", 1)]) == 1  # as after `retention_days`
    page.type_block("destination create")
    page.compare("treadle destination check Warehouse")
    page.compare("treadle source move import_api Warehouse --with-history --dry-run")
    page.compare("treadle source move import_api Warehouse --with-history")
    page.compare("treadle query --destination")

    push("orders", 6, 4)
    count = f'treadle query --destination "$(cat url.txt)" "{COUNT}" --json'
    eventually(lambda: '"n":8' in page.type(count).replace(" ", ""))
    assert server.query(COUNT) == [{"n": 6}]
    page.type("treadle source move import_api duckdb")
    eventually(lambda: server.query(COUNT) == [{"n": 10}])


COUNT = "select count(*) as n from import_api.orders"
