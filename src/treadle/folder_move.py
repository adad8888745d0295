"""The note in a data folder that its installation moves to a cluster, or has moved.

Two servers with one log would give the same positions to different records, and each would take
those of the other for loaded. So a folder whose log and store were copied is not served any more.
"""

import contextlib
import json
from pathlib import Path
from typing import NamedTuple

from treadle.errors import OperatorError
from treadle.files import sync_folder, write_private_file
from treadle.timestamps import format_seconds


class FolderMove(NamedTuple):
    """What the note says.

    Attributes:
        is_done: everything was copied.
        at: when the move began, or ended; microseconds since 1970.
        place: the database of the store, without secrets.
    """

    is_done: bool
    at: int
    place: str


def read_move(path: Path) -> FolderMove | None:
    """Return what a note says; None where there is none."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    try:
        found = json.loads(text)
        return FolderMove(bool(found["is_done"]), int(found["at"]), str(found["place"]))
    except (ValueError, KeyError, TypeError):
        return FolderMove(is_done=False, at=0, place="a cluster")


def write_move(path: Path, move: FolderMove) -> None:
    """Write a note, durably.

    Raises:
        OperatorError: it cannot be written.
    """
    try:
        write_private_file(path, json.dumps(move._asdict()) + "\n", replace=True)
    except OSError as error:
        raise OperatorError(
            f"{path} cannot be written ({error.strerror}): run this as the user that the folder "
            "belongs to"
        ) from error


def remove_move(path: Path) -> None:
    """Remove a note: the folder is served again."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


def refuse_moved_folder(path: Path) -> None:
    """Refuse to use the store and the log of a folder that moves to a cluster, or has moved.

    Raises:
        OperatorError: there is a note.
    """
    move = read_move(path)
    if move is None:
        return
    if move.is_done:
        raise OperatorError(
            f"the installation in {path.parent} was moved to {move.place} at "
            f"{format_seconds(move.at)}: name that with --store; what is in the folder is as it "
            f"was then, and to use it again, beside the cluster, remove {path}"
        )
    raise OperatorError(
        f"the installation in {path.parent} is being moved to {move.place}, and that did not come "
        f"to its end: run `treadle cluster import` again; to go on here, remove {path}, and what "
        "was copied there"
    )
