"""Finds the server that a command talks to."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from treadle.config import Config, mask_password
from treadle.data_lock import find_server, is_lock_taken
from treadle.errors import OperatorError

PROBE_SECONDS: Final = 2.0

ADDRESS_HELPS: Final = {
    "host": "address of the server, where it is not the one of the data folder",
    "port": "port of the server, where it is not the one of the data folder",
}
"""Help of the flags by which a command finds the server; `treadle serve` listens at them."""


@dataclass(frozen=True, slots=True)
class FoundServer:
    """The server of a data folder.

    Attributes:
        url: at which a client on this machine reaches it; the one inside of a UNIX socket.
        socket: the path of the UNIX socket; None for none.
        process: its PID; None if none runs, or none that says where.
    """

    url: str
    socket: Path | None = None
    process: int | None = None

    @property
    def shown(self) -> str:
        """Where it listens, as a person reads it."""
        return mask_password(self.url) if self.socket is None else f"unix:{self.socket}"


def find_folder_server(config: Config) -> FoundServer:
    """Return the server of the data folder.

    One that runs has noted its address. Flags come before that, and without a server the settings
    say where one would listen.
    """
    named = {config.origins.get(setting) for setting in ("host", "port")}
    if "flag" not in named:
        try:
            running = find_server(config.lock_path)
        except OSError:  # of another user
            running = None
        if running is not None:
            path = None if running.socket is None else Path(running.socket)
            return FoundServer(running.url, path, running.process)
    return FoundServer(config.url, config.socket_path)


def require_server(config: Config, server: FoundServer) -> None:
    """Check that somebody listens where the server of the data folder should be.

    A server that has the folder and does not listen is starting or stopping, and is waited for.

    Raises:
        OperatorError: nobody listens, and no server runs on the folder.
    """
    if not _is_refused(server):
        return
    try:
        if is_lock_taken(config.lock_path):
            return
    except OSError:
        return
    raise OperatorError(
        f"No server runs on {config.data}, and nothing listens at {server.shown}; start one with "
        "`treadle serve`, name its data folder with --data, or name its address with --url."
    )


def _is_refused(server: FoundServer) -> bool:
    try:
        if server.socket is not None:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(PROBE_SECONDS)
                probe.connect(bytes(server.socket))
            return False
        parts = urlsplit(server.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), PROBE_SECONDS).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except OSError:
        return False
    return False
