"""The supervisor over real child processes: small scripts that say what they see."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from treadle.server.supervisor import ProcessSupervisor

CHILD = """
import os, pathlib, signal, sys
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
def note(what):
    with (folder / "events").open("a") as file:
        file.write(f"{name} {what} {os.getpid()}\\n")
def end(*_):
    note("asked-to-stop")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
note("got " + sys.stdin.readline().strip())
os.write(1, b"ready\\n")  # in one piece: the supervisor may be killed once it has read "ready"
sys.stdin.read()
note("lost-supervisor")
"""

WAKING_CHILD = CHILD.replace(
    "sys.stdin.read()",
    """if name == "worker":
    os.write(1, b"wake nobody\\nwake loader\\n")
else:
    note("woken" + sys.stdin.readline().strip())
sys.stdin.read()""",
)

RESTING_CHILD = CHILD.replace(
    "sys.stdin.read()",
    """if name == "worker":
    os.write(1, b"wake desk\\n")
    while sys.stdin.readline():
        os.write(1, b"wake desk\\n")
if name == "desk":
    if (folder / "dies").exists():
        (folder / "dies").unlink()
        sys.exit(7)
    if (folder / "rests").exists():
        (folder / "rests").unlink()
        sys.exit(0)
sys.stdin.read()""",
    1,
)

DRAINING_CHILD = CHILD.replace(
    "sys.stdin.read()",
    """while line := sys.stdin.readline():
    note("read-" + line.strip())
    if line == "drain\\n" and (folder / "dies").exists():
        (folder / "dies").unlink()
        sys.exit(7)""",
    1,
)

ENDING_CHILD = CHILD.replace(
    'note("got',
    """signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"end\\n"))
note("got""",
    1,
)

LOCKING_CHILD = CHILD.replace(
    "sys.stdin.read()",
    """if name == "loader" and not (folder / "stopped").exists():
    import sqlite3
    database = sqlite3.connect(folder / "store.sqlite", isolation_level=None)
    if (folder / "writes").exists():
        database.execute("BEGIN IMMEDIATE")
    (folder / "stopped").touch()
    os.kill(os.getpid(), signal.SIGSTOP)
    note("goes-on")
sys.stdin.read()""",
    1,
)

PARENT = """
import functools, logging, pathlib, sys
import treadle.server.supervisor
from treadle.server.held_locks import list_stopped_holders
from treadle.server.supervisor import ChildSpec, ProcessSupervisor
folder = sys.argv[1]
STOP = float(sys.argv[2])
logging.basicConfig(level=logging.INFO)
def job(name, stops, **more):
    script = folder + "/child.py", name, folder
    return ChildSpec(name, script, b"orders", (), stops, "its work", STOP, **more)
jobs = [
    job("worker", 0, drains=True),
    job("loader", 1),
    job("desk", 0, rests=True),
]
DRAIN = 0.0
DATABASES = pathlib.Path(folder, "log.sqlite"), pathlib.Path(folder, "store.sqlite")
code = ProcessSupervisor(
    jobs,
    lambda: print("all ready", flush=True),
    drain_seconds=DRAIN,
    list_holders=functools.partial(
        list_stopped_holders, DATABASES, pathlib.Path(folder, "turns")
    ),
).run()
sys.exit(code)
"""


