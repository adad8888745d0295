"""What is wrong with the servers of logs on PostgreSQL: a small file that whoever looks writes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from treadle.files import write_private_file

FILE_NAME: Final = "log-servers.json"

NOTE_US_MAX: Final = 600_000_000
"""How long a note counts; nobody looks any more when it is older."""


class LogServerTrouble(msgspec.Struct, frozen=True):
    """What is wrong with one server.

    Attributes:
        place: the servers and the database, without secrets.
        said: what is wrong.
        since: when it was seen first, microseconds since 1970.
    """

    place: str
    said: str
    since: int


class LogServerSight(msgspec.Struct, frozen=True):
    """How one server keeps what it takes.

    Attributes:
        place: as above.
        durability: the setting `log_durability` that it was compared with.
        waits_for: its setting `synchronous_standby_names`: the standbys for which commits wait;
            empty where they wait for none.
        standbys: how many of those are connected; None where that is not shown.
    """

    place: str
    durability: str
    waits_for: str = ""
    standbys: int | None = None


class LogServerNote(msgspec.Struct, frozen=True):
    """What a look at all servers found.

    Attributes:
        at: when it was, microseconds since 1970.
        troubles: that last for a while already.
        servers: those that answered.
    """

    at: int
    troubles: tuple[LogServerTrouble, ...] = ()
    servers: tuple[LogServerSight, ...] = ()


def write_log_servers(folder: Path, note: LogServerNote) -> None:
    """Write the note into the folder of the counters.

    Raises:
        OSError: it cannot be written.
    """
    write_private_file(folder / FILE_NAME, msgspec.json.encode(note).decode(), replace=True)


def read_server_note(folder: Path, now: int) -> LogServerNote | None:
    """Return the note in the folder of the counters; None where nobody has looked lately."""
    try:
        note = msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=LogServerNote)
    except (OSError, msgspec.MsgspecError):
        return None
    return note if 0 <= now - note.at < NOTE_US_MAX else None


def read_log_servers(folder: Path, now: int) -> Sequence[LogServerTrouble]:
    """Return what is wrong with servers of logs, by the note in the folder of the counters."""
    note = read_server_note(folder, now)
    return () if note is None else note.troubles
