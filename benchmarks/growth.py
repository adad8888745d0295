"""How a cluster grows: records accepted by 1, 2, 4, 6 gates, and loaded by as many loaders.

    python -m benchmarks.growth [--share 0.1] [--seconds 20] [--nodes 1,2,4,6] [--out FOLDER]

Each node is in a control group with a share of a core, so that it is the limit and the machine is
not. The log and the store are in a PostgreSQL with two standbys, and the rows go into another
PostgreSQL; these have no limit. It needs root, and control groups of version 1. The plot and the
table say what six nodes do against one, and what a record costs a node in processor time, against
the same on a single machine.
"""

import argparse
import itertools
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec
import psycopg
from tests.faults.cluster.installation import ClusterInstallation, RigPlan
from tests.faults.cluster.senders import GateAddress
from tests.faults.command import folder
from tests.servers.postgres import PostgresServer
from tests.servers.treadle import Client, TreadleServer, eventually

from benchmarks.ours import SLOTS_HELD, are_shared
from benchmarks.sender import request, send
from benchmarks.workloads import SCHEMA, flat
from treadle.log.slots import SLOTS, compute_slot

TABLES: Final = SLOTS
"""One in each slot of the log, so that a loader has as many as its part of the slots."""

RECORDS: Final = 1000
"""In each request."""

PACES: Final = {"gates": 450_000, "loaders": 400_000}
"""Records a second that one core takes, at most: so much is prepared for a run."""

CONNECTIONS: Final = 4
"""Of the sender to each gate."""

WARM_SECONDS: Final = 2.0
GOAL: Final = 0.9
"""Of what as many nodes would do that each do what one does: 5.4 of 6."""


@dataclass(frozen=True, slots=True)
class GrowthFigure:
    """What some nodes did.

    Attributes:
        rate: records a second of all together.
        cost: microseconds of processor time of the nodes a record.
        share: what they used of the processor time that they may use.
    """

    nodes: int
    rate: float
    cost: float
    share: float


def name_tables(source_id: int) -> list[str]:
    """Return the name of a table of a source for each slot."""
    found: dict[int, str] = {}
    numbers = itertools.count()
    while len(found) < SLOTS:
        name = f"t{next(numbers)}"
        found.setdefault(compute_slot(source_id, name), name)
    return [found[slot] for slot in range(TABLES)]


def make_bodies(tables: Sequence[str], first: int, count: int) -> Iterator[bytes]:
    """Make requests of new records, in turns for each table."""
    for place in range(count):
        begin = first + place * RECORDS
        yield msgspec.json.encode(
            {
                "table_name": tables[place % TABLES],
                "schema": SCHEMA,
                "key_names": ["id"],
                "messages": [
                    {"action": "upsert", "sequence": number + 1, "data": flat(number)}
                    for number in range(begin, begin + RECORDS)
                ],
            }
        )


def _push_all(gate: GateAddress, token: str, bodies: Sequence[bytes], out: Any) -> None:
    """Send requests to one gate in a process of its own; tells the seconds it took."""
    requests = [request("/v2/import/batch", token, gate.port, body) for body in bodies]
    out.put(send(gate.port, requests, CONNECTIONS, gate.host).seconds)


def push(gates: Sequence[GateAddress], token: str, bodies: Sequence[Sequence[bytes]]) -> float:
    """Send each gate its requests at once; returns the seconds until the last answer."""
    out: Any = multiprocessing.Queue()
    senders = [
        multiprocessing.Process(target=_push_all, args=(gate, token, its, out))
        for gate, its in zip(gates, bodies, strict=True)
    ]
    for sender in senders:
        sender.start()
    took = [out.get() for _ in senders]
    for sender in senders:
        sender.join()
    return float(max(took))


