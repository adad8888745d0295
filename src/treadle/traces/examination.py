"""The last examinations of a server: how far each is, and what it found, in a file of its own.

Who examines writes the file while it goes on; whoever looks reads it.
"""

from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

import msgspec

from treadle.files import make_private_folder, write_private_file

SILENT_US: Final = 180_000_000
"""An examination that tells nothing for so long has ended without a result."""


class ExaminationKind(StrEnum):
    """What is examined.

    DOCTOR: the checks of `treadle doctor`, with or without each entry of the log. COUNTS: whether
    the rows of the destinations are those of the loads, as `treadle audit --counts`.
    """

    DOCTOR = "doctor"
    COUNTS = "counts"


class ExaminedFinding(msgspec.Struct, frozen=True):
    """One finding of an examination, as the doctor's."""

    subject: str
    level: Literal["good", "odd", "bad"]
    found: str
    meaning: str = ""
    remedy: str = ""


class ExaminationNote(msgspec.Struct, frozen=True):
    """An examination, as far as it is.

    Attributes:
        kind: of `ExaminationKind`.
        whole: each entry of the log is read.
        started_at: microseconds since 1970.
        changed_at: when this was written.
        finished_at: None while it goes on.
        step: what is looked at now.
        done: parts that were looked at.
        total: parts in all; 0 where that is not known.
        entries: of the log that were read.
        findings: so far.
        failure: why it ended without a result; empty for none.
    """

    kind: str
    whole: bool
    started_at: int
    changed_at: int
    finished_at: int | None = None
    step: str = ""
    done: int = 0
    total: int = 0
    entries: int = 0
    findings: tuple[ExaminedFinding, ...] = ()
    failure: str = ""

    def is_going_on(self, now: int) -> bool:
        """Return whether it goes on: it is not finished, and tells how far it is."""
        return self.finished_at is None and 0 <= now - self.changed_at < SILENT_US


def write_examination(folder: Path, note: ExaminationNote) -> None:
    """Write how far an examination is.

    Args:
        folder: of the files; made if it is missing.
        note: takes the place of the last one of its kind.

    Raises:
        OSError: it cannot be written.
    """
    make_private_folder(folder)
    text = msgspec.json.encode(note).decode("utf-8", "replace")
    write_private_file(folder / f"{note.kind}.json", text, replace=True)


def read_examination(folder: Path, kind: ExaminationKind) -> ExaminationNote | None:
    """Return the last examination of a kind; None where there was none."""
    try:
        return msgspec.json.decode((folder / f"{kind}.json").read_bytes(), type=ExaminationNote)
    except (OSError, msgspec.MsgspecError):
        return None
