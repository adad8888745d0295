"""The address of the server that runs on a data folder, noted beside its lock.

Commands find the server by it, whatever port it was started with. The note counts only while the
process that wrote it has the lock: a server that was killed leaves one behind.
"""

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from treadle.files import write_private_file

NOTE_NAME: Final = "server.json"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a server listens.

    Attributes:
        process: its PID.
        url: at which a client on this machine reaches it; the one inside of a UNIX socket.
        socket: the path of the UNIX socket; None for none.
    """

    process: int
    url: str
    socket: str | None = None

    @property
    def shown(self) -> str:
        """Where it listens, as a person reads it."""
        return self.url if self.socket is None else f"unix:{self.socket}"


def write_address(lock_path: Path, address: ServerAddress) -> None:
    """Note the address of the server that has the lock.

    Raises:
        OSError: it cannot be written.
    """
    write_private_file(
        lock_path.with_name(NOTE_NAME), json.dumps(asdict(address)) + "\n", replace=True
    )


def remove_address(lock_path: Path) -> None:
    """Remove the note: from now on the server takes no more requests."""
    with contextlib.suppress(OSError):
        lock_path.with_name(NOTE_NAME).unlink(missing_ok=True)


def read_address(lock_path: Path, process: int | None) -> ServerAddress | None:
    """Return the address that a process noted; None if it noted none.

    Args:
        lock_path: of the data folder.
        process: the PID of who has the lock.
    """
    try:
        address = ServerAddress(**json.loads(lock_path.with_name(NOTE_NAME).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return address if address.process == process else None
