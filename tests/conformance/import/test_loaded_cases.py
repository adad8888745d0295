"""The cases of import-api.md 18 that speak of what is stored: from a request to rows."""

import importlib
import itertools
import math
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.servers.cases import NOT_AUTHENTICATED, OK, VALID, compare, env, msg, rec, run
from tests.servers.ingest import CLIENT, Answer
from tests.servers.loading import Warehouse
from tests.servers.treadle import Client, TreadleServer, eventually

# The folder is named by a word that no import statement takes.
push_cases = importlib.import_module("tests.conformance.import.test_push_cases")
batch_cases = importlib.import_module("tests.conformance.import.test_batch_cases")
transit_cases = importlib.import_module("tests.conformance.import.test_transit_cases")

TRANSIT = "application/transit+json"


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    warehouse = Warehouse(tmp_path_factory.mktemp("loaded"))
    with warehouse.running():
        yield warehouse
    warehouse.loader.close()
    warehouse.store.close()


class Source:
    """A source of the test's own."""

    def __init__(self, warehouse: Warehouse, name: str) -> None:
        self.warehouse = warehouse
        self.name = name
        self.id, self.token = warehouse.make_source(name)
        warehouse.ingest.token_cache.invalidate()

    def push(self, *records: Any, content_type: str = "application/json") -> Answer:
        """An accepted push."""
        answer = self.send("/v2/import/push", list(records), content_type)
        compare(answer, 201, OK)
        return answer

    def send(self, path: str, body: Any, content_type: str = "application/json") -> Answer:
        return self.warehouse.post(path, body, token=self.token, content_type=content_type)

    def transit(self, body: Any) -> None:
        compare(self.send("/v2/import/push", body, TRANSIT), 201, OK)
        self.warehouse.load()

    def rows(self, columns: str, table: str = "customers") -> list[tuple[Any, ...]]:
        return self.warehouse.rows(columns, table, self.name)


@pytest.fixture
def source(warehouse: Warehouse, request: pytest.FixtureRequest) -> Source:
    name = request.node.name.partition("[")[0][:40]
    return Source(warehouse, f"{name}_{uuid.uuid4().hex[:6]}")


def transit_record(data: bytes) -> bytes:
    head: bytes = transit_cases.HEAD
    return head + b'"sequence",1,"data",["^ ",' + data + b"]]]"


# --- refused, so not there ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "cases", "word"),
    [
        pytest.param("push", push_cases.REFUSED, "customers", id="84"),
        pytest.param("batch", batch_cases.REFUSED, "customers", id="185"),
    ],
)
def test_nothing_of_what_is_refused_is_loaded(
    tmp_path: Path, path: str, cases: list[Any], word: str
) -> None:
    warehouse = Warehouse(tmp_path)
    with warehouse.running():
        for case in cases:
            run(warehouse, f"/v2/import/{path}", case)
        warehouse.load()
        assert warehouse.tables() == []
        compare(warehouse.post("/v2/import/push", [rec()]), 201, OK)
        warehouse.load()
        assert warehouse.tables() == [word]  # so that looking would have shown something
        assert warehouse.rows("id, name", word) == [(1, "Finn")]
    warehouse.loader.close()
    warehouse.store.close()


def test_85_what_is_only_validated_is_not_loaded(warehouse: Warehouse, source: Source) -> None:
    compare(source.send("/v2/import/validate", [rec()]), 200, VALID)
    warehouse.load()
    assert warehouse.tables(source.name) == []


# --- Transit --------------------------------------------------------------------------------------


def test_92_first_vector(source: Source) -> None:
    source.transit(transit_cases.VECTOR_1)
    found = source.rows('s, l, n, d, whole, epoch_ms("at"), typeof("at"), nested__city', "t_types")
    assert found == [
        (
            "~tilde",
            9007199254740992,
            9223372036854775807,
            Decimal("10.5"),
            2.0,
            1578950703123,
            "TIMESTAMP WITH TIME ZONE",
            "Ooo",
        )
    ]
    assert isinstance(found[0][3], Decimal)
    assert source.rows("value", "t_types__tags") == [("a",), ("b",)]
    assert source.rows("id, status, _sdc_sequence", "t_seq") == [(10, "canceled", 101)]


def test_93_second_vector(source: Source) -> None:
    """Its activation of version 5 takes the row without a version away (13)."""
    source.transit(transit_cases.VECTOR_2)
    assert source.rows("id", "people") == []


def test_94_plain_json(source: Source) -> None:
    source.transit([rec()])
    assert source.rows("id, name") == [(1, "Finn")]


