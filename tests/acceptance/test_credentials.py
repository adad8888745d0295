"""Credentials of a running server: replaced, rotated and revoked under load, and never printed."""

import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.treadle import PATIENCE_SECONDS, Client, TreadleServer, eventually

WORKERS = 2
SOURCES = 6
SENDERS = 4
LOAD_SECONDS = 4.0
PAUSE_SECONDS = 0.005
"""Between two requests of a sender: four that never pause leave no processor to what they test."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TreadleServer]:
    with TreadleServer(tmp_path / "data", settings={"workers": str(WORKERS)}) as running:
        yield running


@pytest.fixture
def client(server: TreadleServer) -> Client:
    return Client(server, *server.account())


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TreadleServer]:
    """One for tests that neither stop it nor change its key."""
    folder = tmp_path_factory.mktemp("asked")
    with TreadleServer(folder / "data", settings={"workers": str(WORKERS)}) as running:
        yield running


@dataclass(slots=True)
class Application:
    """What sends with one token at a time.

    Attributes:
        source_id: of an import or webhook token.
        call: sends one request with a token, and returns its status.
    """

    token_id: int
    token: str
    source_id: int | None
    call: Callable[[httpx.Client, str], int]


class Load:
    """Applications that send all the time, and what they were answered."""

    def __init__(self, server: TreadleServer, applications: list[Application]) -> None:
        self.server = server
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []
        self._rounds: Counter[int] = Counter()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(number, applications[number::SENDERS]))
            for number in range(SENDERS)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    def wait_until_answered(self) -> None:
        """Wait until every request that was begun before now has its answer."""
        seen = dict(self._rounds)
        eventually(lambda: all(self._rounds[n] >= seen.get(n, 0) + 2 for n in range(SENDERS)))

    def _send(self, number: int, applications: list[Application]) -> None:
        with httpx.Client(base_url=self.server.url, timeout=PATIENCE_SECONDS) as http:
            while not self._stop.is_set():
                for application in applications:
                    token = application.token
                    status = application.call(http, token)
                    self.statuses[status] += 1
                    time.sleep(PAUSE_SECONDS)
                    if status not in (200, 201):
                        self.faults.append(f"{status} with the token ...{token[-4:]}")
                self._rounds[number] += 1


class Tokens:
    """The calls about tokens of an account, and requests that send with them."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def issue(self, kind: str, source_id: int | None = None, **more: Any) -> Application:
        calls = {"import": self.push, "webhook": self.post_webhook, "account": self.list_sources}
        body = {"kind": kind, "source_id": source_id, **more}
        made = self._ask("POST", "/v1/tokens", body)
        return Application(made["id"], made["access_token"], source_id, calls[kind])

    def replace(self, application: Application, overlap_seconds: int) -> None:
        """Give an application a token in place of its own, which goes on for a while."""
        path = f"/v1/tokens/{application.token_id}/replace"
        made = self._ask("POST", path, {"overlap_seconds": overlap_seconds})
        application.token_id, application.token = made["id"], made["access_token"]

    def revoke(self, token_id: int) -> None:
        self._ask("DELETE", f"/v1/tokens/{token_id}")

    def expire(self, token_id: int, at: str) -> None:
        self._ask("PUT", f"/v1/tokens/{token_id}", {"expires_at": at})

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        answer = self.client.http.request(method, path, json=body, headers=self.client.account)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def push(self, http: httpx.Client, token: str) -> int:
        record = {"table_name": "pushed", "sequence": 1, "action": "upsert", "key_names": ["id"]}
        body = [{"client_id": self.client.client_id, "data": {"id": 1}, **record}]
        return http.post("/v2/import/push", json=body, headers=bearer(token)).status_code

    def post_webhook(self, http: httpx.Client, token: str) -> int:
        path = f"/v1/clients/{self.client.client_id}/token/{token}"
        return http.post(path, json={"id": 1}).status_code

    def list_sources(self, http: httpx.Client, token: str) -> int:
        return http.get("/v4/sources", headers=bearer(token)).status_code


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def make_applications(tokens: Tokens) -> list[list[Application]]:
    """Four for each source: two that push, one with a webhook, one with an account token."""
    made = []
    for number in range(SOURCES):
        source_id, _ = tokens.client.create_source(f"Source {number}")
        # The token that the source was born with was never used, so it gives way to the second.
        pushing = [tokens.issue("import", source_id) for _ in range(2)]
        hook = tokens.issue("webhook", source_id, tables=["hooks"])
        made.append([*pushing, hook, tokens.issue("account")])
    return made


