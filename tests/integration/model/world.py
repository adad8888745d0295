"""A store, a log in memory and a loader over a real destination, without HTTP and without sleep."""

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance.loading.warehouse import DuckDB, FoundTable, Postgres, Warehouse
from tests.integration.model.tables import (
    CLICKHOUSE,
    DUCKDB,
    ICEBERG,
    MYSQL,
    PG,
    REDSHIFT,
    SYSTEM,
    Record,
    Table,
)

from treadle.destinations.planning import execute_load
from treadle.destinations.registry import make_destination
from treadle.errors import RetriableError
from treadle.loader.schedule import FlushPolicy
from treadle.loader.supervisor import LoaderSupervisor
from treadle.log.protocol import EntryNote, HourlyRecords, LogEntry, TableBacklog, TrimPoint
from treadle.log.quota import LogSpace
from treadle.log.slots import SLOTS
from treadle.records import batch as batches
from treadle.records import push as pushes
from treadle.records.message_batch import MessageBatch, decode_batch, encode_batch
from treadle.store.loads import LoadRepository
from treadle.store.model import EntryOutcome, LoadReport
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store
from treadle.tables.model import OffsetCommit, TableOptions
from treadle.tables.prepare.prepare import LogBatch, prepare_load
from treadle.tables.schema_owner import SchemaOwner

CLIENT = 1


class DyingLoads(LoadRepository):
    """Loads of a store whose process dies before a load is recorded, when told to."""

    dies = False

    def record_loads(
        self,
        committed: Sequence[tuple[LoadReport, Sequence[EntryOutcome]]],
        *,
        destination_id: int | None = None,
        place: str = "",
    ) -> None:
        if self.dies:
            self.dies = False
            raise RetriableError("the process died before it recorded a load")
        super().record_loads(committed, destination_id=destination_id, place=place)


@dataclass
class MemoryLog:
    """The promise of a log, for one process that never dies."""

    log_id: str
    entries: list[LogEntry] = field(default_factory=list)
    marks: dict[tuple[int, str], int] = field(default_factory=dict)

    def append(self, source_id: int, found: Sequence[MessageBatch], at: int) -> None:
        for batch in found:
            position = len(self.entries) + 1
            self.entries.append(
                LogEntry(position, source_id, batch.table_name, at, len(batch), encode_batch(batch))
            )

    def list_backlogs(self) -> list[TableBacklog]:
        waiting: dict[tuple[int, str], list[LogEntry]] = {}
        for entry in self.entries:
            key = (entry.source_id, entry.table_name)
            if entry.position > self.marks.get(key, 0):
                waiting.setdefault(key, []).append(entry)
        return [
            TableBacklog(*key, several[-1].position, len(several), 1, 1, 0, self.marks.get(key, 0))
            for key, several in waiting.items()
        ]

    def sense_append(self) -> bool:
        return True

    def read(
        self, source_id: int, table_name: str, after: int, records_max: int, bytes_max: int
    ) -> list[Any]:
        found: list[LogEntry] = []
        for entry in self.entries:
            if (entry.source_id, entry.table_name) == (source_id, table_name):
                if entry.position <= after:
                    continue
                if found and sum(e.records for e in found) + entry.records > records_max:
                    break
                found.append(entry)
        return found

    def find_entries(self, first: int, count: int) -> list[Any]:
        return [entry for entry in self.entries if first <= entry.position < first + count]

    def mark_loaded(self, source_id: int, table_name: str, position: int) -> None:
        self.marks[source_id, table_name] = position

    def trim(self, points: Sequence[TrimPoint]) -> int:
        return 0

    def share_tables(self, slots: frozenset[int], loaded: Mapping[tuple[int, str], int]) -> None:
        assert slots == frozenset(range(SLOTS)), "one loader has all tables"

    def get_anchor(self, position: int) -> bytes | None:
        return b"%d" % position

    @property
    def statistics(self) -> "MemoryLog":
        return self

    def list_tables(self) -> list[tuple[int, str]]:
        return sorted({(entry.source_id, entry.table_name) for entry in self.entries})

    def count_records_above(self, source_id: int, table_name: str, position: int) -> int:
        raise AssertionError("a loader never asks for metrics")

    def count_by_hour(self, source_id: int, table_name: str, loaded: int) -> list[HourlyRecords]:
        raise AssertionError("a loader never asks for a ledger")

    def get_received_times(self, positions: Sequence[int]) -> dict[int, int]:
        wanted = set(positions)
        return {e.position: e.received_at for e in self.entries if e.position in wanted}

    def list_entries_below(
        self, position: int | None, limit: int, table: tuple[int, str] | None = None
    ) -> list[EntryNote]:
        raise AssertionError("a loader never asks for requests")

    def find_keys(self, names: Sequence[bytes]) -> dict[bytes, int]:
        raise AssertionError("a loader never asks for requests with a key")

    def forget_keys(self, before: int) -> int:
        raise AssertionError("a loader that loads once removes nothing")

    def measure_space(self) -> LogSpace:
        raise AssertionError("a loader that loads once never asks")

    def close(self) -> None:
        """Nothing was opened."""