def test_95_verbose(source: Source) -> None:
    data = {"id": 1, "at": "~t2020-01-13T21:25:03.123Z", "set": {"~#set": [1, 2]}}
    source.transit([rec(table_name="t", sequence=1, data=data)])
    assert source.rows('epoch_ms("at"), typeof("at")', "t") == [
        (1578950703123, "TIMESTAMP WITH TIME ZONE")
    ]
    assert source.rows("value", "t__set") == [(1,), (2,)]


def test_96_sequence_as_tagged_integer(source: Source) -> None:
    head: bytes = transit_cases.HEAD
    source.transit(head + b'"sequence","~i1595404799830780300","data",["^ ","id",1]]]')
    assert source.rows("id, _sdc_sequence", "t") == [(1, 1595404799830780300)]


def test_97_tags_that_become_strings(source: Source) -> None:
    identity: str = transit_cases.UUID
    source.transit(
        transit_record(
            b'"id",1,"a","~:kw","b","~u'
            + identity.encode()
            + b'","c","~^x","d","~zNaN","e","~rhttp://x/y"'
        )
    )
    assert source.rows("a, b, c, e", "t") == [("kw", identity, "^x", "http://x/y")]
    [(number,)] = source.rows("d", "t")
    assert math.isnan(number)


def test_98_instant_before_1970(source: Source) -> None:
    source.transit(transit_record(b'"id",1,"at","~m-2208988800000"'))
    assert source.rows('epoch_ms("at"), typeof("at")', "t") == [
        (-2208988800000, "TIMESTAMP WITH TIME ZONE")
    ]


def test_99_values_under_the_right_names(source: Source) -> None:
    source.transit(transit_cases.wide())
    names: list[str] = transit_cases.NAMES
    columns = ", ".join(["id", *names])
    assert source.rows(columns, "wide") == [
        (identity, *(identity * 10_000 + i for i in range(len(names)))) for identity in (1, 2)
    ]


def test_100_a_string_stays_one(source: Source) -> None:
    source.transit(transit_record(b'"id",1,"at","2020-01-13T21:25:03Z"'))
    assert source.rows('"at", typeof("at")', "t") == [("2020-01-13T21:25:03Z", "VARCHAR")]


# --- delivery -------------------------------------------------------------------------------------


def test_186_a_server_that_is_killed_right_after_its_answer(tmp_path: Path) -> None:
    with TreadleServer(tmp_path / "data", settings={"load_age_seconds": "5"}) as server:
        client = Client(server, *server.account())
        _, token = client.create_source()
        answer = client.push(token, [{"id": number} for number in range(10)], table="customers")
        server.kill()
        assert answer.status_code == 201
        server.start()
        counted = "select count(*) as n from import_api.customers"
        eventually(lambda: server.query(counted) == [{"n": 10}], 300)


def test_187_the_same_request_twice_with_a_key(warehouse: Warehouse, source: Source) -> None:
    for _ in range(2):
        source.push(rec())
        warehouse.load()
    assert source.rows("id, name") == [(1, "Finn")]


def test_188_the_same_request_twice_without_a_key(warehouse: Warehouse, source: Source) -> None:
    for _ in range(2):
        source.push(rec(key_names=[]))
    warehouse.load()
    assert source.rows("id, name") == [(1, "Finn")] * 2
    assert len(set(source.rows("__sdc_primary_key"))) == 2


@pytest.mark.parametrize("order", list(itertools.permutations((100, 101, 99))))
def test_189_the_highest_sequence_wins(
    warehouse: Warehouse, source: Source, order: tuple[int, ...]
) -> None:
    for sequence in order:
        source.push(rec(sequence=sequence, data={"id": 10, "name": f"of {sequence}"}))
        warehouse.load()
    source.push(rec(sequence=90, data={"id": 22, "name": "other"}))
    warehouse.load()
    assert source.rows("id, name") == [(10, "of 101"), (22, "other")]


def test_190_the_highest_sequence_wins_inside_a_request(
    warehouse: Warehouse, source: Source
) -> None:
    source.push(
        rec(sequence=1574807445000, data={"id": 1, "name": "first"}),
        rec(sequence=1574807395000, data={"id": 1, "name": "second"}),
    )
    warehouse.load()
    assert source.rows("id, name") == [(1, "first")]


def switch_view(version: int, sequence: int = 5) -> dict[str, Any]:
    return {
        "client_id": CLIENT,
        "action": "switch_view",
        "table_name": "customers",
        "table_version": version,
        "sequence": sequence,
    }


