"""import-api.md 18 E: Transit on push. What is stored is looked at as the loader reads it."""

import datetime
import json
import math
from decimal import Decimal
from typing import Any

from tests.servers.cases import NO_ARRAY, OK, Case, e422, parameters, rec, run
from tests.servers.ingest import ImportServer

from treadle.records.record_reader import read_records

PUSH = "/v2/import/push"
TRANSIT = "application/transit+json"

VECTOR_1 = (
    b'[["^ ","action","upsert","table_name","t_types","sequence",1,"data",["^ ","id",1,"s",'
    b'"~~tilde","l","~i9007199254740992","n","~n9223372036854775807","whole",2.0,"d","~f10.50",'
    b'"at","~m1578950703123","nested",["^ ","city","Ooo"],"tags",["a","b"]],"key_names",["id"],'
    b'"client_id",4321],["^ ","^0","upsert","^1","t_seq","^2",100,"^3",["^ ","id",10,"status",'
    b'"pending"],"^8",["id"],"^9",4321],["^ ","^0","upsert","^1","t_seq","^2",101,"^3",'
    b'["^ ","id",10,"^:","canceled"],"^8",["id"],"^9",4321]]'
)
VECTOR_2 = (
    b'[["^ ","sequence",1,"key_names",["id"],"data",["^ ","set",["~#set",["s1"]],"dec","~f10.50",'
    b'"when","~m1578950703123","id",1],"namespace",null,"action","upsert","table_version",0,'
    b'"table_name","people","client_id",4321],["^ ","^0",0,"^5",null,"^6","switch_view","^7",5,'
    b'"^8","people","^9",4321]]'
)
AT = datetime.datetime(2020, 1, 13, 21, 25, 3, 123_000, tzinfo=datetime.UTC)
UUID = "531a379e-31bb-4ce1-8690-158dceb64be6"
HEAD = b'[["^ ","client_id",4321,"table_name","t","action","upsert","key_names",["id"],'


def stored(server: ImportServer, number: str, body: Any) -> list[Any]:
    """Push with a source of its own; what the log then holds, batch by batch."""
    source_id, token = server.make_source(f"transit {number}")
    server.transit_token = token  # type: ignore[attr-defined]
    run(server, PUSH, Case(number, body, 201, OK, TRANSIT, "transit_token"))
    return server.batches(source_id)


def record(server: ImportServer, number: str, data: bytes) -> dict[str, Any]:
    body = HEAD + b'"sequence",1,"data",["^ ",' + data + b"]]]"
    (batch,) = stored(server, number, body)
    (found,) = read_records(batch)
    return found


def test_92_cached_keys_escapes_and_large_numbers(server: ImportServer) -> None:
    types, seq = stored(server, "92", VECTOR_1)
    assert (types.table_name, types.key_names) == ("t_types", ("id",))
    (row,) = read_records(types)
    assert (row["s"], row["l"], row["n"]) == ("~tilde", 9007199254740992, 9223372036854775807)
    assert (row["d"], type(row["d"])) == (Decimal("10.50"), Decimal)
    assert (row["at"], row["nested"], row["tags"]) == (AT, {"city": "Ooo"}, ["a", "b"])
    assert (row["whole"], type(row["whole"])) == (2.0, float)
    assert (seq.table_name, seq.sequences) == ("t_seq", [100, 101])
    assert [found["status"] for found in read_records(seq)] == ["pending", "canceled"]


def test_93_java_client(server: ImportServer) -> None:
    (people,) = stored(server, "93", VECTOR_2)
    (row,) = read_records(people)
    assert row == {"set": ["s1"], "dec": Decimal("10.50"), "when": AT, "id": 1}
    assert (people.sequences, people.activations) == ([1], [(1, 5)])


def test_94_plain_json(server: ImportServer) -> None:
    (batch,) = stored(server, "94", [rec()])
    assert read_records(batch) == [rec()["data"]]


def test_95_verbose(server: ImportServer) -> None:
    data = {"id": 1, "at": "~t2020-01-13T21:25:03.123Z", "set": {"~#set": [1, 2]}}
    (batch,) = stored(server, "95", [rec(table_name="t", sequence=1, data=data)])
    assert read_records(batch) == [{"id": 1, "at": AT, "set": [1, 2]}]


