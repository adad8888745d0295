"""What the commands of this folder share: their flags, their counts, their last line."""

import argparse
import contextlib
import itertools
import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.mariadb import MariaServer
from tests.servers.postgres import PostgresServer

if TYPE_CHECKING:
    from tests.servers.clickhouse import ClickhouseServer

DEFAULT_KINDS = ("duckdb", "postgres")
KINDS = (*DEFAULT_KINDS, "clickhouse", "iceberg", "mysql")


@dataclass(slots=True)
class Tally:
    """Counts of one command.

    Attributes:
        counts: further figures for the report.
        violations: what was broken, in words.
    """

    name: str
    passed: int = 0
    failed: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def note(self, title: str, violations: list[str]) -> None:
        """Count one run and say what was wrong with it."""
        if not violations:
            self.passed += 1
            return
        self.failed += 1
        for violation in violations[:20]:
            self.violations.append(f"{title}: {violation}")
            print(f"  {title}: {violation}", flush=True)  # noqa: T201 - the command's report

    def add(self, **counts: int) -> None:
        """Add to figures."""
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count


def command(
    name: str, doc: str, run: Callable[[argparse.Namespace, Tally], None], *, cycles: int
) -> int:
    """Run a command of this folder; returns its exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.faults.{name}", description=doc)
    parser.add_argument("--cycles", type=int, default=cycles, help="how many runs")
    parser.add_argument("--seed", type=int, default=1, help="of the dice")
    parser.add_argument("--destination", choices=KINDS, action="append", help="only into this")
    parser.add_argument("--record", type=Path, help="append the counts to this file, as JSON")
    parser.add_argument("--minutes", type=float, default=0.0, help="end after so long; 0 for never")
    arguments = parser.parse_args()
    arguments.destination = arguments.destination or list(DEFAULT_KINDS)
    tally = Tally(name)
    began = time.monotonic()
    try:
        end_after(60 * arguments.minutes)
        run(arguments, tally)
    except KeyboardInterrupt:
        print("ended early, with these")  # noqa: T201
    seconds = time.monotonic() - began
    for title, count in tally.counts.items():
        print(f"{count} {title}")  # noqa: T201
    print(f"seed {arguments.seed}, {seconds:.0f} s")  # noqa: T201
    print(f"{tally.passed} passed, {tally.failed} failed")  # noqa: T201
    if arguments.record is not None:
        with arguments.record.open("a") as out:
            line = {
                "name": name,
                "seed": arguments.seed,
                "destinations": arguments.destination,
                "passed": tally.passed,
                "failed": tally.failed,
                "counts": tally.counts,
                "violations": tally.violations,
                "seconds": round(seconds),
            }
            out.write(json.dumps(line) + "\n")
    return 1 if tally.failed or not tally.passed else 0


def end_after(seconds: float) -> None:
    """Raise KeyboardInterrupt after so many seconds (0: never), or when told to end."""

    def end(_: int, __: object) -> None:
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(one, signal.SIG_IGN)  # once: what was begun is put away in peace
        raise KeyboardInterrupt

    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(one, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def start_clickhouse(stack: contextlib.ExitStack) -> "ClickhouseServer":
    """A server that ends with `stack`."""
    from tests.servers.clickhouse import ClickhouseServer

    return stack.enter_context(ClickhouseServer())


@contextlib.contextmanager
def destinations(kinds: list[str]) -> Iterator[Callable[[str], str | None]]:
    """Gives a fresh destination of a kind each time it is asked: a URL, or None for DuckDB.

    There is one of MariaDB and of ClickHouse at a time: their servers have no databases that
    sources could share.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(PostgresServer()) if "postgres" in kinds else None
        mariadb = stack.enter_context(MariaServer()) if "mysql" in kinds else None
        clickhouse = start_clickhouse(stack) if "clickhouse" in kinds else None
        lakes = stack.enter_context(folder())
        numbers = itertools.count()

        def fresh(kind: str) -> str | None:
            if kind == "duckdb":
                return None
            if kind == "clickhouse":
                assert clickhouse is not None
                clickhouse.empty()
                return clickhouse.url()
            if kind == "iceberg":
                return f"iceberg+sql://{lakes / f'lake{next(numbers)}.db'}"
            if kind == "mysql":
                assert mariadb is not None
                mariadb.empty()
                return mariadb.url()
            assert server is not None
            return server.create_database()

        yield fresh


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder that is removed afterwards; what a process that is ending still writes may stay."""
    with tempfile.TemporaryDirectory(prefix="treadle-faults-", ignore_cleanup_errors=True) as path:
        yield Path(path)
