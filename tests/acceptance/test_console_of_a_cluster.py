"""The console where several machines share the work: any of them shows all of them."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import httpx
import pytest
from tests.acceptance.test_console import sign_in
from tests.conftest import WITHOUT_VACUUM
from tests.servers.members import MemberCluster, MemberServer
from tests.servers.postgres import PostgresServer
from tests.servers.treadle import PATIENCE_SECONDS, Client, eventually

TABLES: Final = 24
"""Tables with something that waits: so many that each of two loaders has some."""

UNITS: Final = 64


class Company:
    """Two gates, control, and two members that load and answer the console.

    Attributes:
        both: the members with loaders. No destination is there, so what is accepted waits.
    """

    def __init__(self, cluster: MemberCluster, both: list[MemberServer]) -> None:
        self.cluster = cluster
        self.both = both

    @property
    def consoles(self) -> list[MemberServer]:
        """The members that serve pages."""
        return [self.cluster.control, *self.both]

    def ask(self, member: MemberServer, path: str) -> Any:
        """What a member answers to a question of the Connect API."""
        answer = httpx.get(
            f"{member.url}{path}", headers=self.cluster.client.account, timeout=PATIENCE_SECONDS
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def push(self, gate: MemberServer, token: str, tables: range) -> None:
        """Push a record for each of some tables through one gate."""
        client = Client(gate, self.cluster.client.client_id, "")
        with client.http:
            for number in tables:
                answer = client.push(token, [{"id": 1}], table=f"t{number}")
                assert answer.status_code == 201, answer.text


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    folder = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        database = stack.enter_context(
            PostgresServer(settings={**WITHOUT_VACUUM, "max_connections": "200"})
        )
        url = database.create_database()
        cluster = MemberCluster(folder, url, settings={"drain_seconds": "0"})
        cluster.gates[0].settings["drain_seconds"] = "4"
        stack.enter_context(cluster)
        both = [
            MemberServer(folder, f"both-{number}", "loader,control", url, {"drain_seconds": "0"})
            for number in (1, 2)
        ]
        for member in both:
            stack.enter_context(member)
        yield Company(cluster, both)


@pytest.fixture(scope="module")
def token(company: Company) -> str:
    """The token of a source."""
    return company.cluster.client.create_source("Shop")[1]


def find_words(text: str) -> str:
    """The text that is seen, with single blanks."""
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_any_console_shows_all_members_units_and_logs(company: Company) -> None:
    def share_units() -> bool:
        members = company.ask(company.cluster.control, "/v1/health")["members"]
        units = [one["units"] for one in members if one["units"] is not None]
        return len(units) == 2 and sum(units) == UNITS and all(units)

    eventually(share_units)
    names = {"gate-1", "gate-2", "control-1", "both-1", "both-2"}
    for member in company.consoles:
        health = company.ask(member, "/v1/health")
        assert {one["member"] for one in health["members"]} == names
        assert {one["state"] for one in health["members"]} == {"ready"}
        assert health["machine"] == member.name
        assert health["units_free"] == []
        addresses = {one["member"]: one["address"] for one in health["members"] if one["address"]}
        assert addresses["gate-1"] == company.cluster.gates[0].url
        [log] = health["logs"]
        assert (log["number"], log["state"], log["kind"]) == (1, "open", "postgres")
        assert log["trouble"] is None
        with sign_in(member) as browser:
            page = browser.get("/console/health")
        assert page.status_code == 200
        words = find_words(page.text)
        assert "5 ready" in words
        assert f"{member.name} this machine ● ready" in words
        for name in names:
            assert name in words
        for name in ("both-1 loader", "both-2 loader"):
            assert re.search(rf"{name} ● ready \d+ units \d+ of {UNITS} of log 1", words), words
        assert 'id="log-1"' in page.text
    # Whoever looks at the servers of logs has noted how they keep what they take.
    eventually(
        lambda: all(
            company.ask(member, "/v1/health")["logs"][0]["durability"] == "none"
            for member in company.consoles
        )
    )


def test_what_waits_is_counted_for_all_loaders_and_gates(company: Company, token: str) -> None:
    half = TABLES // 2
    for gate, tables in zip(company.cluster.gates, (range(half), range(half, TABLES)), strict=True):
        company.push(gate, token, tables)

    def count(member: MemberServer) -> tuple[int, int]:
        status = company.ask(member, "/v1/status")
        assert status["oldest_waiting_seconds"] is not None
        assert status["oldest_waiting_seconds"] < 3600
        return status["totals"]["waiting"], status["totals"]["accepted"]

    for member in company.consoles:
        eventually(lambda member=member: count(member) == (TABLES, TABLES))  # type: ignore[misc]
        expected = f"{TABLES} records in {TABLES} entries of {TABLES} tables"
        with sign_in(member) as browser:
            # What each log holds is kept for two seconds.
            eventually(
                lambda browser=browser, expected=expected: (  # type: ignore[misc]
                    expected in find_words(browser.get("/console/health").text)
                )
            )
        log = company.ask(member, "/v1/health")["logs"][0]
        assert (log["tables_waiting"], log["records_waiting"]) == (TABLES, TABLES)
    told = json.loads(company.cluster.treadle("status", "--json"))
    assert (told["totals"]["waiting"], told["totals"]["accepted"]) == (TABLES, TABLES)
    [listed] = json.loads(company.cluster.treadle("log", "list", "--json"))
    assert (listed["entries_waiting"], listed["records_waiting"]) == (TABLES, TABLES)


def test_a_refused_request_is_of_the_gate_that_refused_it(company: Company) -> None:
    gate, control = company.cluster.gates[0], company.cluster.control
    client = Client(gate, company.cluster.client.client_id, "")
    with client.http:
        assert client.push("at_" + "0" * 64, [{"id": 1}], table="t").status_code == 401
    told = json.loads(gate.treadle("requests", "--refused", "--json"))
    assert [(one["endpoint"], one["status"]) for one in told] == [("push", 401)]

    def read_words() -> str:
        return find_words(browser.get("/console/requests/refused").text)

    said = "these are of control-1 alone. gate-1 (1 refused), gate-2 (0 refused) have their own"
    with sign_in(control) as browser:
        eventually(lambda: said in read_words())  # with the gate's next beat
        words = read_words()
    assert "No refused request of this machine, control-1, is known." in words


class FollowedPage(threading.Thread):
    """Reads the stream of a page, as its tab does, until it ends or is left."""

    def __init__(self, browser: httpx.Client, topics: str) -> None:
        super().__init__(daemon=True)
        self._browser = browser
        self._topics = topics
        self._left = threading.Event()
        self.text = ""

    def run(self) -> None:
        with self._browser.stream("GET", f"/console/events?topics={self._topics}") as answer:
            for text in answer.iter_text():
                self.text += text
                if self._left.is_set():
                    return

    def leave(self) -> None:
        self._left.set()  # seen with the next piece, a second later or a heartbeat
        self.join(PATIENCE_SECONDS)


def test_a_page_follows_what_comes_through_every_gate_and_who_stops(
    company: Company, token: str
) -> None:
    first, second = company.cluster.gates
    before = company.ask(company.cluster.control, "/v1/status")["totals"]["accepted"]
    with sign_in(company.cluster.control) as browser:
        page = FollowedPage(browser, "overview,health")
        page.start()
        eventually(lambda: 'data-number=\\"accepted\\"' in page.text)
        for number, gate in enumerate((first, second), 1):
            company.push(gate, token, range(1))
            expected = f">{before + number}</a>"
            eventually(lambda expected=expected: expected in page.text)  # type: ignore[misc]

        def list_states(name: str) -> set[str]:
            members = company.ask(company.cluster.control, "/v1/health")["members"]
            return {one["state"] for one in members if one["member"] == name}

        first.process.terminate()
        eventually(lambda: list_states("gate-1") == {"draining"})
        assert "draining" in company.cluster.treadle("members")
        assert first.process.wait(PATIENCE_SECONDS) == 0
        eventually(lambda: list_states("gate-1") == set())
        second.kill()
        eventually(lambda: list_states("gate-2") == {"lost"})
        eventually(lambda: "lost</span>" in page.text)
        page.leave()
    for gate in (first, second):
        assert gate.process.stdout is not None
        gate.process.stdout.close()
        gate.start()
    eventually(lambda: list_states("gate-1") == list_states("gate-2") == {"ready"})
