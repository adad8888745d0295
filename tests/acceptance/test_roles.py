"""A small cluster: members with roles, revocation at every gate, restarts under load."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import pytest
from tests.conftest import WITHOUT_VACUUM
from tests.servers.members import MemberCluster, MemberServer
from tests.servers.postgres import PostgresServer
from tests.servers.treadle import PATIENCE_SECONDS, Client, eventually
from tests.upgrade.retrying_sender import RetryingSender
from tests.upgrade.upgrade_run import await_requests, compare_rows

REVOKED_SECONDS: Final = 1.0
"""A revoked token is taken nowhere any more after this time."""

BUSY_SECONDS: Final = 5.0
"""What a busy machine may add, where other tests run beside."""


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    with PostgresServer(settings={**WITHOUT_VACUUM, "max_connections": "200"}) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(
    database: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MemberCluster]:
    """Two gates and control, without a loader, which takes as long to start as the rest."""
    folder = tmp_path_factory.mktemp("cluster")
    settings = {"drain_seconds": "1"}
    with MemberCluster(folder, database.create_database(), settings=settings) as made:
        yield made


@pytest.fixture(scope="module")
def source(cluster: MemberCluster) -> tuple[int, str]:
    """Id and token of a source."""
    return cluster.client.create_source("Probe")


def push(gate: MemberServer, cluster: MemberCluster, token: str) -> httpx.Response:
    client = Client(gate, cluster.client.client_id, "")
    with client.http:
        return client.push(token, [{"id": 1}], table="probe")


def read_metrics(member: MemberServer) -> str:
    answer = httpx.get(f"{member.url}/metrics", timeout=PATIENCE_SECONDS)
    assert answer.status_code == 200, answer.text
    return answer.text


def check_roles(member: MemberServer, names: set[str], paths: dict[str, bool]) -> None:
    """Check what a member does, and what it leaves to others.

    Args:
        member: with one role.
        names: of its processes.
        paths: path -> whether the member answers it.
    """
    assert names <= set(member.processes()) <= names | {"desk"}
    assert "client id" not in member.said  # init made the account
    ready = {"status": "ready", "reason": None, "roles": [member.role]}
    assert member.find_readiness() == (200, ready)
    assert member.find_readiness(member.role)[0] == 200
    other = "ingest" if member.role != "ingest" else "control"
    status, told = member.find_readiness(other)
    assert (status, told["reason"]) == (503, f"this member does not have the role {other}")
    label = f'treadle_member_info{{member="{member.name}",roles="{member.role}"}} 1.0'
    assert label in read_metrics(member)
    for path, is_mine in paths.items():
        # What another member answers is answered so that nobody loses anything by it.
        answer = httpx.get(member.url + path, timeout=PATIENCE_SECONDS)
        if is_mine:
            assert answer.status_code in (200, 303, 401), path
        else:
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2"), path
    assert httpx.get(f"{member.url}/nothing").status_code == 404


def test_each_member_does_what_its_role_names(cluster: MemberCluster) -> None:
    paths = {"/v2/import/status": True, "/v4/sources": False, "/console": False}
    check_roles(cluster.gates[0], {"worker 1"}, paths)
    check_roles(
        cluster.control, {"worker 1", "courier"}, {path: not mine for path, mine in paths.items()}
    )


def test_the_list_of_members_says_who_runs(cluster: MemberCluster) -> None:
    expected = {
        "control-1 courier control",
        "control-1 worker 1 control",
        "gate-1 worker 1 ingest",
        "gate-2 worker 1 ingest",
    }

    def list_shown() -> set[str]:
        health: Any = cluster.client.http.get("/v1/health", headers=cluster.client.account).json()
        return {f"{one['member']} {one['process']} {one['role']}" for one in health["members"]}

    eventually(lambda: list_shown() == expected)
    printed = cluster.list_members()
    assert {f"{one['member']} {one['process']} {one['role']}" for one in printed} == expected
    assert {one["state"] for one in printed} == {"ready"}


class RevocationWitness(threading.Thread):
    """Pushes to one gate with a token, until it is told to stop; notes when requests began."""

    def __init__(self, gate: MemberServer, client_id: int, token: str) -> None:
        super().__init__(daemon=True)
        self._client = Client(gate, client_id, "")
        self._token = token
        self._told = threading.Event()
        self.taken: list[float] = []
        self.refused = threading.Event()
        self.others: list[int] = []

    def run(self) -> None:
        with self._client.http:
            while not self._told.is_set():
                began = time.monotonic()
                answer = self._client.push(self._token, [{"id": 1}], table="probe")
                if answer.status_code == 201:
                    self.taken.append(began)
                elif answer.status_code == 401:
                    self.refused.set()
                else:
                    self.others.append(answer.status_code)

    def stop(self) -> None:
        self._told.set()
        self.join(PATIENCE_SECONDS)


def revoke_under_load(cluster: MemberCluster, source_id: int) -> float:
    """Revoke a token while it is used at every gate; returns how long it was taken, in seconds."""
    http, account = cluster.client.http, cluster.client.account
    asked = {"kind": "import", "source_id": source_id}
    made = http.post("/v1/tokens", json=asked, headers=account).json()
    client_id = cluster.client.client_id
    witnesses = [RevocationWitness(one, client_id, made["access_token"]) for one in cluster.gates]
    for witness in witnesses:
        witness.start()
    try:
        eventually(lambda: all(witness.taken for witness in witnesses))
        answer = http.delete(f"/v1/tokens/{made['id']}", headers=account)
        answered = time.monotonic()
        assert answer.status_code == 200, answer.text
        assert all(witness.refused.wait(PATIENCE_SECONDS) for witness in witnesses)
        time.sleep(0.2)  # whoever answered 401 once takes it no more
    finally:
        for witness in witnesses:
            witness.stop()
    assert [witness.others for witness in witnesses] == [[]] * len(witnesses)
    return max(witness.taken[-1] for witness in witnesses) - answered


def test_a_revoked_token_is_taken_by_no_gate_a_second_later(
    cluster: MemberCluster, source: tuple[int, str]
) -> None:
    assert revoke_under_load(cluster, source[0]) < REVOKED_SECONDS + BUSY_SECONDS


def test_a_gate_is_restarted_under_load(cluster: MemberCluster, source: tuple[int, str]) -> None:
    client, gate = cluster.client, cluster.gates[0]
    urls = [gate.url for gate in cluster.gates]
    sender = RetryingSender(urls, client.client_id, client.create_source()[1])
    sender.start()
    await_requests(sender, 20)
    assert push(gate, cluster, source[1]).status_code == 201
    gate.process.terminate()
    eventually(lambda: gate.find_readiness()[0] == 503)
    assert gate.find_readiness()[1]["reason"] == "this member is stopping"
    answer = push(gate, cluster, source[1])
    assert (answer.status_code, answer.headers["connection"]) == (201, "close")
    assert gate.process.wait(PATIENCE_SECONDS) == 0
    assert gate.process.stdout is not None
    gate.process.stdout.close()
    await_requests(sender, sender.acknowledged + 20)
    gate.start()
    cluster.gates[1].process.terminate()
    await_requests(sender, sender.acknowledged + 20)
    sender.stop()
    assert cluster.gates[1].process.wait(PATIENCE_SECONDS) == 0
    said = gate.log.read_text()
    assert "stopping in 1.0 s; load balancers are told by /v1/ready" in said
    assert "Traceback" not in said


def test_a_release_that_may_not_go_on_stops_and_does_not_start(cluster: MemberCluster) -> None:
    gate = cluster.gates[0]
    told = cluster.treadle("upgrade", "finish")
    assert told.endswith("is finished: releases before it are refused from now on.\n")
    assert "the upgrade is finished" in cluster.treadle("upgrade", "check")
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        connection.execute("UPDATE meta SET form = form + 1")
    assert gate.process.wait(PATIENCE_SECONDS) == 2
    assert "this server stops: the upgrade to a newer treadle was finished" in gate.log.read_text()
    with pytest.raises(AssertionError, match="the upgrade to a newer treadle was finished"):
        gate.start()


@pytest.mark.release
def test_members_of_all_roles_are_restarted_under_load(
    database: PostgresServer, tmp_path: Path
) -> None:
    destination = database.create_database()
    urls = database.create_database(), destination
    with MemberCluster(tmp_path, *urls, gates=3) as whole:
        [loader] = whole.loaders
        check_roles(loader, {"worker 1", "loader"}, {"/v2/import/status": False, "/console": False})
        source_id, _ = whole.client.create_source("Probe")
        assert max(revoke_under_load(whole, source_id) for _ in range(5)) < REVOKED_SECONDS
        gates = [gate.url for gate in whole.gates]
        client = whole.client
        sender = RetryingSender(gates, client.client_id, client.create_source()[1])
        sender.start()
        await_requests(sender, 20)
        for member in whole.members:
            member.restart()
            await_requests(sender, sender.acknowledged + 20)
        sender.stop()
        eventually(lambda: compare_rows(destination, sender.acknowledged) == [])
        assert compare_rows(destination, sender.acknowledged) == []
        for member in whole.members:
            assert "Traceback" not in member.log.read_text()
