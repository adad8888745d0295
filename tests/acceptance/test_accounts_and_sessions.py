"""Accounts by a partner, and sessions by a link, over TLS (connect-rest.md A.2.7, A.2.8)."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.servers.certificates import make_certificate
from tests.servers.treadle import PATIENCE_SECONDS, TreadleServer

PARTNER_SECRET = "oc_" + "5ecret" * 8


@dataclass(frozen=True)
class Installation:
    """A server with a partner, and a client that speaks TLS with it."""

    server: TreadleServer
    http: httpx.Client

    def everything_kept(self) -> bytes:
        """What is in the data folder and in the lines of the log."""
        files = [path for path in self.server.data.rglob("*") if path.is_file()]
        return b"".join(path.read_bytes() for path in [*files, self.server.log])

    def restart(self) -> None:
        assert self.server.stop() == 0
        assert self.server.process.stdout is not None
        self.server.process.stdout.close()
        self.server.start()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    """With two workers, as what one does must hold for the other."""
    files = make_certificate(tmp_path)
    secret = tmp_path / "partner_secret"
    secret.touch(0o600)
    secret.write_text(PARTNER_SECRET)
    settings = {"tls_cert": str(files.cert), "tls_key": str(files.key), "workers": "2"}
    environment = {
        "TREADLE_PARTNER_ID": "oc_partner",
        "TREADLE_PARTNER_SECRET_FILE": str(secret),
    }
    server = TreadleServer(tmp_path / "data", settings=settings, environment=environment)
    trust = ssl.create_default_context(cafile=str(files.cert))
    with server:
        base = f"https://localhost:{server.port}"
        with httpx.Client(base_url=base, verify=trust, timeout=PATIENCE_SECONDS) as http:
            yield Installation(server, http)


def test_a_partner_makes_an_account_and_leads_its_owner_to_a_session(here: Installation) -> None:
    body = {
        "partner_id": "oc_partner",
        "partner_secret": PARTNER_SECRET,
        "company": "Example Ltd",
        "email": "ann@example.com",
        "first_name": "Ann",
        "last_name": "Owner",
    }
    wrong = here.http.post("/v3/accounts", json=body | {"partner_secret": "oc_guess"})
    assert (wrong.status_code, wrong.json()["errors"]) == (400, {"partner_secret": "required"})
    made = here.http.post("/v3/accounts", json=body)
    assert made.status_code == 200, made.text
    account = {"Authorization": f"Bearer {made.json()['access_token']}"}
    assert here.http.post("/v3/accounts", json=body).json()["code"] == "ExistingUser"

    link = here.http.post("/v3/sessions/ephemeral", headers=account).json()["ephemeral_token"]
    page = {"ephemeral_token": link}
    opened = here.http.get("/console/login", params=page)
    assert (opened.status_code, opened.headers["location"]) == (303, "/console")
    assert opened.headers["referrer-policy"] == "no-referrer"
    cookie = opened.headers["set-cookie"]
    assert cookie.startswith("__Secure-treadle_session=")
    assert {"HttpOnly", "Secure", "SameSite=Strict", "Path=/console"} <= set(cookie.split("; "))
    # Fresh connections, so that either worker is asked.
    again = [httpx.get(opened.url, verify=_trust(here)).status_code for _ in range(4)]
    assert again == [401] * 4
    here.restart()
    assert httpx.get(opened.url, verify=_trust(here)).status_code == 401

    kept = here.everything_kept()
    session = cookie.partition("=")[2].partition(";")[0]
    for secret in (PARTNER_SECRET, account["Authorization"][7:], link, session):
        assert len(secret) >= 22
        assert secret.encode() not in kept
    assert b"refused for the partner's credentials" in kept


def _trust(here: Installation) -> ssl.SSLContext:
    cafile = here.server.settings["tls_cert"]
    return ssl.create_default_context(cafile=cafile)


def test_a_partner_with_half_of_its_settings_is_warned_about(tmp_path: Path) -> None:
    environment = {"TREADLE_PARTNER_ID": "oc_partner"}
    with TreadleServer(tmp_path / "data", environment=environment) as server:
        answer = httpx.post(f"{server.url}/v3/accounts", json={}, timeout=PATIENCE_SECONDS)
        assert (answer.status_code, answer.json()) == (404, {"status": "NOT FOUND"})
        assert "The setting partner_secret is missing." in server.log.read_text()
