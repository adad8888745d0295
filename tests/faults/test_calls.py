"""The short form of `python -m tests.faults.calls`: calls that once did harm, and some others."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.calls import DISK, Fault, Scene, made, never

from treadle.destinations.protocol import (
    CommitUnknownError,
    DestinationUnavailableError,
    PlanOutdatedError,
)
from treadle.errors import InternalError, OperatorError, RetriableError


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("store") / "store.sqlite")


@pytest.fixture(params=["duckdb", pytest.param("postgres", marks=pytest.mark.release)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "duckdb":
        return f"duckdb://{tmp_path / 'warehouse.duckdb'}"
    found: str = request.getfixturevalue("postgres_database")
    return found


@pytest.mark.parametrize(
    ("make", "name", "at"),
    [
        # The loader took the store's revision for known though it had not read what changed.
        (lambda: RetriableError("locked (injected)"), "list_destinations", 1),
        (lambda: RetriableError("locked (injected)"), "record_loads", 2),
        # The load was committed; the loader planned the next one from the old position for ever.
        (lambda: OperatorError("read-only (injected)"), "record_loads", 2),
        (lambda: InternalError("injected"), "record_loads", 1),
    ],
)
@pytest.mark.parametrize("after", [False, True])
def test_a_call_of_the_store_fails_once(
    tmp_path: Path,
    url: str,
    store: Path,
    make: Callable[[], BaseException],
    name: str,
    at: int,
    after: bool,
) -> None:
    fault = Fault(at, make, after, (name,))
    assert Scene(tmp_path, url, store, never(), never(), fault).run() == []
    assert fault.called == name


@pytest.mark.parametrize(
    ("make", "name", "after"),
    [
        (lambda: CommitUnknownError("cut (injected)"), "load", True),
        (lambda: CommitUnknownError("cut (injected)"), "load", False),
        (lambda: PlanOutdatedError("changed (injected)"), "load", False),
        (lambda: DestinationUnavailableError("gone (injected)"), "committed", False),
        (lambda: DestinationUnavailableError("gone (injected)"), "open", False),
    ],
)
def test_a_call_of_the_destination_fails_once(
    tmp_path: Path,
    url: str,
    store: Path,
    make: Callable[[], BaseException],
    name: str,
    after: bool,
) -> None:
    fault = Fault(1 if name == "committed" else 2, make, after, (name,))
    assert Scene(tmp_path, url, store, never(), fault, never()).run() == []
    assert fault.called == name


@pytest.mark.parametrize("kind", list(DISK))
@pytest.mark.parametrize("name", ["COMMIT", "INSERT", "BEGIN", "SELECT"])
def test_a_call_of_the_disk_fails_once(tmp_path: Path, store: Path, kind: str, name: str) -> None:
    fault = Fault(5, DISK[kind], only=(name,))
    url = f"duckdb://{tmp_path / 'warehouse.duckdb'}"
    assert Scene(tmp_path, url, store, fault, never(), never()).run() == []
    assert fault.called == name


def test_a_store_that_cannot_note_the_trouble_of_a_destination_ends_no_thread(
    tmp_path: Path, url: str, store: Path
) -> None:
    call = Fault(1, lambda: DestinationUnavailableError("gone (injected)"), only=("open",))
    note = Fault(1, lambda: RetriableError("disk full (injected)"), only=("set_trouble",))
    scene = Scene(tmp_path, url, store, never(), call, note)
    assert scene.run() == []
    assert (call.called, note.called) == ("open", "set_trouble")
    assert not any("disk full" in said for said in scene.said)