def test_96_sequence_as_tagged_integer(server: ImportServer) -> None:
    body = HEAD + b'"sequence","~i1595404799830780300","data",["^ ","id",1]]]'
    (batch,) = stored(server, "96", body)
    assert batch.sequences == [1595404799830780300]


def test_97_tags_that_become_strings(server: ImportServer) -> None:
    row = record(
        server,
        "97",
        b'"id",1,"a","~:kw","b","~u'
        + UUID.encode()
        + b'","c","~^x","d","~zNaN","e","~rhttp://x/y"',
    )
    assert math.isnan(row.pop("d"))
    assert row == {"id": 1, "a": "kw", "b": UUID, "c": "^x", "e": "http://x/y"}


def test_98_instant_before_1970(server: ImportServer) -> None:
    row = record(server, "98", b'"id",1,"at","~m-2208988800000"')
    assert row["at"] == datetime.datetime(1900, 1, 1, tzinfo=datetime.UTC)


def code(index: int) -> str:
    """The cache code a Transit writer gives the entry at an index."""
    high, low = divmod(index, 44)
    return "^" + (chr(high + 48) if high else "") + chr(low + 48)


NAMES = [f"key{number}" for number in range(2000)]


def wide() -> list[Any]:
    """Case 99. A writer forgets all after 1,936 entries (12.2): it codes what it still knows."""
    names = NAMES
    known: dict[str, int] = {}

    def written(name: str) -> str:
        if name in known:
            return code(known[name])
        if len(name) >= 4:
            if len(known) == 44 * 44:
                known.clear()
            known[name] = len(known)
        return name

    def mapping(*pairs: tuple[str, Any]) -> list[Any]:
        flat: list[Any] = ["^ "]
        for name, value in pairs:
            flat += [written(name), value() if callable(value) else value]
        return flat

    def upsert(identity: int) -> list[Any]:
        data = [("id", identity), *((name, identity * 10_000 + i) for i, name in enumerate(names))]
        return mapping(
            ("client_id", 4321),
            ("table_name", "wide"),
            ("sequence", identity),
            ("action", "upsert"),
            ("key_names", ["id"]),
            ("data", lambda: mapping(*data)),
        )

    return [upsert(1), upsert(2)]


def test_99_a_cache_that_begins_anew(server: ImportServer) -> None:
    (batch,) = stored(server, "99", wide())
    for identity, row in zip((1, 2), read_records(batch), strict=True):
        assert row.pop("id") == identity
        assert row == {name: identity * 10_000 + i for i, name in enumerate(NAMES)}


def test_100_a_string_stays_one(server: ImportServer) -> None:
    assert record(server, "100", b'"id",1,"at","2020-01-13T21:25:03Z"')["at"] == (
        "2020-01-13T21:25:03Z"
    )


def malformed_transit(body: Any) -> bool:
    return (
        list(body) == ["status", "message", "error", "input"]
        and body["message"] == "Malformed transit in the body!"
        and bool(body["error"])
        and body["input"] is None
    )


REFUSED = [
    Case("101", b'[["^ ","^5",1]]', 400, malformed_transit, TRANSIT),
    Case("102", b'[["^ ","a"]]', 400, malformed_transit, TRANSIT),
    Case("102-no-json", b"[", 400, malformed_transit, TRANSIT),
    Case("103", {"x": 1}, 400, NO_ARRAY, TRANSIT),
    Case("104", [rec("table_name")], 422, e422({"table_name": ["can't be blank"]}), TRANSIT),
]


@parameters(REFUSED)
def test_transit_is_refused_and_nothing_kept(server: ImportServer, case: Case) -> None:
    before = server.accepted()
    run(server, PUSH, case)
    assert server.accepted() == before


def test_the_log_holds_typed_text_of_any_json(server: ImportServer) -> None:
    """What Transit cannot name stays what JSON says."""
    (batch,) = stored(server, "json", json.dumps([rec(data={"id": 1, "a": [None, True]})]).encode())
    assert (batch.form, read_records(batch)) == ("transit", [{"id": 1, "a": [None, True]}])
