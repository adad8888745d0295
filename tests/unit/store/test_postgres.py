"""The URL of a store on PostgreSQL, what its server promises, and what its errors mean."""

import psycopg
import pytest

from treadle.errors import OperatorError
from treadle.postgres_place import is_server_url
from treadle.store.postgres import (
    StoreDurability,
    find_weakness,
    is_passing,
    is_refused_login,
    parse_place,
    tells_of_no_wait,
)

SOUND = StoreDurability(fsync=True, full_page_writes=True)


def test_a_url_of_one_server_stays_one() -> None:
    place = parse_place("postgresql://ann:p%40ss@db.example.com:5433/treadle?sslmode=require")
    assert (place.url.host, place.url.port, place.url.database) == (
        "db.example.com",
        5433,
        "treadle",
    )
    assert (place.url.username, place.url.password) == ("ann", "p@ss")
    assert place.parameters["sslmode"] == "require"
    assert place.parameters["target_session_attrs"] == "read-write"
    assert place.name == "postgresql://db.example.com:5433/treadle"


@pytest.mark.parametrize(
    ("servers", "host", "port", "name"),
    [
        ("h1,h2,h3", "h1,h2,h3", None, "h1,h2,h3"),
        ("h1:5432,h2:5433", "h1,h2", "5432,5433", "h1:5432,h2:5433"),
        ("h1,h2:5433", "h1,h2", ",5433", "h1,h2:5433"),
    ],
)
def test_several_servers_become_parameters(
    servers: str, host: str, port: str | None, name: str
) -> None:
    place = parse_place(f"postgresql://ann@{servers}/treadle?connect_timeout=2")
    assert (place.url.host, place.url.port) == (None, None)
    assert (place.parameters.get("host"), place.parameters.get("port")) == (host, port)
    assert place.parameters["connect_timeout"] == "2"
    assert place.name == f"postgresql://{name}/treadle"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:pa@5ecret@db/treadle",
        "postgresql://ann:5ecret@db:port/treadle",
        "postgresql://ann:5ecret@db/treadle?nothing=5ecret",
        "postgresql://ann:%zz5ecret@db/treadle",
    ],
)
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(OperatorError, match="percent-encoded") as caught:
        parse_place(url)
    assert "5ecret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("postgresql://h/d", True),
        ("postgres://h/d", True),
        ("postgresql+psycopg://h/d", True),
        ("sqlite:////a/postgresql://b", False),
        ("mysql://h/d", False),
    ],
)
def test_which_urls_name_a_server(url: str, is_one: bool) -> None:
    assert is_server_url(url) is is_one


@pytest.mark.parametrize(
    ("found", "wanted", "told"),
    [
        (SOUND, "single", None),
        (StoreDurability(fsync=False, full_page_writes=True), "single", "fsync = off"),
        (StoreDurability(fsync=True, full_page_writes=False), "single", "full_page_writes = off"),
        (StoreDurability(fsync=False, full_page_writes=False), "none", None),
        (SOUND, "replicated", "waits for no standby"),
        (StoreDurability(True, True, "ANY 1 (*)", 0), "replicated", "of ANY 1 (*)"),
        (StoreDurability(True, True, "ANY 1 (*)", 0), "single", None),
        (StoreDurability(True, True, "ANY 1 (*)", 1), "replicated", None),
        # The user may not see them, so they cannot be missed.
        (StoreDurability(True, True, "ANY 1 (*)", None), "replicated", None),
    ],
)
def test_a_server_that_is_weaker_than_asked_is_named(
    found: StoreDurability, wanted: str, told: str | None
) -> None:
    weakness = find_weakness(found, wanted)
    assert weakness is None if told is None else told in (weakness or "")
    assert told is None or "store_durability" in (weakness or "")


@pytest.mark.parametrize(
    ("state", "severity", "is_told"),
    [
        ("01000", "WARNING", True),
        ("57P01", "WARNING", True),
        ("01000", "NOTICE", False),
        ("25P01", "WARNING", False),
        (None, None, False),
    ],
)
def test_a_commit_that_did_not_wait_is_known_by_its_warning(
    state: str | None, severity: str | None, is_told: bool
) -> None:
    assert tells_of_no_wait(state, severity) is is_told


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (psycopg.errors.ReadOnlySqlTransaction(), True),
        (psycopg.errors.AdminShutdown(), True),
        (psycopg.errors.IdleInTransactionSessionTimeout(), True),
        (psycopg.errors.DeadlockDetected(), True),
        (psycopg.errors.DiskFull(), True),
        (psycopg.errors.UniqueViolation(), False),
        (psycopg.errors.InsufficientPrivilege(), False),
        (psycopg.OperationalError("no state"), False),
        (None, False),
    ],
)
def test_what_passes_by_itself(error: Exception | None, passes: bool) -> None:
    assert is_passing(error) is passes


REFUSED = 'connection failed: connection to server at "h", port 1 failed: FATAL:  '
WRONG = 'password authentication failed for user "u"'
GONE = "Connection refused"
ALL = "Multiple connection attempts failed. All failures were:"


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        (f'{REFUSED}password authentication failed for user "u"', True),
        (f'{REFUSED}database "d" does not exist', True),
        (f"{REFUSED}the database system is starting up", False),
        (f"{REFUSED}session is read-only", False),
        (f"{REFUSED}{WRONG}\n{ALL}\n- one: {REFUSED}{GONE}\n- two: {REFUSED}{WRONG}", False),
        (f"{REFUSED}{WRONG}\n{ALL}\n- one: {REFUSED}{WRONG}\n- two: {REFUSED}{WRONG}", True),
        ("the connection is closed", False),
    ],
)
def test_only_a_login_that_every_server_refuses_needs_the_operator(
    text: str, is_refused: bool
) -> None:
    assert is_refused_login(psycopg.OperationalError(text)) is is_refused
