"""Whether libpq makes sure that it talks to the server that is meant."""

import pytest

from treadle.destinations.postgres.destination import PostgresDestination
from treadle.destinations.registry import make_destination
from treadle.destinations.transport import find_transport_risk

REMOTE = "postgresql://loader:5ecret@db.example.com/warehouse"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("PGSSLMODE", "PGHOST", "PGHOSTADDR", "PGSSLROOTCERT", "PGGSSENCMODE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("mode", ["", "disable", "allow", "prefer", "require"])
def test_a_server_that_is_not_verified_is_told(mode: str) -> None:
    url = REMOTE + (f"?sslmode={mode}" if mode else "")
    risk = find_transport_risk(make_destination(url))
    assert risk is not None
    assert f"sslmode={mode or 'prefer'}, which does not verify the server" in risk.found
    assert ("in clear" in risk.meaning) == (mode != "require")
    assert "sslmode=verify-full" in risk.remedy
    assert "5ecret" not in f"{risk}"


@pytest.mark.parametrize(
    "url",
    [
        REMOTE + "?sslmode=verify-full",
        REMOTE + "?sslmode=verify-ca",
        REMOTE + "?sslrootcert=system",
        REMOTE + "?gssencmode=require",
        "postgresql://loader@localhost/w",
        "postgresql://loader@127.0.0.1/w",
        "postgresql://loader@127.0.0.1,[::1]/w",
        "postgresql://loader@/w",
        "postgresql://loader@/w?host=/run/postgresql",
        "postgresql:///w?host=db.example.com&hostaddr=127.0.0.1",
        "duckdb:///a.duckdb",
    ],
)
def test_a_verified_or_local_server_is_not(url: str) -> None:
    assert find_transport_risk(make_destination(url)) is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://a@127.0.0.1,db.example.com/w",
        "postgresql://a@localhost/w?hostaddr=192.0.2.1",
        "postgresql://a@127.0.0.1.example.com/w",
        "postgresql://a@localhost.example.com/w",
        "postgresql://a@0.0.0.0/w",
    ],
)
def test_one_host_elsewhere_is_enough(url: str) -> None:
    assert PostgresDestination(url).find_risk() is not None


def test_the_environment_of_libpq_counts(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PGSSLMODE", "verify-full")
    assert PostgresDestination(REMOTE).find_risk() is None
    assert PostgresDestination(REMOTE + "?sslmode=require").find_risk() is not None
    environment.delenv("PGSSLMODE")
    environment.setenv("PGHOST", "db.example.com")
    assert PostgresDestination("postgresql:///w").find_risk() is not None