def events(folder: Path) -> list[list[str]]:
    file = folder / "events"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def wait(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def start_parent(folder: Path, stop_seconds: float, child: str = CHILD) -> subprocess.Popen[str]:
    (folder / "child.py").write_text(child)
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder), str(stop_seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "all ready\n"
    return process


@pytest.fixture
def parent(tmp_path: Path) -> subprocess.Popen[str]:
    return start_parent(tmp_path, 120)


def test_children_get_their_orders_and_stop_in_order(
    parent: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert {tuple(event[:3]) for event in events(tmp_path)} == {
        ("worker", "got", "orders"),
        ("loader", "got", "orders"),
    }
    parent.send_signal(signal.SIGTERM)
    _, said = parent.communicate(timeout=120)
    assert parent.returncode == 0
    assert [event[:2] for event in events(tmp_path)[2:]] == [
        ["worker", "asked-to-stop"],
        ["loader", "asked-to-stop"],
    ]
    lines = [line.rpartition(":treadle.server.supervisor:")[2] for line in said.splitlines()]
    assert lines[-4:] == [
        "stopping",
        "waiting for worker: its work",
        "waiting for loader: its work",
        "stopped",
    ]


def test_a_child_that_dies_is_started_again(parent: subprocess.Popen[str], tmp_path: Path) -> None:
    victim = next(int(event[3]) for event in events(tmp_path) if event[0] == "worker")
    os.kill(victim, signal.SIGKILL)
    wait(lambda: len(events(tmp_path)) == 3)
    assert events(tmp_path)[2][:2] == ["worker", "got"]
    parent.send_signal(signal.SIGTERM)
    _, said = parent.communicate(timeout=120)
    assert f"worker (process {victim}) died" in said
    assert "killed by SIGKILL" in said


FULL_SYSTEM = """
real, asked = subprocess.Popen, []
def start(arguments, **more):
    asked.append(arguments[2])
    if (arguments[2], asked.count(arguments[2])) in (("loader", 1), ("worker", 2), ("desk", 1)):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return real(arguments, **more)
subprocess.Popen = start
folder = """


def test_a_child_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = PARENT.replace("import functools", "import subprocess, functools", 1)
    full = full.replace("folder = ", FULL_SYSTEM, 1)
    monkeypatch.setattr(sys.modules[__name__], "PARENT", full)
    parent = start_parent(tmp_path, 120, RESTING_CHILD)  # ready only when the loader is there
    assert {event[0] for event in events(tmp_path)} >= {"worker", "loader"}
    wait(lambda: "desk" in {event[0] for event in events(tmp_path)})
    victim = next(int(event[-1]) for event in events(tmp_path) if event[0] == "worker")
    os.kill(victim, signal.SIGKILL)
    wait(lambda: [event[:2] for event in events(tmp_path)].count(["worker", "got"]) == 2)
    parent.send_signal(signal.SIGTERM)
    _, said = parent.communicate(timeout=120)
    assert parent.returncode == 0
    refused = "cannot be started: Resource temporarily unavailable; tried again in"
    assert said.count(refused) == 3


def test_the_pause_before_a_start_grows_up_to_a_bound() -> None:
    supervisor = ProcessSupervisor([], on_ready=lambda: None)
    pauses = [supervisor._put_off_start("loader") for _ in range(2000)]
    assert pauses[:3] == [0.2, 0.4, 0.8]
    assert set(pauses[6:]) == {10.0}


def test_signals_and_deaths_are_noticed_at_once_and_not_at_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sys.modules[__name__],
        "PARENT",
        PARENT.replace("folder = ", "treadle.server.supervisor.POLL_SECONDS = 3600\nfolder = ", 1),
    )
    parent = start_parent(tmp_path, 120)
    victim = next(int(event[3]) for event in events(tmp_path) if event[0] == "worker")
    os.kill(victim, signal.SIGKILL)
    wait(lambda: len(events(tmp_path)) == 3)
    parent.send_signal(signal.SIGHUP)
    parent.send_signal(signal.SIGTERM)
    _, said = parent.communicate(timeout=120)
    assert "SIGHUP" in said
    assert "stopped" in said


def test_children_stop_when_the_supervisor_is_killed(
    parent: subprocess.Popen[str], tmp_path: Path
) -> None:
    parent.kill()
    parent.wait()
    wait(lambda: len(events(tmp_path)) == 4)
    assert {event[1] for event in events(tmp_path)[2:]} == {"lost-supervisor"}


def test_a_child_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    parent = start_parent(tmp_path, 1)
    deaf = next(int(event[3]) for event in events(tmp_path) if event[0] == "worker")
    os.kill(deaf, signal.SIGSTOP)  # what it does holds the whole process
    began = time.monotonic()
    parent.send_signal(signal.SIGTERM)
    _, said = parent.communicate(timeout=120)
    assert time.monotonic() - began >= 1
    assert parent.returncode == 1
    assert "worker did not end within 1 s and is killed; nothing accepted is lost" in said
    assert [event[:2] for event in events(tmp_path)[2:]] == [["loader", "asked-to-stop"]]


def test_a_child_can_have_another_one_woken(tmp_path: Path) -> None:
    parent = start_parent(tmp_path, 120, WAKING_CHILD)
    wait(lambda: ["loader", "woken"] in [event[:2] for event in events(tmp_path)])
    parent.send_signal(signal.SIGTERM)
    parent.communicate(timeout=120)
    assert parent.returncode == 0


def test_a_child_that_rests_is_started_when_it_is_woken(tmp_path: Path) -> None:
    (tmp_path / "rests").touch()
    (tmp_path / "dies").touch()
    parent = start_parent(tmp_path, 120, RESTING_CHILD)

    def starts() -> int:
        return [event[:2] for event in events(tmp_path)].count(["desk", "got"])

    # It dies and is started again as any other; then it ends by itself, and is not.
    wait(lambda: starts() == 2)
    wait(lambda: not (tmp_path / "rests").exists())
    time.sleep(1)  # longer than the pause before a restart
    assert starts() == 2
    worker = next(int(event[-1]) for event in events(tmp_path) if event[0] == "worker")
    os.kill(worker, signal.SIGKILL)  # the next one wakes the desk again
    wait(lambda: starts() == 3)
    parent.send_signal(signal.SIGTERM)
    _, log = parent.communicate(timeout=120)
    assert parent.returncode == 0
    assert "desk rests until there is something to do" in log
    asked = [event[0] for event in events(tmp_path) if event[1] == "asked-to-stop"]
    assert sorted(asked) == ["desk", "loader", "worker"]
    assert asked[-1] == "loader"


def start_draining(
    folder: Path, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> subprocess.Popen[str]:
    parent = PARENT.replace("DRAIN = 0.0", f"DRAIN = {seconds}")
    monkeypatch.setattr(sys.modules[__name__], "PARENT", parent)
    return start_parent(folder, 120, DRAINING_CHILD)


def test_children_are_told_before_they_are_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dies").touch()  # the next one is told when it is ready
    parent = start_draining(tmp_path, 2.0, monkeypatch)
    began = time.monotonic()
    parent.send_signal(signal.SIGTERM)
    _, said = parent.communicate(timeout=120)
    assert parent.returncode == 0
    assert time.monotonic() - began >= 2
    assert [event[:2] for event in events(tmp_path)[2:]] == [
        ["worker", "read-drain"],
        ["worker", "got"],
        ["worker", "read-drain"],
        ["worker", "asked-to-stop"],
        ["loader", "asked-to-stop"],
    ]
    assert "stopping in 2.0 s; load balancers are told by /v1/ready" in said


def test_a_second_signal_stops_children_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = start_draining(tmp_path, 3600.0, monkeypatch)
    parent.send_signal(signal.SIGTERM)
    wait(lambda: ["worker", "read-drain"] in [event[:2] for event in events(tmp_path)])
    parent.send_signal(signal.SIGTERM)
    parent.communicate(timeout=120)
    assert parent.returncode == 0


def test_a_child_can_end_the_server(tmp_path: Path) -> None:
    parent = start_parent(tmp_path, 120, ENDING_CHILD)
    worker = next(int(event[3]) for event in events(tmp_path) if event[0] == "worker")
    os.kill(worker, signal.SIGUSR1)
    _, said = parent.communicate(timeout=120)
    assert parent.returncode == 2
    assert [event[:2] for event in events(tmp_path)[2:]] == [
        ["worker", "asked-to-stop"],
        ["loader", "asked-to-stop"],
    ]
    assert "stopped" in said


def make_database(folder: Path) -> sqlite3.Connection:
    database = sqlite3.connect(folder / "store.sqlite", isolation_level=None, timeout=0)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE facts (number INTEGER)")
    return database


@pytest.mark.skipif(sys.platform != "linux", reason="another system does not tell who holds a lock")
def test_a_stopped_child_that_keeps_a_database_is_killed(tmp_path: Path) -> None:
    (tmp_path / "writes").touch()
    with contextlib.closing(make_database(tmp_path)) as database:
        parent = start_parent(tmp_path, 120, LOCKING_CHILD)
        wait((tmp_path / "stopped").exists)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            database.execute("INSERT INTO facts VALUES (1)")
        wait(lambda: [event[:2] for event in events(tmp_path)].count(["loader", "got"]) == 2)
        database.execute("INSERT INTO facts VALUES (2)")
    parent.send_signal(signal.SIGTERM)
    _, said = parent.communicate(timeout=120)
    assert parent.returncode == 0
    assert "was stopped by a signal while it wrote into a database" in said
    assert ["loader", "goes-on"] not in [event[:2] for event in events(tmp_path)]


def test_a_stopped_child_that_keeps_nothing_may_go_on(tmp_path: Path) -> None:
    with contextlib.closing(make_database(tmp_path)):
        parent = start_parent(tmp_path, 120, LOCKING_CHILD)
        wait((tmp_path / "stopped").exists)
        loader = next(int(event[3]) for event in events(tmp_path) if event[0] == "loader")
        time.sleep(3.0)  # longer than a lock may be held
        os.kill(loader, signal.SIGCONT)
        wait(lambda: ["loader", "goes-on"] in [event[:2] for event in events(tmp_path)])
    parent.send_signal(signal.SIGTERM)
    _, said = parent.communicate(timeout=120)
    assert parent.returncode == 0
    assert "was stopped by a signal" not in said