class GrowthBench(ClusterInstallation):
    """A cluster whose nodes have a share of a core each.

    Args:
        folder: for the members' data.
        gates, loaders: how many there are; those that are measured come first.
    """

    def __init__(self, folder: Path, gates: int, loaders: int) -> None:
        super().__init__(
            folder,
            RigPlan(
                gates=gates, loaders=loaders, controls=1, networked=False, logs=1, attacked=False
            ),
        )
        self.start_names = [*self.topology.gates, *self.topology.controls]
        self._base = 0

    def measure_gates(self, nodes: int, share: float, seconds: float) -> GrowthFigure:
        """Push to some gates for about so long; the loaders are not there."""
        source_id, token = self.create_source(f"gates {nodes}")
        tables = name_tables(source_id)
        chosen = self.gates.list_gates()[:nodes]
        each = max(20, round(PACES["gates"] * share * seconds / RECORDS))
        bodies = [
            list(make_bodies(tables, number * each * RECORDS, each)) for number in range(nodes)
        ]
        members = [self.members[gate.name] for gate in chosen]
        for member in members:
            member.group.limit(share)
        push(chosen, token, [its[: max(4, each // 10)] for its in bodies])  # each knows the token
        before = [member.group.read_processor_seconds() for member in members]
        took = push(chosen, token, bodies)
        spent = sum(member.group.read_processor_seconds() for member in members) - sum(before)
        for member in members:
            member.group.limit(1.0)
        records = nodes * each * RECORDS
        return GrowthFigure(
            nodes, records / took, spent / records * 1e6, spent / (took * share * nodes)
        )

    def fill(self, nodes: int, share: float, seconds: float) -> int:
        """Accept what some loaders load in so long; returns the records."""
        source_id, token = self.create_source(f"loaders {nodes}")
        tables = name_tables(source_id)
        count = max(TABLES, round(nodes * PACES["loaders"] * share * seconds / RECORDS))
        gate = self.gates.list_gates()[:1]
        bodies = make_bodies(tables, 0, count)
        while some := list(itertools.islice(bodies, 500)):
            push(gate, token, [some])
        return count * RECORDS

    def measure_loaders(self, nodes: int, share: float, records: int) -> GrowthFigure:
        """Load what waits with some loaders, which are started and share the tables first."""
        names = [f"loader-{number}" for number in range(1, nodes + 1)]
        self.start_members(names)
        members = [self.members[name] for name in names]
        eventually(lambda: are_shared(self._count_slots(), nodes))
        for member in members:
            member.group.limit(share)
        time.sleep(WARM_SECONDS)
        began, before = time.monotonic(), self._count_loaded()
        spent = sum(member.group.read_processor_seconds() for member in members)
        goal = before + 0.85 * (records - before)
        loaded = before
        while loaded < goal:
            time.sleep(0.25)
            loaded = self._count_loaded()
        took = time.monotonic() - began
        spent = sum(member.group.read_processor_seconds() for member in members) - spent
        for member in members:
            member.group.limit(1.0)
        eventually(lambda: self._count_loaded() >= records)
        for member in members:
            member.end()
            del self.members[member.name]
        done = loaded - before
        return GrowthFigure(nodes, done / took, spent / done * 1e6, spent / (took * share * nodes))

    def forget_loads(self) -> None:
        """Count loads from now on."""
        self._base = self._sum_loads()

    def _count_slots(self) -> list[int]:
        """How many slots of the log each loader has."""
        with psycopg.connect(self.store_url) as connection:
            return [number for (number,) in connection.execute(SLOTS_HELD.encode())]

    def _count_loaded(self) -> int:
        return self._sum_loads() - self._base

    def _sum_loads(self) -> int:
        with psycopg.connect(self.store_url) as connection:
            row = connection.execute(
                "SELECT coalesce(sum(rows_received), 0)::bigint FROM loads WHERE error IS NULL"
            ).fetchone()
        assert row is not None
        return int(row[0])


def measure_single(seconds: float, share: float) -> dict[str, float]:
    """Microseconds of processor time a record of the worker and of the loader of one server."""
    count = max(100, round(PACES["gates"] * share * seconds / RECORDS))
    with (
        PostgresServer() as warehouse,
        folder() as path,
        TreadleServer(path / "single", warehouse.create_database()) as server,
    ):
        client = Client(server, *server.account())
        source_id, token = client.create_source("bench")
        tables = name_tables(source_id)
        gate = GateAddress("single", "127.0.0.1", server.port)
        push([gate], token, [list(make_bodies(tables, 0, 20))])
        before = _processor_seconds(server)
        push([gate], token, [list(make_bodies(tables, 20 * RECORDS, count))])
        eventually(lambda: not _waits(server))
        after = _processor_seconds(server)
    return {
        role: (after[name] - before[name]) / (count * RECORDS) * 1e6
        for role, name in (("gates", "worker 1"), ("loaders", "loader"))
    }


def _waits(server: TreadleServer) -> bool:
    from treadle.log.sqlite.log import SqliteReader

    with closing(SqliteReader(server.data / "log.sqlite")) as reader:
        return bool(reader.list_backlogs())


def _processor_seconds(server: TreadleServer) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, pid in server.processes().items():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found[name] = (int(fields[11]) + int(fields[12])) / 100
    return found


def measure(nodes: Sequence[int], share: float, seconds: float) -> dict[str, Any]:
    """Measure gates and loaders by their number, and one server."""
    results: dict[str, Any] = {"share": share, "gates": [], "loaders": []}
    with folder() as path, GrowthBench(path, max(nodes), 1) as bench:
        for number in nodes:
            figure = bench.measure_gates(number, share, seconds)
            results["gates"].append(msgspec.to_builtins(figure))
            print(say("gates", figure), flush=True)
    with folder() as path, GrowthBench(path, 1, max(nodes)) as bench:
        for number in nodes:
            bench.forget_loads()
            records = bench.fill(number, share, seconds)
            figure = bench.measure_loaders(number, share, records)
            results["loaders"].append(msgspec.to_builtins(figure))
            print(say("loaders", figure), flush=True)
    results["single"] = measure_single(seconds, share)
    return results


def say(what: str, figure: GrowthFigure) -> str:
    """One figure as a line."""
    return (
        f"{figure.nodes} {what}: {figure.rate:,.0f} records/s, {figure.cost:.2f} us a record, "
        f"{figure.share:.0%} of their share used"
    )


def table(results: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    share = f"{results['share']:.0%}"
    lines = [
        f"Written by `python -m benchmarks.growth`; each node has {share} of a core.",
        "",
        "| kind | nodes | records/s | against one | us a record | of their share used |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for what in ("gates", "loaders"):
        first = results[what][0]["rate"]
        lines += [
            f"| {what} | {one['nodes']} | {one['rate']:,.0f} | {one['rate'] / first:.2f} | "
            f"{one['cost']:.2f} | {one['share']:.0%} |"
            for one in results[what]
        ]
    lines.append("")
    for what, whose in (("gates", "worker"), ("loaders", "loader")):
        single = results["single"][what]
        times = median(one["cost"] for one in results[what]) / single
        lines.append(
            f"The {whose} of a single machine spends {single:.2f} us a record; in a cluster it is "
            f"{times:.2f} times as much."
        )
    return "\n".join([*lines, ""])


def plot(results: Mapping[str, Any]) -> str:
    """Records a second by nodes, beside what as many times one node would do: an SVG text."""
    left, height, width, gap = 60, 200, 300, 90
    parts = [
        '<text x="6" y="16">Records a second by number of nodes; dashed: times one node</text>'
    ]
    for place, what in enumerate(("gates", "loaders")):
        figures = results[what]
        x0 = left + place * (width + gap)
        nodes_max = figures[-1]["nodes"]
        most = max(figures[0]["rate"] * nodes_max, *(one["rate"] for one in figures))

        def at(nodes: float, rate: float, x0: int = x0, n: int = nodes_max, m: float = most) -> str:
            return f"{x0 + width * nodes / n:.1f},{40 + height * (1 - rate / m):.1f}"

        ideal = f"{at(0, 0)} {at(nodes_max, figures[0]['rate'] * nodes_max)}"
        measured = " ".join(at(one["nodes"], one["rate"]) for one in figures)
        name = {"gates": "accepted by gates", "loaders": "loaded by loaders"}[what]
        axes = f"{x0},40 {x0},{40 + height} {x0 + width},{40 + height}"
        parts += [
            f'<text x="{x0}" y="34" font-weight="bold">{name}</text>',
            _line(axes, "#d8dce0", ""),
            _line(ideal, "#b0b8bf", ' stroke-dasharray="4 3"'),
            _line(measured, "#2b7a78", ' stroke-width="2"'),
        ]
        for one in figures:
            x, y = at(one["nodes"], one["rate"]).split(",")
            parts += [
                f'<circle cx="{x}" cy="{y}" r="3" fill="#2b7a78"/>',
                _text(float(x) - 4, float(y) - 7, "end", f"{one['rate']:,.0f}"),
                _text(float(x), 56 + height, "middle", str(one["nodes"])),
            ]
    size = f'width="{2 * (width + gap)}" height="{height + 70}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}'
        ' style="font-family:sans-serif;font-size:11px">'
        '<rect width="100%" height="100%" fill="white"/>' + "".join(parts) + "</svg>\n"
    )


def _line(points: str, colour: str, further: str) -> str:
    return f'<polyline points="{points}" fill="none" stroke="{colour}"{further}/>'


def _text(x: float, y: float, anchor: str, said: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{said}</text>'


def write(results: Mapping[str, Any], folder: Path) -> None:
    """Write figures, table and plot."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "growth.json").write_text(json.dumps(results, indent=1))
    (folder / "growth.md").write_text(table(results))
    (folder / "growth.svg").write_text(plot(results))


def main() -> int:
    """Measure, write, and return 1 where six nodes do less than 5.4 times one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--share", type=float, default=0.1, help="of a core, for each node")
    parser.add_argument("--seconds", type=float, default=20.0, help="about so long each")
    parser.add_argument("--nodes", default="1,2,4,6", help="how many, with commas")
    parser.add_argument("--out", type=Path, default=Path("growth"), help="folder for the results")
    asked = parser.parse_args()
    nodes = [int(number) for number in asked.nodes.split(",")]
    results = measure(nodes, asked.share, asked.seconds)
    write(results, asked.out)
    print(table(results))
    reached = [
        results[what][-1]["rate"] / results[what][0]["rate"] * nodes[0] / nodes[-1]
        for what in ("gates", "loaders")
    ]
    return 0 if min(reached) >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