class World:
    """Everything but the model: built once, with a source for each run."""

    def __init__(self, folder: Path, url: str | None) -> None:
        self.path = folder / "warehouse.duckdb"
        self.url = url or f"duckdb://{self.path}"
        self.destination = make_destination(self.url)
        scheme = self.url.partition(":")[0]
        dialects = {
            "clickhouse": CLICKHOUSE,
            "duckdb": DUCKDB,
            "iceberg+sql": ICEBERG,
            "mysql": MYSQL,
            "redshift": REDSHIFT,
        }
        self.dialect = dialects.get(scheme, PG)
        self.store = Store.open(f"sqlite:///{folder / 'store.sqlite'}", SecretCipher(bytes(32)))
        self.store.loads = self.loads = DyingLoads(self.store._database)
        if not self.store.accounts.list_accounts():
            self.store.accounts.create_account("one", client_id=CLIENT)
        self.store.destinations.set_default_destination(
            CLIENT, self.destination.kind, self.url, self.destination.identity
        )
        self.now = 1_700_000_000_000_000

    def clock(self) -> int:
        self.now += 1_000_000
        return self.now

    def run(self) -> "Run":
        return Run(self)

    def close(self) -> None:
        self.store.close()


class Run:
    """One source with its tables, beside their model."""

    def __init__(self, world: World) -> None:
        self.world = world
        name = f"run_{uuid.uuid4().hex[:12]}"
        self.source = world.store.sources.create_source(
            CLIENT, type="import_api", display_name=name, name=name, bootstrap_token=False
        )
        self.log = MemoryLog(str(uuid.uuid4()))
        self.tables: dict[str, Table] = {}
        self.waiting: dict[str, list[tuple[list[Record], int | None]]] = {}
        self.bundle_max = 100_000
        self.sound = True
        self.loader = self._loader()

    def _loader(self) -> LoaderSupervisor:
        world = self.world
        return LoaderSupervisor(
            store=world.store,
            open_reader=lambda: self.log,
            open_destination=make_destination,
            flush_policy=FlushPolicy(age_us=0, records=self.bundle_max),
            retention_us=10**15,
            clock=world.clock,
            new_id=lambda: str(uuid.uuid4()),
        )

    # --- what may happen --------------------------------------------------------------------------

    def send(
        self,
        table: str,
        keys: Sequence[str],
        records: Sequence[Record],
        *,
        schema: Mapping[str, Any] | None = None,
        version: int = 0,
        activate: bool = False,
    ) -> None:
        """A push, or with a schema a batch; accepted or the run is at fault."""
        if schema is None:
            body: Any = [
                {
                    "client_id": CLIENT,
                    "table_name": table,
                    "sequence": record.sequence,
                    "action": "upsert",
                    "key_names": list(keys),
                    "data": record.data,
                }
                | ({"table_version": record.version} if record.version else {})
                for record in records
            ]
            text = json.dumps(body).encode()
            found = pushes.check_body(pushes.decode_body(text, transit=False), CLIENT)
        else:
            messages: list[Any] = [
                {"action": "upsert", "sequence": record.sequence, "data": record.data}
                for record in records
            ]
            if activate:
                messages.append({"action": "activate_version", "sequence": 1})
            body = {
                "table_name": table,
                "schema": {"type": "object", "properties": schema},
                "key_names": list(keys),
                "messages": messages,
                "table_version": version,
            }
            found = batches.check_body(batches.decode_body(json.dumps(body).encode()))
        self.log.append(self.source.id, found, self.world.clock())
        self.tables.setdefault(table, Table(self.world.dialect, table, keys))
        self.waiting.setdefault(table, []).append((list(records), version if activate else None))

    def load(self, *, dies: bool = False, restarts: bool = False, at_once: int = 100_000) -> None:
        """Load everything, perhaps dying on the way; then the model does, and both are equal."""
        if at_once != self.bundle_max:
            self.bundle_max = at_once
            self.restart()
        self.world.loads.dies = dies and bool(self.waiting)
        self.loader.load_once()
        self.world.loads.dies = False
        if dies:
            if restarts:
                self.restart()
            self.loader.load_once()
        for status in self.world.store.tables.list_statuses(self.source.id):
            assert status.error is None, f"{status.table_name}: {status.error}"
        assert not self.log.list_backlogs(), "something still waits"
        for table, entries in self.waiting.items():
            for records, activate in _bundles(entries, at_once):
                self.tables[table].load(records, activate)
        self.waiting = {}
        self.sound = False
        self.check()
        self.sound = True

    def rehearse(self) -> None:
        """A loader that dies between its plan and its COMMIT leaves nothing behind."""
        for table in self.waiting:
            entries = [e for e in self.log.entries if e.table_name == table]
            after = self.log.marks.get((self.source.id, table), 0)
            fresh = [e for e in entries if e.position > after]
            prepared = prepare_load(
                [LogBatch(decode_batch(e.payload), e.position, e.received_at) for e in fresh],
                schema=self.source.name,
                source_name=table,
                profile=self.world.destination.profile,
                options=TableOptions(),
                owner=SchemaOwner(
                    self.world.store.installation_id, self.source.account_id, self.source.id
                ),
            )
            position, fence = fresh[-1].position, 2**62  # above any lease, and undone
            mark = OffsetCommit(
                self.log.log_id, self.source.id, table, after or -1, position, fence
            )
            with self.world.destination.open() as session:
                execute_load(session, prepared, offset=mark, now=self.world.clock(), rehearse=True)
        self.check()

    def restart(self) -> None:
        """Another loader, which knows nothing."""
        self.loader.close()
        self.loader = self._loader()

    def close(self) -> None:
        self.loader.close()
        self.world.store.sources.delete_source(None, self.source.id)
        if self.world.dialect in (PG, REDSHIFT):
            with suppress(Exception):
                self.warehouse().run(f'DROP SCHEMA "{self.source.name}" CASCADE')
        elif self.world.dialect is CLICKHOUSE:
            self.warehouse().run(f"DROP DATABASE IF EXISTS `{self.source.name}`")
        elif self.world.dialect is MYSQL:
            self.warehouse().run(f"DROP SCHEMA IF EXISTS {self.source.name}")
        elif self.world.dialect is ICEBERG:
            with suppress(Exception):
                self.warehouse().run(f'DROP SCHEMA "{self.source.name}" CASCADE')
        elif self.world.path.exists():
            self.warehouse().run(f'DROP SCHEMA IF EXISTS "{self.source.name}" CASCADE')

    # --- what is to hold --------------------------------------------------------------------------

    def warehouse(self) -> Warehouse:
        if self.world.dialect is PG:
            return Postgres(self.world.url, self.source.name)
        if self.world.dialect is CLICKHOUSE:
            from tests.conformance.loading.clickhouse_warehouse import Clickhouse

            return Clickhouse(self.world.url, self.source.name)
        if self.world.dialect is REDSHIFT:
            from tests.conformance.loading.redshift_warehouse import Redshift

            return Redshift(self.world.url, self.source.name)
        if self.world.dialect is MYSQL:
            from tests.conformance.loading.mysql_warehouse import Mysql

            return Mysql(self.world.url, self.source.name)
        if self.world.dialect is ICEBERG:
            from tests.conformance.loading.iceberg_warehouse import Iceberg

            return Iceberg(self.world.url, self.source.name)
        return DuckDB(str(self.world.path), self.source.name)

    def check(self) -> None:
        """The tables equal the model."""
        if self.world.dialect is DUCKDB and not self.world.path.exists():
            return
        found = self.warehouse().tables()
        rejected = found.pop("_sdc_rejected", None)
        wanted: dict[str, Any] = {}
        for table in self.tables.values():
            wanted |= {name: columns for name, (columns, _) in table.shown().items()}
        _equal("tables", sorted(found), sorted(wanted))
        for name, columns in wanted.items():
            _equal(f"columns of {name}", self._columns(found[name]), self._ordered(columns))
        for table in self.tables.values():
            if table.version is not None:
                rows = _seen_bundles(table, found)
                _equal(f"rows of {table.name}", rows, _model_bundles(table))
        reasons = [reason for table in self.tables.values() for reason in table.rejected]
        _equal("rejections", _reasons(_rejections(rejected)), _reasons(reasons))
        _check_causes(rejected)

    def _columns(self, found: FoundTable) -> Any:
        columns = [
            (self.world.dialect.fold(name), kind)
            for name, kind in found.columns
            if not SYSTEM.fullmatch(name)
        ]
        return self._ordered(columns)

    def _ordered(self, columns: Sequence[tuple[str, str]]) -> Any:
        # Where case does not count, the order goes by the spelling that came first.
        return sorted(columns) if self.world.dialect.folds else list(columns)


