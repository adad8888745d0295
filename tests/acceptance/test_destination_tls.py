"""The certificate of a destination's authority, against PostgreSQL with TLS (A.2.2)."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.acceptance.test_destinations import Account, name_postgres, push_orders
from tests.servers.certificates import CertificateFiles, make_certificate
from tests.servers.database_server import NoServerError
from tests.servers.postgres import PostgresServer
from tests.servers.postgres_tls import tls_front, tls_server
from tests.servers.treadle import Client, TreadleServer, eventually

SETTINGS = {"destinations_local": "true", "load_age_seconds": "0.2"}


@dataclass(frozen=True)
class Encrypted:
    """A database that is reached over TLS.

    Attributes:
        url: of it, without parameters about TLS.
        plain: the same in clear, for the test.
        certificate: that its server shows.
    """

    url: str
    plain: str
    certificate: CertificateFiles


@pytest.fixture(params=["front", "system"])
def encrypted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Encrypted]:
    certificate = make_certificate(tmp_path, "database")
    with contextlib.ExitStack() as stack:
        if request.param == "system":
            try:
                server = stack.enter_context(tls_server(certificate))
            except NoServerError as error:
                pytest.skip(str(error))
            url = server.create_database()
            yield Encrypted(url, url, certificate)
            return
        wheel: PostgresServer = request.getfixturevalue("postgres_server")
        plain: str = request.getfixturevalue("postgres_database")
        port = stack.enter_context(tls_front(wheel.port, certificate))
        yield Encrypted(plain.replace(f":{wheel.port}/", f":{port}/"), plain, certificate)


def await_check(client: Client, destination_id: int) -> dict[str, Any]:
    """The last check of a destination, once it has ended."""
    path = f"/v4/destinations/{destination_id}/last-connection-check"

    def find() -> dict[str, Any]:
        found: dict[str, Any] = client.http.get(path, headers=client.account).json()
        return found

    eventually(lambda: find()["status"] != "running")
    return find()


def test_the_right_authority_connects_and_another_one_is_told_in_the_tls_phase(
    tmp_path: Path, encrypted: Encrypted
) -> None:
    right = encrypted.certificate.cert.read_text()
    wrong = make_certificate(tmp_path, "other").cert.read_text()
    with TreadleServer(tmp_path / "data", settings=SETTINGS) as server:
        client = Client(server, *server.account())
        account = Account(client)
        _, token = client.create_source()
        [default] = account.list_ids()
        account.delete(default)
        id_ = account.make("postgres", name_postgres(encrypted.url, ssl=True, sslrootcert=wrong))
        push_orders(client, token, 0, 100)
        found = await_check(client, id_)
        assert (found["status"], found["error"]) == ("failed", True)
        said = found["discovery_error_message"]
        assert "certificate verify failed" in said
        assert "TLS failed after" in said
        assert "log in" not in said

        changed = account.call("PUT", f"/{id_}", {"properties": {"sslrootcert": right}})
        assert changed.status_code == 200
        assert await_check(client, id_)["status"] == "succeeded"

        def count() -> int:
            with psycopg.connect(encrypted.plain) as database:
                rows = database.execute("SELECT count(DISTINCT id) FROM import_api.orders")
                return int(rows.fetchall()[0][0])

        eventually(lambda: _succeeds(count) == 100)
        # What the loader connects with is verified: with the wrong authority it loads nothing.
        account.call("PUT", f"/{id_}", {"properties": {"sslrootcert": wrong}})
        assert "TLS failed" in await_check(client, id_)["discovery_error_message"]
        push_orders(client, token, 100, 100)
        eventually(lambda: "certificate verify failed" in server.log.read_text())
        assert count() == 100
        account.call("PUT", f"/{id_}", {"properties": {"sslrootcert": right}})
        eventually(lambda: count() == 200)
        server.stop()
        kept = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("store.sqlite*"))
        assert right.splitlines()[1].encode() not in kept
        assert str(conninfo_to_dict(encrypted.url)["password"]).encode() not in kept


def _succeeds(count: Any) -> int | None:
    try:
        return int(count())
    except psycopg.errors.UndefinedTable:
        return None


def test_a_certificate_of_another_host_is_told_in_the_tls_phase(
    tmp_path: Path, postgres_server: PostgresServer, postgres_database: str
) -> None:
    certificate = make_certificate(tmp_path, "elsewhere", ("db.example.com",))
    with (
        tls_front(postgres_server.port, certificate) as port,
        TreadleServer(tmp_path / "data", settings=SETTINGS) as server,
    ):
        url = postgres_database.replace(f":{postgres_server.port}/", f":{port}/")
        client = Client(server, *server.account())
        asked = name_postgres(url, ssl=True, sslrootcert=certificate.cert.read_text())
        said = await_check(client, Account(client).make("postgres", asked))[
            "discovery_error_message"
        ]
        assert "TLS failed after" in said
        assert "127.0.0.1" in said
