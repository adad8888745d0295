"""`python -m tests.integration.model --steps 20000`: the same machine for as long as it takes."""

import argparse
import gc
import logging
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import invariant, run_state_machine_as_test
from tests.integration.model.machine import Machine
from tests.integration.model.world import World
from tests.servers.clickhouse import ClickhouseServer
from tests.servers.mariadb import MariaServer
from tests.servers.postgres import PostgresServer

STEPS = 30
"""Steps of one example; a seed stands for `EXAMPLES` of them."""

EXAMPLES = 10


class Counted(Machine):
    """Counts its steps."""

    steps = 0

    @invariant()
    def count(self) -> None:
        Counted.steps += 1


def once(world: World, number: int, *, shrink: bool) -> str | None:
    """One seed; returns what went wrong."""
    Counted.world = world
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    machine = seed(number)(type("Seeded", (Counted,), {}))
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                phases=phases,
                suppress_health_check=list(HealthCheck),
            ),
        )
    except Exception:  # noqa: BLE001 - whatever it is, it is what is looked for
        return traceback.format_exc()
    return None


def main() -> int:
    """Run until the steps are done; 1 when something went wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--destination",
        choices=["clickhouse", "duckdb", "iceberg", "postgres", "mysql"],
        default="duckdb",
    )
    parser.add_argument("--shrink", action="store_true", help="look for the shortest example")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    gc.freeze()  # as the loader's own process does: it collects garbage after each load
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        server: PostgresServer | MariaServer | ClickhouseServer | None = None
        url = None
        if given.destination == "postgres":
            server = PostgresServer()
            server.start()
            url = server.create_database()
        elif given.destination == "clickhouse":
            server = ClickhouseServer()
            server.start()
            url = server.url()
        elif given.destination == "mysql":
            server = MariaServer()
            server.start()
            url = server.url()
        elif given.destination == "iceberg":
            url = f"iceberg+sql://{folder}/lake.db"
        try:
            world = World(Path(folder), url)
            begun, number = time.monotonic(), given.seed
            total = 0
            while total < given.steps:
                Counted.steps = 0
                wrong = once(world, number, shrink=given.shrink)
                total += Counted.steps
                rate = total / (time.monotonic() - begun)
                print(f"seed {number}: {total} steps, {rate:.0f} steps/s", flush=True)
                if wrong is not None:
                    failed.append(number)
                    print(wrong, flush=True)
                number += 1
            world.close()
        finally:
            if server is not None:
                server.close()
    print(f"{total} steps on {given.destination}; failing seeds: {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
