"""What processes of a server are there: each writes a line about itself when it starts.

The files are read by whoever asks. What a process uses is asked of the system then.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from treadle.files import make_private_folder, write_private_file


class ProcessNote(msgspec.Struct, frozen=True):
    """What a process says of itself.

    Attributes:
        name: "worker 1".
        pid: its number.
        supervisor: number of the process that started it.
        since: when it started, microseconds since 1970.
        starts: how often it was started by that supervisor, this time included.
    """

    name: str
    pid: int
    supervisor: int
    since: int
    starts: int


@dataclass(frozen=True, slots=True)
class ProcessState:
    """A process as it is now.

    Attributes:
        is_running: it is there.
        memory_bytes: that it has in memory; None where it is not running, or nobody can say.
    """

    note: ProcessNote
    is_running: bool
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What a process uses of the machine.

    Attributes:
        name: "worker 1"; "supervisor" for the one that started the others.
        memory_bytes: in memory.
        cpu_seconds: of processor time since it started.
        open_files: descriptors; None where nobody may say.
        started: seconds since 1970; None where that is not known.
    """

    name: str
    memory_bytes: int
    cpu_seconds: float
    open_files: int | None
    started: float | None


def note_start(folder: Path, name: str, now: int) -> None:
    """Note that this process started.

    Args:
        folder: for the notes of all processes; made if it is missing.
        name: of the process, the same after a restart.
        now: microseconds since 1970.

    Raises:
        OSError: it cannot be written.
    """
    make_private_folder(folder)
    path = folder / name.replace(" ", "-")
    before = _read_note(path)
    again = before is not None and before.supervisor == os.getppid()
    starts = before.starts + 1 if before is not None and again else 1
    note = ProcessNote(name, os.getpid(), os.getppid(), now, starts)
    write_private_file(path, msgspec.json.encode(note).decode(), replace=True)


def list_processes(folder: Path) -> Iterator[ProcessState]:
    """Return the processes of the server that was started last, by name."""
    notes = [note for path in folder.glob("*") if (note := _read_note(path)) is not None]
    if not notes:
        return
    latest = max(notes, key=lambda note: note.since)
    for note in sorted(notes, key=lambda note: note.name):
        if note.supervisor == latest.supervisor:
            memory = _measure_memory(note)
            yield ProcessState(note, memory is not None, memory or None)


def list_process_uses(folder: Path) -> Iterator[ProcessUse]:
    """Return what the processes of the running server use, the supervisor first; Linux only."""
    states = [state for state in list_processes(folder) if state.is_running]
    if states:
        supervisor = _measure_use("supervisor", states[0].note.supervisor, None)
        if supervisor is not None:
            yield supervisor
    for state in states:
        found = _measure_use(state.note.name, state.note.pid, state.note.since / 1e6)
        if found is not None:
            yield found


def _measure_use(name: str, pid: int, started: float | None) -> ProcessUse | None:
    folder = Path("/proc") / str(pid)
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        memory = int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        ticks = int(fields[11]) + int(fields[12])
    except (OSError, IndexError, ValueError):
        return None
    try:
        files: int | None = sum(1 for _ in (folder / "fd").iterdir())
    except OSError:
        files = None
    return ProcessUse(name, memory, ticks / os.sysconf("SC_CLK_TCK"), files, started)


def _read_note(path: Path) -> ProcessNote | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=ProcessNote)
    except (OSError, msgspec.MsgspecError):
        return None


def _measure_memory(note: ProcessNote) -> int | None:
    """Return the bytes that a process has in memory, 0 where nobody says; None for no process."""
    folder = Path("/proc") / str(note.pid)
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        # State and parent: a process that ended, or another one with its number, does not count.
        if fields[0] in "ZX" or int(fields[1]) != note.supervisor:
            return None
        return int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(note.pid, 0)  # a system without /proc: only asks whether it is there
    except OSError:
        return None
    return 0
