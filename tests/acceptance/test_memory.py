"""The memory and the time one ingest worker takes for the largest and the worst bodies.

A peak below 512 MB for anything that a client can send, and an answer within seconds.
"""

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.servers.treadle import Client, TreadleServer

MB = 1024 * 1024
BODY = 20 * MB
PEAK_MAX = 512 * MB
SECONDS_MAX = 30.0
"""CPU time of one request: the machine that runs the tests may be slow and shared."""


class Case(NamedTuple):
    """A request and the statuses that answer it."""

    body: Callable[[int], bytes]
    statuses: tuple[int, ...]
    path: str = "/v2/import/push"
    kind: str = "application/json"
    gzipped: bool = False


TRANSIT = "application/transit+json"


def upsert(client: int, data: str, **fields: str) -> str:
    values = {
        "client_id": str(client),
        "table_name": '"t"',
        "sequence": "1",
        "action": '"upsert"',
        "key_names": "[]",
    } | fields
    return (
        "{"
        + ",".join(f'"{name}":{value}' for name, value in values.items())
        + (f',"data":{data}}}')
    )


def array(records: list[str]) -> bytes:
    return ("[" + ",".join(records) + "]").encode()


def filled(client: int, data: str) -> bytes:
    """Records of one kind, as many as fit."""
    record = upsert(client, data)
    return array([record] * min(20_000, (BODY - 2) // (len(record) + 1)))


def stuffed(client: int, piece: str, opening: str = "[", closing: str = "]") -> bytes:
    """One record whose data is as many pieces as fit."""
    before, after = upsert(client, f'{{"v":{opening}|{closing}}}').split("|")
    count = (BODY - len(before) - len(after) - 2) // (len(piece) + 1)
    return f"[{before}{','.join([piece] * count)}{after}]".encode()


def spread(client: int, piece: str, elements: int = 9_990) -> bytes:
    """Records with as many pieces as data points are allowed, as many as fit."""
    return filled(client, '{"v":[' + ",".join([piece] * elements) + "]}")


def pieces(piece: str) -> bytes:
    """An array of pieces instead of records."""
    return ("[" + ",".join([piece] * ((BODY - 2) // (len(piece) + 1))) + "]").encode()


def compact(client: int) -> bytes:
    """Transit with caching."""
    fill = "x" * 850
    first = (
        f'["^ ","client_id",{client},"table_name","t","sequence",1,"action","upsert",'
        '"key_names",["id"],"data",["^ ","id",1,"name","x","amount","~f1.5",'
        '"at","~m1578950703123"]]'
    )
    further = (
        f'["^ ","^0",{client},"^1","t","^2",1,"^3","upsert","^4",["id"],"^5",["^ ","id",1,"^6",'
        f'"{fill}","^7","~f1.5","at","~m1578950703123"]]'
    )
    return array([first] + [further] * 19_999)


def amplified(client: int) -> bytes:
    """Transit whose codes stand for a hundred thousand times their own length."""
    word = "~:" + "x" * 1_000_000
    return stuffed(client, '"^7"', f'["{word}",')


def wide(client: int) -> bytes:
    """Transit records that are maps of a great many keys."""
    return filled(client, '["^ ",' + ",".join(f'"k{n}",{n}' for n in range(9_990)) + "]")


def batch_body(messages: list[str], schema: str = '{"type":"object"}') -> bytes:
    return (
        f'{{"table_name":"t","schema":{schema},"key_names":[],"messages":[{",".join(messages)}]}}'
    ).encode()


def messages(data: str) -> list[str]:
    message = f'{{"action":"upsert","sequence":1,"data":{data}}}'
    return [message] * min(20_000, (BODY - 200) // (len(message) + 1))


def batch_stuffed(piece: str) -> bytes:
    count = (BODY - 200) // (len(piece) + 1)
    return batch_body(
        ['{"action":"upsert","sequence":1,"data":{"v":[' + ",".join([piece] * count) + "]}}"]
    )


def bomb(_: int) -> bytes:
    """A gigabyte of blanks, compressed."""
    press = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = b" " * MB
    return b"".join([*(press.compress(block) for _ in range(1024)), press.flush()])


TEXT = '{"id":1,"text":"' + "x" * 900 + '"}'
BATCH = "/v2/import/batch"

CASES = {
    "20,000 records": Case(lambda c: filled(c, '{"id":1,"name":"Finn"}'), (201,)),
    "20 MB": Case(lambda c: filled(c, TEXT), (201,)),
    "20 MB gzipped": Case(lambda c: gzip.compress(filled(c, TEXT), 1), (201,), gzipped=True),
    "20 MB batch": Case(lambda _: batch_body(messages(TEXT)), (201,), BATCH),
    "20 MB batch with formats": Case(
        lambda _: batch_body(messages(TEXT), '{"properties":{"text":{"type":"string"}}}'),
        (201,),
        BATCH,
    ),
    "20 MB transit": Case(compact, (201,), kind=TRANSIT),
    "20 MB verbose transit": Case(lambda c: filled(c, TEXT), (201,), kind=TRANSIT),
    "deep records": Case(
        lambda c: filled(c, '{"a":' * 250 + "[1]" + "}" * 250), (201,)
    ),
    "points of floats": Case(lambda c: spread(c, "1.5"), (201,)),
    "points of texts": Case(lambda c: spread(c, '"ab"'), (201,)),
    "points of lists": Case(lambda c: spread(c, "[0]"), (201,)),
    "points of floats in transit": Case(lambda c: spread(c, "1.5"), (201,), kind=TRANSIT),
    "points of tags in transit": Case(lambda c: spread(c, '"~m1"'), (201,), kind=TRANSIT),
    "points of decimals in transit": Case(lambda c: spread(c, '"~f1"'), (201,), kind=TRANSIT),
    "points of lists in transit": Case(lambda c: spread(c, "[0]"), (201,), kind=TRANSIT),
    "points of objects in transit": Case(lambda c: spread(c, '{"a":0}'), (201,), kind=TRANSIT),
    "wide transit": Case(wide, (201, 413), kind=TRANSIT),
    "amplified transit": Case(amplified, (400,), kind=TRANSIT),
    "1 GB bomb": Case(bomb, (413,), gzipped=True),
    "20,001 records": Case(
        lambda c: array([upsert(c, '{"id":1}')] * 20_001), (400,)
    ),
    "as many records as fit": Case(
        lambda c: array([upsert(c, "{}")] * (BODY // 110)), (400,)
    ),
    "as many transit records as fit": Case(
        lambda c: array([upsert(c, "{}")] * (BODY // 110)), (400,), kind=TRANSIT
    ),
    "refused records": Case(
        lambda c: array([upsert(c, '{"id":1}', sequence="1.5")] * 20_000), (422,)
    ),
    "unfinished": Case(lambda _: b"[" * BODY, (400,)),
    "unfinished transit": Case(lambda _: b"[" * BODY, (400,), kind=TRANSIT),
    "unfinished batch": Case(lambda _: b"[" * BODY, (400,), BATCH),
    "nearly finished": Case(lambda c: filled(c, TEXT)[:-1], (400,)),
    "duplicate keys": Case(lambda c: stuffed(c, '"a":1', '[{', "}]"), (400,)),
    "duplicate keys in transit": Case(
        lambda c: stuffed(c, '"a":1', '[{', "}]"), (400,), kind=TRANSIT
    ),
    "different keys": Case(
        lambda c: array(
            [upsert(c, "{" + ",".join(f'"{n:x}":0' for n in range(2_000_000)) + "}")]
        )[:BODY], (201, 400, 422)
    ),
    "webhook of empties": Case(lambda _: pieces("[]"), (400,), "webhook"),
    "webhook of objects": Case(lambda _: pieces("{}"), (400,), "webhook"),
    "webhook of one": Case(
        lambda _: b'[{"a":[' + b",".join([b"[]"] * (BODY // 3 - 10)) + b"]}]",
        (200, 400, 422),
        "webhook",
    ),
    "table of empties": Case(lambda _: pieces("{}"), (400,), "/v1/tables/t/records"),
}  # fmt: skip


def _of(piece: str) -> dict[str, Case]:
    """Bodies that hold as many of a piece as fit, in every place that may be long."""

    def array_of(_: int) -> bytes:
        return pieces(piece)

    def data_of(client: int) -> bytes:
        return stuffed(client, piece)

    json_type = "application/json"
    return {
        f"array of {piece}": Case(array_of, (400,)),
        f"array of {piece} in transit": Case(array_of, (400,), kind=TRANSIT),
        f"data of {piece}": Case(data_of, (201, 400, 422), kind=json_type),
        f"data of {piece} in transit": Case(data_of, (201, 400, 422), kind=TRANSIT),
    }


DAILY = {*CASES} - {
    "different keys",
    "points of lists",
    "wide transit",
    *(f"points of {points} in transit" for points in ("decimals", "floats", "lists", "tags")),
}
DAILY |= _of("{}").keys()
"""What is sent with each change: each way into memory once, with what takes most on it."""

for piece in ("null", "0", "[]", "{}", '""', '"ab"', "[[]]", '{"a":0}', "[0]", "1.5"):
    CASES |= _of(piece)


class Worker(NamedTuple):
    """The only ingest worker of a server, and what to send with."""

    client: Client
    source: int
    token: str
    hook: str

    @property
    def process(self) -> Path:
        return Path("/proc") / str(self.client.server.processes()["worker 1"])

    def forget_peak(self) -> None:
        (self.process / "clear_refs").write_text("5")

    def peak(self) -> int:
        [line] = [
            line
            for line in (self.process / "status").read_text().splitlines()
            if line.startswith("VmHWM:")
        ]
        return int(line.split()[1]) * 1024

    def seconds(self) -> float:
        """CPU time so far, of all threads."""
        fields = (self.process / "stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("memory")
    settings = {"workers": "1", "load_age_seconds": "3600"}
    with TreadleServer(folder / "data", settings=settings, forked=False) as server:
        client = Client(server, *server.account())
        source, token = client.create_source()
        _, hook = client.create_source("hook")
        yield Worker(client, source, token, hook)


@cache
def _warm(worker: Worker) -> None:
    client = worker.client
    client.push(worker.token, [{"id": 1}], table="t")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in DAILY else pytest.mark.release) for name in CASES],
)
def test_peak(worker: Worker, name: str, record_property: Any) -> None:
    case = CASES[name]
    _warm(worker)
    body = case.body(worker.client.client_id)
    path = case.path
    if path == "webhook":
        path = f"/v1/clients/{worker.client.client_id}/token/{worker.hook}"
    headers = {"Authorization": f"Bearer {worker.token}", "Content-Type": case.kind}
    if case.gzipped:
        headers["Content-Encoding"] = "gzip"
    assert len(body) <= BODY
    process = worker.process
    worker.forget_peak()
    before = worker.seconds()
    answer = worker.client.http.post(path, content=body, headers=headers)
    seconds, peak = worker.seconds() - before, worker.peak()
    record_property("peak", peak)
    record_property("seconds", seconds)
    assert answer.status_code in case.statuses, answer.text[:200]
    assert worker.process == process
    assert peak < PEAK_MAX
    assert seconds < SECONDS_MAX
