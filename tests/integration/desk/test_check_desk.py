"""The desk over a real store, with task processes that it ends."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.checks import add_destination, change_destination, is_usable
from tests.servers.processes import runs
from tests.servers.treadle import eventually

from treadle.clock import read_clock
from treadle.desk import check_desk
from treadle.desk.check_desk import CLAIMS_MAX, PROCESSES_MAX, CheckDesk
from treadle.destinations.priority import LoaderPriority
from treadle.destinations.registry import make_destination
from treadle.store.model import DestinationCheck
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

SLEEP = "tests.integration.desk.slow_task:sleep"
DIE = "tests.integration.desk.slow_task:die"
FILL = "tests.integration.desk.slow_task:fill"


@dataclass
class Place:
    """A data folder with a store that has one account."""

    folder: Path
    store: Store
    account_id: int

    def desk(self, function: str = check_desk.CHECK_FUNCTION, seconds: int = 60) -> CheckDesk:
        return CheckDesk(
            self.store,
            self.folder,
            self.folder / "turns",
            f"sqlite:///{self.folder}/store.db",
            "here",
            read_clock,
            function=function,
            seconds=seconds,
        )

    def duckdb(self, name: str) -> str:
        return f"duckdb://{self.folder / name}"

    def end(self, check: DestinationCheck) -> DestinationCheck:
        """The check as it ended."""
        found = self.store.checks.find_check(check.id)
        assert found is not None
        assert found.finished_at is not None
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    store = Store.open(f"sqlite:///{tmp_path / 'store.sqlite'}", SecretCipher(bytes(32)))
    account, _ = store.accounts.create_account("a")
    yield Place(tmp_path, store, account.id)
    store.close()


@contextmanager
def running(desk: CheckDesk) -> Iterator[None]:
    thread = threading.Thread(target=desk.run, args=(lambda: None,))
    thread.start()
    try:
        yield
    finally:
        desk.stop()
        thread.join(60)
        assert not thread.is_alive()


def test_a_file_that_is_no_database_fails_and_another_one_succeeds(place: Place) -> None:
    (place.folder / "wrong.duckdb").write_bytes(b"no database" * 1000)
    check = add_destination(place.store, place.account_id, place.duckdb("wrong.duckdb"))
    place.desk().run_once()
    found = place.end(check)
    assert found.status == "failed"
    assert found.error is not None
    assert "is not a DuckDB database" in found.error
    assert [each["phase"] for each in found.phases] == ["connect"]
    assert not is_usable(place.store, check.destination_id)

    with make_destination(place.duckdb("right.duckdb")).open() as session:
        session.query("create table t (n int)")
    check = change_destination(place.store, check.destination_id, place.duckdb("right.duckdb"))
    place.desk().run_once()
    found = place.end(check)
    assert (found.status, found.error) == ("succeeded", None)
    assert [each["phase"] for each in found.phases] == ["connect", "rights", "load"]
    assert is_usable(place.store, check.destination_id)
    with make_destination(place.duckdb("right.duckdb")).open(read_only=True) as session:
        assert session.relations("treadle_doctor") == []


def test_a_file_that_the_first_load_makes_needs_a_folder_only(place: Place) -> None:
    missing = place.duckdb("nowhere/new.duckdb")
    check = add_destination(place.store, place.account_id, missing)
    place.desk().run_once()
    assert "there is no folder" in (place.end(check).error or "")
    check = change_destination(place.store, check.destination_id, place.duckdb("new.duckdb"))
    place.desk().run_once()
    assert place.end(check).status == "succeeded"
    assert not (place.folder / "new.duckdb").exists()


def test_the_loader_goes_first_and_the_check_ends_all_the_same(place: Place) -> None:
    url = place.duckdb("busy.duckdb")
    with make_destination(url).open() as session:
        session.query("create table t (n int)")
    check = add_destination(place.store, place.account_id, url)
    priority = LoaderPriority(place.folder / "turns")
    began = time.monotonic()
    with priority.claim(make_destination(url).identity):
        place.desk().run_once()
    found = place.end(check)
    assert found.status == "failed"
    assert found.error is not None
    assert "is used by the loader" in found.error
    assert time.monotonic() - began < 50


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (SLEEP, "did not end a rehearsed load within 1 seconds"),
        (DIE, "ended from outside, by signal 9"),
        (FILL, "bytes of memory"),
    ],
)
def test_a_check_that_takes_too_much_is_ended(
    place: Place, monkeypatch: pytest.MonkeyPatch, function: str, expected: str
) -> None:
    monkeypatch.setattr(check_desk, "CHECK_BYTES_MAX", 256 * 1024 * 1024)
    check = add_destination(place.store, place.account_id, place.duckdb("x.duckdb"))
    place.desk(function, 1 if function == SLEEP else 60).run_once()
    assert expected in (place.end(check).error or "")
    assert not is_usable(place.store, check.destination_id)


def test_one_account_leaves_a_process_for_others_and_a_stop_ends_all(place: Place) -> None:
    other, _ = place.store.accounts.create_account("b")
    for number in range(PROCESSES_MAX + 1):
        add_destination(place.store, place.account_id, place.duckdb(f"{number}.duckdb"))
    theirs = add_destination(place.store, other.id, place.duckdb("theirs.duckdb"))

    def begun() -> list[int]:
        rows = [
            place.store.checks.find_last_check(row.id)
            for row in place.store.destinations.list_destinations()
        ]
        return [check.id for check in rows if check is not None and check.claims]

    desk = place.desk(SLEEP)

    def processes() -> list[int]:
        with desk._lock:
            found = [process.process_id for process in desk._running.values()]
        return [number for number in found if number is not None]

    with running(desk):
        eventually(lambda: len(begun()) == PROCESSES_MAX)
        assert theirs.id in begun()
        eventually(lambda: len(processes()) == PROCESSES_MAX)
        under_way = processes()
    assert not any(runs(number) for number in under_way)
    # They are begun anew by the next desk of the place, at once.
    again = place.desk()
    with running(again):
        eventually(lambda: place.end(theirs).status == "succeeded")


def test_a_check_with_which_desks_end_again_and_again_is_given_up(place: Place) -> None:
    check = add_destination(place.store, place.account_id, place.duckdb("x.duckdb"))
    for number in range(CLAIMS_MAX):
        assert place.store.checks.claim_check("here", f"desk {number}", 10**9)
    place.desk(SLEEP).run_once()
    assert f"was begun {CLAIMS_MAX} times" in (place.end(check).error or "")


def test_a_desk_that_is_woken_looks_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_desk, "POLL_SECONDS", 600.0)
    desk = place.desk()
    looked = threading.Event()
    claim: Callable[..., DestinationCheck | None] = place.store.checks.claim_check

    def watched(*args: object) -> DestinationCheck | None:
        found = claim(*args)
        looked.set()
        return found

    monkeypatch.setattr(place.store.checks, "claim_check", watched)
    with running(desk):
        assert looked.wait(60)
        check = add_destination(place.store, place.account_id, place.duckdb("x.duckdb"))
        desk.wake()
        eventually(lambda: place.end(check).status == "succeeded", 60)