def versioned(version: int, identity: int) -> dict[str, Any]:
    return rec(table_version=version, data={"id": identity})


@pytest.fixture
def staged(warehouse: Warehouse, source: Source) -> Source:
    """Version 1 active with two rows, a row of version 2 not yet activated."""
    source.push(versioned(1, 1), versioned(1, 2), switch_view(1))
    source.push(versioned(2, 3))
    warehouse.load()
    return source


@pytest.fixture
def activated(warehouse: Warehouse, staged: Source) -> Source:
    """As after case 192."""
    staged.push(switch_view(2, 6))
    warehouse.load()
    return staged


ROWS = "id, _sdc_table_version"


def test_191_a_version_that_is_not_active_is_not_shown(staged: Source) -> None:
    assert staged.rows(ROWS) == [(1, 1), (2, 1)]


def test_192_an_activated_version_takes_the_place_of_the_other(activated: Source) -> None:
    assert activated.rows(ROWS) == [(3, 2)]


def test_193_what_cannot_be_processed_now_arrives_later(
    warehouse: Warehouse, source: Source
) -> None:
    """There is one durable log and no second place: 201 says what 202 would (14)."""
    source.push(rec())
    assert warehouse.tables(source.name) == []
    warehouse.load()
    assert source.rows("id, name") == [(1, "Finn")]


def test_195_what_a_revoked_token_pushed_is_loaded(warehouse: Warehouse, source: Source) -> None:
    source.push(rec())
    (kept,) = warehouse.store.tokens.list_tokens(source.id)
    warehouse.store.tokens.revoke_token(None, source.id, kept.id)
    warehouse.ingest.token_cache.invalidate()
    compare(source.send("/v2/import/push", [rec()]), 401, NOT_AUTHENTICATED)
    warehouse.load()
    assert source.rows("id, name") == [(1, "Finn")]


def test_196_parallel_batches_for_one_table(warehouse: Warehouse, source: Source) -> None:
    def send(number: int) -> None:
        body = env(messages=[msg(sequence=number, data={"id": number})])
        compare(source.send("/v2/import/batch", body), 201, OK)

    with ThreadPoolExecutor(5) as threads:
        list(threads.map(send, range(25)))
    warehouse.load()
    assert source.rows("id") == [(number,) for number in range(25)]


# --- webhooks -------------------------------------------------------------------------------------


def hook(source: Source, body: Any) -> None:
    path = source.warehouse.hook(source.token)
    compare(source.warehouse.post(path, body, content_type=None), 200, OK)
    source.warehouse.load()


def test_197_an_object_is_a_row_with_a_generated_key(source: Source) -> None:
    hook(source, {"id": 1, "event": "send"})
    [(identity, event, key)] = source.rows("id, event, __sdc_primary_key", "data")
    assert (identity, event) == (1, "send")
    assert uuid.UUID(str(key))


def test_198_an_array_is_a_row_for_each_element(source: Source) -> None:
    hook(source, [{"id": 1}, {"id": 2}])
    assert source.rows("id", "data") == [(1,), (2,)]


def test_202_a_record_without_its_key_is_not_stored(warehouse: Warehouse, source: Source) -> None:
    warehouse.store.sources.update_source(CLIENT, source.id, settings={"webhook": {"key": ["id"]}})
    warehouse.ingest.token_cache.invalidate()
    hook(source, [{"id": None}, {"id": 3}])
    assert source.rows("id", "data") == [(3,)]


# --- versions and late rows -----------------------------------------------------------------------


def test_204_a_row_of_an_older_version_does_not_appear(activated: Source) -> None:
    activated.push(versioned(1, 50))
    activated.warehouse.load()
    assert activated.rows(ROWS) == [(3, 2)]


def test_205_rows_without_a_version_join_the_active_one(activated: Source) -> None:
    activated.push(rec(data={"id": 51}))
    activated.push(rec(table_version=0, namespace=None, data={"id": 52}))
    activated.warehouse.load()
    assert activated.rows(ROWS) == [(3, 2), (51, 2), (52, 2)]


@pytest.mark.parametrize("version", [pytest.param(1, id="206"), pytest.param(2, id="207")])
def test_activating_an_older_or_the_same_version_changes_nothing(
    activated: Source, version: int
) -> None:
    activated.push(switch_view(version, 7))
    activated.warehouse.load()
    assert activated.rows(ROWS) == [(3, 2)]


def test_208_a_version_without_rows_empties_the_table(activated: Source) -> None:
    activated.push(switch_view(3, 7))
    activated.warehouse.load()
    assert activated.rows(ROWS) == []
