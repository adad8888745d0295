"""`python -m tests.faults.commit`: the connection to a database cut at the COMMIT of a load.

A cycle is one load whose connection is cut: before COMMIT is passed on, as soon as it is, or when
the server's answer comes back, which the loader never sees. Two of three loads are the first of a
table; half of these are cut in the same ways where they make the table, together with the entries
that say that it was loaded. Every record is in its table once.
"""

import argparse
import asyncio
import contextlib
import itertools
import logging
import sys
from pathlib import Path
from typing import cast, get_args
from urllib.parse import urlsplit

import msgspec
from tests.faults.calls import TABLES, batch, made
from tests.faults.command import Tally, command, destinations, folder
from tests.faults.proxy import CLICKHOUSE_COMMIT, COMMIT, MYSQL_COMMIT, Cut, Proxy, before

from treadle.destinations.protocol import MissingRelationError
from treadle.destinations.registry import make_destination
from treadle.loader.schedule import FlushPolicy
from treadle.loader.supervisor import LoaderSupervisor
from treadle.log.protocol import NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.records.message_batch import encode_batch
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

ROUNDS_MAX = 6
MAKING = b'CREATE TABLE "web"'
"""What the last piece of a first load's beginning has in it."""

BACKTICKED_MAKING = b"CREATE TABLE `web`"

MARKS = {
    "clickhouse": (CLICKHOUSE_COMMIT, BACKTICKED_MAKING),
    "mysql": (MYSQL_COMMIT, BACKTICKED_MAKING),
}
"""Scheme of a URL -> what a COMMIT has in it, and what the making of a table."""


STORES = ("files", "iceberg")
"""Kinds that are on SeaweedFS here."""


def cuts(path: Path, url: str, count: int, seed: int, tally: Tally) -> None:
    """Loads with a cut each, into one database."""
    port = urlsplit(url).port or 0
    commit, making = find_marks(url)
    made(path / "store.sqlite")
    store = Store.open(f"sqlite:///{path / 'store.sqlite'}", SecretCipher(bytes(32)))
    with before("127.0.0.1", port) as proxy:
        through = url.replace(f":{port}/", f":{proxy.port}/")
        [account], [source] = store.accounts.list_accounts(), store.sources.list_sources()
        store.destinations.set_default_destination(
            account.id,
            make_destination(through).kind,
            through,
            make_destination(through).identity,
        )
        numbers = itertools.count()
        loader = LoaderSupervisor(
            store=store,
            open_reader=lambda: SqliteReader(path / "log.sqlite"),
            open_destination=make_destination,
            flush_policy=FlushPolicy(age_us=0),
            retention_us=10**15,
            clock=itertools.count(1_700_000_000_000_000, 1_000).__next__,
            new_id=lambda: f"load-{next(numbers)}",
        )
        for number in range(seed, seed + count):
            table = table_of(number)
            sent = msgspec.structs.replace(batch(kind_of(number), number), table_name=table)
            asyncio.run(append(path, NewEntry(source.id, table, 1, 5, encode_batch(sent))))
            cut = cast(Cut, get_args(Cut)[number // 2 % 3])
            proxy.mark = making if number // 6 % 3 == 2 else commit
            tally.note(f"load {number}, {cut}", one(proxy, loader, url, table, number, cut))
            tally.add(**{f"cut {cut}": 1, "first loads": int(table not in TABLES)})
        loader.close()
        tally.note("at the end", every(url, range(seed, seed + count)))
        reported = sum(
            load.rows_received for load in store.loads.list_loads(limit=10**6) if not load.error
        )
        tally.note("reports", [] if reported == 5 * count else [f"{reported} records reported"])
    store.close()


def find_marks(url: str) -> tuple[bytes, bytes]:
    """What a commit has in it, and what makes a table."""
    scheme = url.partition(":")[0]
    if scheme == "iceberg+rest":
        from tests.servers.iceberg_hand import open_catalog

        with contextlib.closing(open_catalog(url)) as catalog:
            prefix = str(catalog.properties.get("prefix", "")).strip("/")
        tables = f"POST /v1/{prefix + '/' if prefix else ''}namespaces/web/tables".encode()
        return tables + b"/", tables + b" HTTP"
    if scheme == "files+s3":
        place = f"PUT {urlsplit(url).path}/_treadle/".encode()
        return place + b"tables/", place + b"pending/"
    return MARKS.get(scheme, (COMMIT, MAKING))


def kind_of(number: int) -> str:
    """The table of `TABLES` that an entry would be for."""
    return list(TABLES)[number % 2]


def table_of(number: int) -> str:
    """The table that an entry is for: that one, or one of its own of the same kind."""
    return f"{kind_of(number)}_{number}" if number // 6 % 3 else kind_of(number)


async def append(path: Path, entry: NewEntry) -> None:
    """Accept one entry."""
    log = SqliteAppender(path / "log.sqlite")
    await log.append([entry])
    await log.aclose()


def one(
    proxy: Proxy, loader: LoaderSupervisor, url: str, table: str, number: int, cut: Cut
) -> list[str]:
    """Load with a cut and go on until the rows are there; what is wrong with them."""
    proxy.cut = cut
    cuts_before = proxy.cuts
    for _ in range(ROUNDS_MAX):
        loader.load_once()
        if proxy.cuts > cuts_before and rows(url, table, number):
            break
    loader.load_once()
    if proxy.cuts == cuts_before:
        return ["the connection was not cut"]
    found = rows(url, table, number)
    return [] if found == 5 else [f"{found} rows, expected 5"]


def rows(url: str, table: str, number: int) -> int:
    """Rows of one entry."""
    with make_destination(url).open(read_only=True) as session:
        if table not in session.relations("web"):
            return 0
        try:
            [(found,)] = session.query(
                f"select count(*) from web.{table} where entry = {number}"
            ).rows
        except MissingRelationError:  # an Iceberg table is made before its first load is committed
            return 0
        return cast(int, found)


def every(url: str, numbers: range) -> list[str]:
    """Compare the table without a key as a whole."""
    expected = 5 * sum(table_of(number) == "events" for number in numbers)
    with make_destination(url).open(read_only=True) as session:
        [(count, different)] = session.query(
            "select count(*), count(distinct id) from web.events"
        ).rows
    return [] if count == different == expected else [f"{count} rows, {different} different"]


def start_store(stack: contextlib.ExitStack, kind: str) -> str:
    """The URL of a catalogue, or of a bucket for files, that ends with `stack`."""
    from tests.servers.iceberg import SeaweedServer

    server = stack.enter_context(SeaweedServer())
    return server.rest_url() if kind == "iceberg" else server.files_url("cuts")


def run(arguments: argparse.Namespace, tally: Tally) -> None:
    """All cycles with one server of each kind."""
    logging.getLogger("treadle").setLevel(logging.CRITICAL)
    kinds = [kind for kind in arguments.destination if kind != "duckdb"] or ["postgres"]
    with contextlib.ExitStack() as stack:
        fresh = stack.enter_context(destinations([kind for kind in kinds if kind not in STORES]))
        for kind in kinds:
            url = start_store(stack, kind) if kind in STORES else fresh(kind)
            assert url is not None
            with folder() as path:
                cuts(path, url, arguments.cycles, arguments.seed, tally)


if __name__ == "__main__":
    sys.exit(command("commit", str(__doc__), run, cycles=300))
