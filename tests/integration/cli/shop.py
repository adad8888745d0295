"""A data folder whose log is loaded in this process, for commands that look at what was loaded."""

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import psycopg
from tests.faults.damage import append
from tests.integration.cli.conftest import Treadle

from treadle.config import Config
from treadle.destinations.registry import make_destination
from treadle.log.protocol import NewEntry
from treadle.records.message_batch import MessageBatch, encode_batch
from treadle.server.factories import open_store
from treadle.server.loader_process import make_loader


class Shop:
    """A data folder with a source `web`, whose log is loaded in this process."""

    def __init__(self, data: Path, treadle: Treadle, url: str | None) -> None:
        self.data = data
        self.config = Config(data=data, destination=url, load_rows=3)
        self._treadle = treadle
        assert treadle("account create").code == 0
        self.source_id: int = treadle("source create Web --json").json["source_id"]
        kind = "duckdb" if url is None else make_destination(url).kind
        self.store = open_store(self.config)
        [account] = self.store.accounts.list_accounts()
        self.store.destinations.set_default_destination(
            account.id, kind, self.config.destination_url, "here"
        )
        self.loader = make_loader(self.config, self.store)

    def close(self) -> None:
        self.loader.close()
        self.store.close()

    def push(
        self,
        table: str,
        records: Sequence[dict[str, Any]],
        *,
        first: int,
        keys: tuple[str, ...] = (),
        version: int = 0,
        activations: list[tuple[int, int]] | None = None,
    ) -> None:
        """Accept records with sequences that count up from `first`, and load them."""
        self.accept(
            table, records, first=first, keys=keys, version=version, activations=activations
        )
        self.loader.load_once()

    def accept(
        self,
        table: str,
        records: Sequence[dict[str, Any]],
        *,
        first: int,
        keys: tuple[str, ...] = (),
        version: int = 0,
        activations: list[tuple[int, int]] | None = None,
    ) -> None:
        """Accept records, and load nothing."""
        batch = MessageBatch(
            table,
            keys,
            "json",
            b"",
            (),
            list(range(first, first + len(records))),
            version,
            None,
            activations or [],
            msgspec.json.encode(records),
        )
        at = 1_700_000_000_000_000
        append(
            self.config.log_path,
            [NewEntry(self.source_id, table, at, len(records), encode_batch(batch))],
        )

    def change(self, statement: str) -> None:
        """By hand, in the destination."""
        if self.config.destination is None:
            with closing(duckdb.connect(str(self.config.warehouse_path))) as connection:
                connection.execute(statement)
            return
        if self.config.destination.startswith(("clickhouse:", "mysql:", "redshift:")):
            statements = [statement]
            if self.config.destination.startswith("clickhouse:"):
                from tests.servers.clickhouse import spell_by_hand

                statements = spell_by_hand(statement)
            with make_destination(self.config.destination).open() as session:
                for one in statements:
                    session.query(one)
            return
        with psycopg.connect(self.config.destination, autocommit=True) as database:
            database.execute(statement.encode())

    def audit(self, *words: str) -> dict[str, Any]:
        """Table -> what the audit says; the exit code fits."""
        done = self._treadle("audit --json", *words)
        rows = json.loads(done.out)
        differs = any(row["verdict"] == "differs" for row in rows)
        assert done.code == int(differs), done.err
        return {row["table"]: row for row in rows}
