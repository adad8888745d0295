"""Who gets a place, and who has to go for whom."""

import logging
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.http.refusal_log import RefusalLog
from treadle.ingest.fastpath.connection_table import (
    ConnectionLimits,
    ConnectionTable,
    get_address_key,
    is_local_address,
)

LIMITS = ConnectionLimits(connections=8, local=2, strangers=6, strangers_of_address=3)
REMOTE = "192.0.2.1"


@dataclass(eq=False)
class Connection:
    """One that notes whether it had to go."""

    name: str = ""
    aborted: bool = False

    def abort(self) -> None:
        self.aborted = True


@dataclass
class Worker:
    """A table, and what became of each connection."""

    limits: ConnectionLimits = LIMITS
    statuses: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        log = RefusalLog(logging.getLogger("test"), lambda: 0.0)
        self.table = ConnectionTable(
            self.limits, log, lambda status, *_: self.statuses.append(status)
        )

    def connect(self, address: str = REMOTE, *, account: int | None = None) -> Connection | None:
        connection = Connection(address)
        if not self.table.add(connection, address):
            return None
        if account is not None:
            self.table.mark_known(connection, account)
        return connection


def open_ones(connections: list[Connection | None]) -> list[int]:
    return [at for at, one in enumerate(connections) if one is not None and not one.aborted]


def test_the_oldest_stranger_of_an_address_goes_for_its_newest() -> None:
    worker = Worker()
    first = worker.connect("192.0.2.9")
    same = [worker.connect() for _ in range(5)]
    assert open_ones(same) == [2, 3, 4]
    assert first is not None
    assert not first.aborted


def test_the_oldest_of_all_strangers_goes_where_all_have_too_many() -> None:
    worker = Worker()
    many = [worker.connect(f"192.0.2.{number}") for number in range(9)]
    assert open_ones(many) == [3, 4, 5, 6, 7, 8]
    assert len(worker.table) == LIMITS.strangers


def test_connections_with_a_known_token_never_go_for_strangers() -> None:
    worker = Worker()
    known = [worker.connect(account=number) for number in range(5)]
    strangers = [worker.connect(f"192.0.2.{number}") for number in range(100)]
    assert open_ones(known) == [0, 1, 2, 3, 4]
    assert open_ones(strangers) == [97, 98, 99]


def test_one_address_may_have_many_connections_with_a_known_token() -> None:
    worker = Worker()
    assert open_ones([worker.connect(account=number) for number in range(8)]) == list(range(8))


@pytest.mark.parametrize(("greedy", "places"), [(1, 2), (2, 1), (3, 1), (4, 1)])
def test_accounts_that_open_connections_without_end_leave_places_for_another(
    greedy: int, places: int
) -> None:
    worker = Worker()
    for _ in range(20):
        for account in range(greedy):
            worker.connect(f"192.0.2.{account}", account=account)
    modest = [worker.connect(f"198.51.100.{number}", account=99) for number in range(places)]
    for _ in range(20):
        for account in range(greedy):
            worker.connect(f"192.0.2.{account}", account=account)
    assert open_ones(modest) == list(range(places))


def test_places_of_an_account_are_free_again_when_its_connections_end() -> None:
    worker = Worker()
    first = [worker.connect(account=1) for _ in range(4)]
    for connection in first:
        assert connection is not None
        worker.table.remove(connection)
    again = [worker.connect(account=1) for _ in range(4)]
    for number in range(20):
        worker.connect(f"192.0.2.{number}")
    assert open_ones(again) == [0, 1, 2, 3]


def test_where_all_are_known_only_this_machine_gets_a_place() -> None:
    worker = Worker()
    for number in range(8):
        worker.connect(account=number)
    assert worker.connect() is None
    local = [
        worker.connect("127.0.0.1", account=8),
        worker.connect("::1", account=9),
    ]
    assert open_ones(local) == [0, 1]
    assert worker.connect("") is None


def test_a_connection_that_ends_leaves_its_place() -> None:
    worker = Worker()
    for known in (False, True) * 50:
        connection = worker.connect(account=1 if known else None)
        assert connection is not None
        worker.table.remove(connection)
        worker.table.remove(connection)  # twice does no harm
        worker.table.mark_known(connection, 1)  # nor a token that is found known too late
    assert len(worker.table) == 0


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["connect", "know", "close"]), st.integers(0, 9)), max_size=200
)


@given(ACTIONS)
def test_the_limits_hold_whatever_comes(actions: list[tuple[str, int]]) -> None:
    worker = Worker()
    there: list[Connection] = []
    known: set[Connection] = set()
    for action, number in actions:
        if action == "connect":
            address = f"192.0.2.{number // 3}" if number else "127.0.0.1"
            connection = worker.connect(address)
            there += [] if connection is None else [connection]
        elif there and action == "know":
            connection = there[number % len(there)]
            if worker.table.mark_known(connection, number % 3):
                known.add(connection)
        elif there:
            worker.table.remove(there.pop(number % len(there)))
        there = [one for one in there if not one.aborted]
        strangers = [one for one in there if one not in known]
        assert len(worker.table) == len(there) <= LIMITS.connections + LIMITS.local
        assert len(strangers) <= LIMITS.strangers
        for address in {one.name for one in strangers}:
            same = sum(one.name == address for one in strangers)
            assert same <= LIMITS.strangers_of_address
    assert not any(one.aborted for one in known)


def test_lines_are_logged_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    log = RefusalLog(logging.getLogger("test"), lambda: now)
    for _ in range(1000):
        log.record("it was refused", REMOTE, "too large")
    log.record("another kind", "")
    now += 1.0
    log.record("it was refused", "192.0.2.2")
    assert [record.getMessage() for record in caplog.records] == [
        f"it was refused (1 since the last such line, the latest from {REMOTE}): too large",
        "another kind (1 since the last such line, the latest from an unknown address)",
        "it was refused (1000 since the last such line, the latest from 192.0.2.2)",
    ]


def test_a_refused_request_is_counted() -> None:
    worker = Worker()
    worker.table.record_refusal(431, REMOTE, "too large")
    assert worker.statuses == [431]


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::9", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("no:address", "no:address"),
    ],
)
def test_what_counts_as_one_address(address: str, key: str) -> None:
    assert get_address_key(address) == key


@pytest.mark.parametrize(
    ("address", "local"),
    [("127.0.0.1", True), ("127.9.9.9", True),
     ("::1", True), ("::ffff:127.0.0.1", True), ("", True),
     ("192.0.2.1", False), ("::ffff:192.0.2.1", False), ("2001:db8::1", False), ("a", False)],
)  # fmt: skip
def test_addresses_of_this_machine(address: str, *, local: bool) -> None:
    assert is_local_address(address) == local


@pytest.mark.parametrize("files", [256, 1_024, 4_096, 65_536])
def test_connections_end_below_the_open_files(files: int) -> None:
    backlog = files // 4
    limits = ConnectionLimits.from_open_files(files, backlog)
    most = limits.connections + limits.local + limits.strangers + backlog
    assert most < files
    assert 0 < limits.strangers_of_address < limits.strangers < limits.connections
    assert limits.strangers <= 1_024
    assert limits.connections <= 8_192


def test_a_system_with_hardly_any_files_has_a_few_connections() -> None:
    assert ConnectionLimits.from_open_files(10, 8) == ConnectionLimits(8, 16, 4, 2)
