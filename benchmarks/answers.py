"""W7 and W8, and acceptance alone: what a client sees of treadle, beside the bare endpoint."""

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any

import psycopg
from tests.servers.treadle import TreadleServer

from benchmarks.contender import Place
from benchmarks.limits import bare_batches, bare_singles
from benchmarks.ours import CONNECTIONS, begin, started, usage, with_client
from benchmarks.sender import request, send, send_many
from benchmarks.workloads import one_for_each, singles, w1

QUIET = {"load_age_seconds": "3600", "load_rows": "10000000", "load_bytes": "2000000000"}
"""Settings under which nothing is loaded meanwhile: acceptance alone."""


def percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1] if len(values) > 1 else values[0]


def acceptance(place: Place, records: int) -> dict[str, Any]:
    """Records a second that are durable, and those of the bare endpoint."""
    workload = w1(records)
    with started(place, "duckdb", QUIET) as server:
        port, _, token, client = begin(server)
        sent = send(
            port,
            [
                request(workload.path, token, port, body)
                for body in with_client(workload.requests, client)
            ],
            CONNECTIONS,
        )
        used = usage(server)
    bare, bare_client = bare_batches(workload.requests, CONNECTIONS)
    return {
        "records a second": records / sent.seconds,
        "p99 ms": percentile(sent.waits, 99) * 1e3,
        "bare records a second": records / bare,
        "ratio": bare / sent.seconds,
        "sender us a record": sent.client / records * 1e6,
        "sender us a record, bare": bare_client / records * 1e6,
        **used,
    }


def w7(
    place: Place,
    requests: int,
    *,
    steps: Sequence[int] = (1, 16, 64),
    prepare: Callable[[TreadleServer], object] = lambda _: None,
) -> dict[str, Any]:
    """Single-record requests at some numbers of connections.

    Args:
        place: where.
        requests: of each step, but a quarter of it where there is one connection.
        steps: numbers of connections.
        prepare: called with the running server before the first step.
    """
    found: dict[str, Any] = {}
    with started(place, "duckdb", QUIET) as server:
        port, _, token, client = begin(server)
        prepare(server)
        number = 0
        for connections in steps:
            count = requests // 4 if connections == 1 else requests
            bodies = with_client(list(singles(count, number)), client)
            number += count
            sent = send_many(
                port,
                [request("/v2/import/push", token, port, body) for body in bodies],
                connections,
            )
            bare = bare_singles(bodies, connections)
            found[str(connections)] = {
                "requests a second": count / sent.seconds,
                "p50 ms": percentile(sent.waits, 50) * 1e3,
                "p99 ms": percentile(sent.waits, 99) * 1e3,
                "bare requests a second": count / bare.seconds,
                "bare p99 ms": percentile(bare.waits, 99) * 1e3,
                "ratio": bare.seconds / sent.seconds,
                "sender us a request": sent.client / count * 1e6,
            }
        found |= usage(server)
    return found


def w8(
    place: Place,
    seconds: float,
    rate: int = 2000,
    each: int = 20,
    *,
    settings: dict[str, str] | None = None,
    prepare: Callable[[TreadleServer], object] = lambda _: None,
    tables: int = 0,
) -> dict[str, Any]:
    """Seconds from a 201 until the record is visible in PostgreSQL, under a steady load.

    Args:
        place: where.
        seconds: how long the load lasts.
        rate: records a second.
        each: records in a request.
        settings: of the server.
        prepare: called with the running server before the load begins.
        tables: so many further tables get a record each second, so that there are more loads.
    """
    accepted: list[tuple[int, float]] = []
    seen: list[tuple[int, float]] = []
    total = int(rate * seconds) // each
    stop = threading.Event()
    with started(place, "postgres", settings) as server:
        port, schema, token, client = begin(server)
        prepare(server)
        bodies = with_client(
            [
                b"[" + b",".join(body[1:-1] for body in singles(each, group * each)) + b"]"
                for group in range(total)
            ],
            client,
        )
        beside = with_client([one_for_each(tables, n) for n in range(int(seconds) + 1)], client)

        def watch() -> None:
            statement = f"SELECT max(id) FROM {schema}.events".encode()
            with psycopg.connect(place.postgres, autocommit=True) as connection:
                while not stop.is_set():
                    try:
                        (newest,) = connection.execute(statement).fetchone() or (None,)
                    except psycopg.errors.UndefinedTable:
                        newest = None
                    if newest is not None:
                        seen.append((newest, time.perf_counter()))
                    stop.wait(0.02)

        watcher = threading.Thread(target=watch)
        watcher.start()
        began = time.perf_counter()
        late = 0.0
        for group, body in enumerate(bodies):
            due = began + group * each / rate
            late = max(late, time.perf_counter() - due)
            time.sleep(max(0.0, due - time.perf_counter()))
            send(port, [request("/v2/import/push", token, port, body)], 1)
            accepted.append(((group + 1) * each - 1, time.perf_counter()))
            if tables and group * each % rate == 0:
                second = group * each // rate
                send(port, [request("/v2/import/push", token, port, beside[second])], 1)
        last = total * each - 1
        deadline = time.perf_counter() + 60
        while (not seen or seen[-1][0] < last) and time.perf_counter() < deadline:
            time.sleep(0.05)
        stop.set()
        watcher.join()
        used = usage(server)
    waits = []
    looks = iter(seen)
    newest, at = next(looks)
    for number, moment in accepted:
        while newest < number:
            newest, at = next(looks)
        waits.append(max(0.0, at - moment))
    return {
        "p50 s": percentile(waits, 50),
        "p99 s": percentile(waits, 99),
        "most s": max(waits),
        "records": total * each,
        "sender at most late s": late,
        **used,
    }


def in_place(make: Any, another: Any, *arguments: Any) -> dict[str, Any]:
    """One of the above in a place of its own."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        found: dict[str, Any] = make(Place(Path(folder), another(), another), *arguments)
        return found
