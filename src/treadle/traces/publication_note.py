"""What became of the last copy for readers: a small file that the loader writes."""

from pathlib import Path

import msgspec

from treadle.files import write_private_file


class PublicationNote(msgspec.Struct, frozen=True):
    """The last copy for readers, and why there is no newer one.

    Attributes:
        target: where it is.
        at: when its copying began, which is how old its rows are, microseconds since 1970; None
            before the first copy.
        bytes: of it.
        seconds: that copying took.
        held_seconds: the longest time in which loading had to wait for that.
        error: why the last try failed; None when it did not.
        failing_since: since when tries fail, microseconds since 1970; None when they do not.
    """

    target: str
    at: int | None = None
    bytes: int = 0
    seconds: float = 0.0
    held_seconds: float = 0.0
    error: str | None = None
    failing_since: int | None = None


def write_publication(path: Path, note: PublicationNote) -> None:
    """Write the note.

    Raises:
        OSError: it cannot be written.
    """
    write_private_file(path, msgspec.json.encode(note).decode(), replace=True)


def read_publication(path: Path) -> PublicationNote | None:
    """Return the note; None where there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=PublicationNote)
    except (OSError, msgspec.MsgspecError):
        return None