def rotate_tokens(tokens: Tokens, load: Load, group: list[Application]) -> list[Application]:
    """Replace the tokens of one source and of one account; returns the old ones.

    A source has two import tokens, so one application sends with that of the other meanwhile.
    """
    one, two, hook, account = group
    old = [replace(application) for application in (two, hook, account)]
    two.token = one.token
    load.wait_until_answered()
    tokens.revoke(old[0].token_id)
    fresh = tokens.issue("import", two.source_id)
    two.token_id, two.token = fresh.token_id, fresh.token
    for application in (hook, account):
        tokens.replace(application, overlap_seconds=3600)
    load.wait_until_answered()
    for gone in old[1:]:
        tokens.revoke(gone.token_id)
    return old


def test_tokens_and_the_key_are_rotated_under_load_without_a_refusal(
    server: TreadleServer, client: Client
) -> None:
    tokens = Tokens(client)
    groups = make_applications(tokens)
    applications = [application for group in groups for application in group]
    assert len({application.token for application in applications}) == 24
    keys = {(server.data / "secret.key").read_text()}
    retired: list[Application] = []
    with Load(server, applications) as load:
        began = time.monotonic()
        while len(keys) < 4 or time.monotonic() - began < LOAD_SECONDS:
            assert "encrypted anew" in server.treadle("key", "rotate")
            keys.add((server.data / "secret.key").read_text())
            retired += rotate_tokens(tokens, load, groups[len(keys) % SOURCES])
    assert load.faults == []
    assert load.statuses.keys() == {200, 201}
    assert load.statuses.total() > 240
    for gone in retired:
        assert {gone.call(client.http, gone.token) for _ in range(2)} == {401}
    server.stop()
    server.start()  # a process that starts now opens everything with the last key
    for application in applications:
        assert application.call(client.http, application.token) in (200, 201)
    listed = client.http.get("/v4/sources", headers=client.account).json()
    assert [len(source["properties"]["token"]) for source in listed] == [2] * SOURCES


def test_a_token_that_has_ended_is_refused_by_every_worker(asked: TreadleServer) -> None:
    client = Client(asked, *asked.account())
    tokens = Tokens(client)
    source_id, _ = client.create_source()
    kinds = [("import", source_id), ("webhook", source_id), ("account", None)]
    revoked = [tokens.issue(kind, place) for kind, place in kinds]
    tokens.revoke(revoked[0].token_id)
    revoked[0] = tokens.issue("import", source_id)
    for application in revoked:
        assert application.call(client.http, application.token) in (200, 201)
        tokens.revoke(application.token_id)
    expired = [tokens.issue(kind, place) for kind, place in kinds]
    for application in expired:
        assert application.call(client.http, application.token) in (200, 201)
        tokens.expire(application.token_id, "2020-01-01T00:00:00Z")

    def refused() -> bool:
        """Each try has a connection of its own, so that every worker gets some."""
        found = set()
        for application in [*revoked, *expired]:
            for _ in range(4 * WORKERS):
                with httpx.Client(base_url=asked.url, timeout=PATIENCE_SECONDS) as http:
                    found.add(application.call(http, application.token))
        return found == {401}

    eventually(refused, 60)


def test_the_first_token_is_in_a_file_of_its_owner_alone(asked: TreadleServer) -> None:
    client_id, token = asked.account()
    file = asked.data / "account.token"
    assert file.read_text() == f"{token}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for printed in (asked.said, asked.log.read_text()):
        assert token not in printed
        assert "ac_" not in printed
    assert f"in the file {file}" in asked.said
    assert f'ACCOUNT="Authorization: Bearer $(cat {file})"' in asked.said
    assert Client(asked, client_id, token).create_source("First token")
