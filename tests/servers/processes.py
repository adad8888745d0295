"""What Linux says of the processes of a server."""

import contextlib
from pathlib import Path


def children(pid: int) -> list[int]:
    """Process ids of a process's children; none where the system does not tell, or it ended.

    Linux leaves some out where another one ends while it lists them, so what counts is what it says
    twice.
    """
    before: str | None = None
    while True:
        try:
            found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except OSError:
            return []
        if found == before:
            return [int(child) for child in found.split()]
        before = found


def roles(supervisor: int) -> list[tuple[str, int]]:
    """Role ("worker", "loader", "courier") and process id of each running child of a server."""
    found = []
    for pid in children(supervisor):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue
        # python -m treadle.server ROLE NAME; not yet so between fork and exec
        if words[2:3] == [b"tests.servers.fork_server"]:
            with contextlib.suppress(OSError):
                found.append((Path(f"/proc/{pid}/comm").read_text().strip(), pid))
        elif words[1:2] == [b"-m"] and len(words) > 3:
            found.append((words[3].decode(), pid))
    return found


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