def _equal(what: str, found: Sequence[Any], wanted: Sequence[Any]) -> None:
    more = [each for each in found if each not in wanted]
    less = [each for each in wanted if each not in found]
    assert found == wanted, f"{what}: not by the rules {more}, missing {less}"


def _bundles(
    entries: Sequence[tuple[list[Record], int | None]], at_once: int
) -> Iterator[tuple[list[Record], int | None]]:
    """The records of each load, by the bound on records of one load."""
    taken: list[Record] = []
    activate: int | None = None
    begun = False
    for records, version in entries:
        if begun and len(taken) + len(records) > at_once:
            yield taken, activate
            taken, activate, begun = [], None, False
        taken = taken + records
        activate = version if version is not None else activate
        begun = True
    if begun:
        yield taken, activate


def _rejections(found: FoundTable | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    names = [name for name, _ in found.columns]
    table, reason = names.index("table_name"), names.index("reason")
    return [(row[table], row[reason]) for row in found.rows]


CODES = {
    "out of range for": re.compile("(integer|decimal|timestamp)_out_of_range"),
    "is too long for": re.compile("name_too_long"),
    "Field collision on": re.compile("field_collision"),
    "reserved datatype suffix": re.compile("reserved_suffix"),
    "is reserved": re.compile("name_reserved"),
    "holds no single value": re.compile("key_missing"),
    "Primary Key type": re.compile("key_type_differs"),
    "NUL character": re.compile("nul_character"),
}
"""A part of a reason -> the code of its cause."""


def _check_causes(found: FoundTable | None) -> None:
    """Each rejection has the code of its reason, and names the field that the reason names."""
    for row in () if found is None else found.rows:
        told = dict(zip((name for name, _ in found.columns), row, strict=True)) if found else {}
        reason, code, field = told["reason"], told["code"], told["field"]
        [expected] = [pattern for part, pattern in CODES.items() if part in reason]
        assert expected.fullmatch(code), f"{reason}: {code}"
        assert field, f"{reason}: no field"
        if code in ("name_too_long", "key_missing"):
            assert field.rpartition("__")[2] in reason or field in reason, f"{reason}: {field}"


def _reasons(reasons: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """A record with two faults is rejected for either."""
    return sorted(
        (table, reason if "is too long for" in reason else "rejected") for table, reason in reasons
    )


def _row(names: Sequence[str], values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(sorted((n, v) for n, v in zip(names, values, strict=True) if v is not None))


def _model_bundles(table: Table) -> list[Any]:
    bundles: dict[Any, list[Any]] = {}
    for path, relation in table.relations.items():
        for (key, levels), row in relation.rows.items():
            place = (relation.sequences[key, levels], table.version)
            values = _row(list(row), list(row.values()))
            bundles.setdefault(key, []).append((path, levels, place, values))
    return sorted((sorted(bundle) for bundle in bundles.values()), key=repr)


def _seen_bundles(table: Table, found: Mapping[str, FoundTable]) -> list[Any]:
    bundles: dict[Any, list[Any]] = {}
    keys = table.keys or ("__sdc_primary_key",)
    for path in table.relations:
        seen = found["__".join((table.name, *path))]
        names = [name for name, _ in seen.columns]
        own = [name for name in names if not SYSTEM.fullmatch(name)]
        level_names = sorted(name for name in names if name.startswith("_sdc_level_"))
        key_names = [f"_sdc_source_key_{key}" for key in keys] if path else list(keys)
        for row in seen.rows:
            value = dict(zip(names, row, strict=True))
            key = tuple(value[name] for name in key_names)
            levels = tuple(value[name] for name in level_names)
            place = (value["_sdc_sequence"], value["_sdc_table_version"])
            values = _row([table.dialect.fold(n) for n in own], [value[n] for n in own])
            bundles.setdefault(key, []).append((path, levels, place, values))
    return sorted((sorted(bundle) for bundle in bundles.values()), key=repr)
