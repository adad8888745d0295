"""The bulk cases of the loading rules (13.10), and every pair of types, over HTTP."""

import itertools
import json
import random
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.conformance.loading.runner import Rig
from tests.conformance.loading.warehouse import FoundTable, Warehouse
from tests.servers.postgres import PostgresServer

from treadle.errors import RetriableError


@pytest.fixture(scope="module", params=["duckdb", "pg"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    url = None if request.param == "duckdb" else request.getfixturevalue("postgres_user_database")
    with Rig(tmp_path_factory.mktemp(request.param) / "data", url).running() as running:
        yield running


class Source:
    """A source of its own for one case."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.id, self.schema, self.token = rig.source(f"bulk {secrets.token_hex(4)}")
        self.warehouse: Warehouse = rig.warehouse(self.schema)
        self.postgres = self.warehouse.name == "pg"

    def push(
        self, rows: list[tuple[int, dict[str, Any]]], *, keys: list[str] | None = None
    ) -> None:
        body = [
            {
                "client_id": 1,
                "table_name": "t",
                "sequence": sequence,
                "action": "upsert",
                "key_names": ["id"] if keys is None else keys,
                "data": data,
            }
            for sequence, data in rows
        ]
        self.post("/v2/import/push", body)

    def batch(self, rows: list[dict[str, Any]]) -> None:
        messages = [
            {"action": "upsert", "sequence": number, "data": data}
            for number, data in enumerate(rows)
        ]
        self.post("/v2/import/batch", {"table_name": "t", "schema": {}, "messages": messages})

    def post(self, path: str, body: object) -> None:
        answer = self.rig.http.post(
            path, json=body, headers={"Authorization": f"Bearer {self.token}"}
        )
        assert answer.status_code == 201, answer.text

    def load(self) -> None:
        self.rig.loader.load_once()

    def tables(self) -> dict[str, FoundTable]:
        found = self.warehouse.tables()
        found.pop("_sdc_rejected", None)
        return found

    def rows(self, table: str = "t", *columns: str) -> list[tuple[Any, ...]]:
        found = self.tables()[table]
        names = [name for name, _ in found.columns]
        at = [names.index(column) for column in columns]
        return sorted(tuple(row[index] for index in at) for row in found.rows)

    def rejected(self) -> list[tuple[str, str]]:
        return [
            (str(table), str(reason))
            for table, reason in self.warehouse.query(
                "SELECT table_name, reason FROM _sdc_rejected"
            )
        ]


@pytest.fixture
def source(rig: Rig) -> Source:
    return Source(rig)


def fields(count: int, value: Callable[[int], object], prefix: str = "c") -> dict[str, object]:
    return {f"{prefix}{number:04}": value(number) for number in range(1, count + 1)}


def own_columns(found: FoundTable) -> int:
    return sum(not name.startswith("_sdc_") for name, _ in found.columns)


def test_b01_more_columns_than_a_table_can_have(source: Source) -> None:
    source.push([(1, {"id": 1, **fields(1600, lambda number: number)})])
    source.load()
    if source.postgres:
        assert source.tables() == {}
        assert source.rejected() == [("t", "ERROR: too many columns")]
    else:
        assert own_columns(source.tables()["t"]) == 1601
        assert len(source.tables()["t"].rows) == 1


def test_b02_a_later_load_with_too_many_more(source: Source) -> None:
    source.push([(1, {"id": 1, **fields(1400, lambda number: "x")})])
    source.load()
    before = source.tables()["t"]
    source.push([(2, {"id": 2, **fields(300, lambda number: "y", "d")})])
    source.load()
    after = source.tables()["t"]
    if source.postgres:
        assert after == before
        assert source.rejected() == [("t", "ERROR: too many columns")]
    else:
        assert own_columns(after) == 1701
        assert len(after.rows) == 2


def test_b03_a_row_too_big_for_a_page(source: Source) -> None:
    big = {"id": 1, **fields(1500, lambda number: 2**62 + number)}
    source.push([(1, {"id": 2, "c0001": 1}), (1, big), (1, {"id": 3, "c0001": 2})])
    source.load()
    if source.postgres:
        assert source.rejected() == [("t", "row is too big for PostgreSQL")]
        assert source.rows("t", "id", "c0001") == [(2, 1), (3, 2)]
    else:
        assert source.rejected() == []
        assert len(source.tables()["t"].rows) == 3


def test_b04_a_text_of_15_mb(source: Source) -> None:
    dice = random.Random(4)
    alphabet = "abcdefghijklmnopqrstuvwxyzäöü日本😀 \\\"'\n\t"
    text = "".join(dice.choices(alphabet, k=5_000_000))
    while len(json.dumps(text, ensure_ascii=False).encode()) < 15_000_000:
        text += text[:1_000_000]
    body = json.dumps(
        [
            {
                "client_id": 1,
                "table_name": "t",
                "sequence": 1,
                "action": "upsert",
                "key_names": ["id"],
                "data": {"id": 1, "text": text},
            }
        ],
        ensure_ascii=False,
    )
    answer = source.rig.http.post(
        "/v2/import/push",
        content=body.encode(),
        headers={"Authorization": f"Bearer {source.token}", "Content-Type": "application/json"},
    )
    assert answer.status_code == 201, answer.text
    source.load()
    [(found,)] = source.rows("t", "text")
    assert found == text


def test_b05_and_b06_the_greatest_sequence_stays_whatever_the_order(source: Source) -> None:
    dice = random.Random(5)
    sequences = dice.sample(range(10**9), 20_000)
    records = [
        (sequence, {"id": dice.randrange(5_000), "value": sequence}) for sequence in sequences
    ]
    best: dict[int, int] = {}
    for sequence, data in records:
        best[data["id"]] = max(best.get(data["id"], -1), sequence)
    expected = sorted((key, sequence, sequence) for key, sequence in best.items())

    source.push(records)
    source.load()
    assert source.rows("t", "id", "value", "_sdc_sequence") == expected
    dice.shuffle(records)
    source.push(records)
    source.load()
    assert source.rows("t", "id", "value", "_sdc_sequence") == expected

    other = Source(source.rig)
    dice.shuffle(records)
    requests = [records[first : first + 100] for first in range(0, len(records), 100)]
    cuts = sorted(dice.sample(range(1, len(requests)), 6))
    for number, request in enumerate(requests):
        if number in cuts:
            other.load()
        other.push(request)
    other.load()
    assert other.rows("t", "id", "value", "_sdc_sequence") == expected


def test_b07_a_load_cut_short_before_its_success_is_recorded(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.push([(number, {"id": number % 10}) for number in range(50)])
    keyless = Source(source.rig)
    keyless.batch([{"m": number} for number in range(50)])

    def dead(*_: object, **__: object) -> None:
        raise RetriableError("the process is gone")

    with monkeypatch.context() as patch:
        patch.setattr(source.rig.loader.store.loads, "record_load", dead)
        source.load()
        source.load()
    source.load()
    assert source.rows("t", "id", "_sdc_sequence") == [(key, 40 + key) for key in range(10)]
    assert keyless.rows("t", "m") == [(number,) for number in range(50)]
    for each, lost in ((source, 40), (keyless, 0)):
        loads = [
            load
            for load in source.rig.store.loads.list_loads(source_id=each.id)
            if load.error is None
        ]
        assert [(load.rows_received, load.rows_discarded) for load in loads] == [(50, lost)]


def test_b08_an_array_of_10_000_elements(source: Source) -> None:
    # Without a key: the key's value would be one data point more than a record may have.
    source.batch([{"x": list(range(10_000))}])
    source.load()
    rows = source.rows("t__x", "_sdc_level_0_id", "value")
    assert rows == [(number, number) for number in range(10_000)]


def test_b09_twelve_levels_of_arrays(source: Source) -> None:
    value: object = {"leaf": 1}
    for level in range(12, 0, -1):
        value = {f"level{level:02}": [value]}
    assert isinstance(value, dict)
    source.push([(1, {"id": 1, **value})])
    source.load()
    tables = source.tables()
    names = list(
        itertools.accumulate(
            (f"level{level:02}" for level in range(1, 13)), lambda a, b: f"{a}__{b}", initial="t"
        )
    )
    fitting = [name for name in names if not source.postgres or len(name) <= 63]
    assert set(tables) == set(fitting)
    if source.postgres:
        too_long = names[len(fitting)]
        [(_, reason)] = source.rejected()
        assert reason == f"Table name {too_long} is too long for PostgreSQL"
    else:
        deepest = dict(tables[names[-1]].columns)
        assert {f"_sdc_level_{level}_id" for level in range(12)} <= deepest.keys()
        assert source.rows(names[-1], "leaf") == [(1,)]


@pytest.mark.release
def test_b10_a_destination_that_is_away_for_two_loads(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server: PostgresServer = request.getfixturevalue("postgres_server_of_its_own")
    with Rig(tmp_path / "data", server.create_database()).running() as rig:
        source = Source(rig)
        source.push([(1, {"id": 1})])
        source.load()
        server.stop()
        for number in (2, 3):
            source.push([(number, {"id": number})])
            source.load()
        [row] = rig.store.destinations.list_destinations()
        assert row.trouble is not None
        server.start()
        source.load()
        assert source.rows("t", "id") == [(1,), (2,), (3,)]
        [row] = rig.store.destinations.list_destinations()
        assert row.trouble is None


@pytest.mark.release
def test_b10_a_duckdb_file_that_somebody_holds(tmp_path: Path) -> None:
    with Rig(tmp_path / "data").running() as rig:
        source = Source(rig)
        source.push([(1, {"id": 1})])
        source.load()
        with duckdb.connect(str(rig.config.warehouse_path), config={"threads": 1}):
            for number in (2, 3):
                source.push([(number, {"id": number})])
                source.load()
            [row] = rig.store.destinations.list_destinations()
            assert row.trouble is not None
        source.load()
        assert source.rows("t", "id") == [(1,), (2,), (3,)]


@pytest.fixture
def postgres_server_of_its_own() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    with PostgresServer() as server:
        yield server


TYPED: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "bigint": ({"type": "integer"}, 7, 7),
    "double": ({"type": "number"}, 7.5, 7.5),
    "decimal": ({"type": "string", "format": "singer.decimal"}, "0.1", "0.1"),
    "boolean": ({"type": "boolean"}, True, True),
    "timestamp": (
        {"type": "string", "format": "date-time"},
        "2024-01-01T00:00:00Z",
        "2024-01-01T00:00:00Z",
    ),
    "text": ({"type": "string"}, "seven", "seven"),
}
"""Logical type -> its schema, a value as sent, the value as read."""


@pytest.mark.parametrize("together", [True, False], ids=["one load", "two loads"])
def test_every_pair_of_types_in_every_order_keeps_every_value(rig: Rig, together: bool) -> None:
    source = Source(rig)
    pairs = list(itertools.permutations(TYPED, 2))
    for position in (0, 1):
        for number, pair in enumerate(pairs):
            schema, value, _ = TYPED[pair[position]]
            body = {
                "table_name": f"t{number}",
                "schema": {"properties": {"id": {"type": "integer"}, "v": schema}},
                "key_names": ["id"],
                "messages": [
                    {"action": "upsert", "sequence": 1, "data": {"id": position, "v": value}}
                ],
            }
            source.post("/v2/import/batch", body)
        if not together:
            source.load()
    source.load()
    tables = source.tables()
    assert source.rejected() == []
    for number, pair in enumerate(pairs):
        found = tables[f"t{number}"]
        held = [name for name, _ in found.columns if name == "v" or name.startswith("v__")]
        kinds = dict(found.columns)
        assert sorted(kinds[name] for name in held) == sorted(pair)
        rows = {row[[n for n, _ in found.columns].index("id")]: row for row in found.rows}
        for position, kind in enumerate(pair):
            row = dict(zip([n for n, _ in found.columns], rows[position], strict=True))
            values = {kinds[name]: row[name] for name in held if row[name] is not None}
            assert values == {kind: TYPED[kind][2]}
