"""Keeps the progress of a push in a small file, so that an interrupted push can go on."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from treadle.errors import OperatorError


@dataclass(frozen=True, slots=True)
class PushProgress:
    """The progress of a push.

    Attributes:
        base: the sequence of the first record; the others count up from it.
        records: how many records from the beginning are acknowledged without a gap.
    """

    base: int
    records: int


class ResumeFile:
    """The file with the progress of one push, named by what is pushed where.

    If the pushed file has another size or time, it is another push.
    """

    def __init__(self, folder: Path, file: Path, *what: str) -> None:
        status = file.stat()
        parts = (str(file.resolve()), str(status.st_size), str(status.st_mtime_ns), *what)
        name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        self.path = folder / f"{name}.json"

    def read(self) -> PushProgress | None:
        """Return the progress of an interrupted push; None if there is no file, or no valid one."""
        try:
            value = json.loads(self.path.read_bytes())
            return PushProgress(base=int(value["base"]), records=int(value["records"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def write(self, progress: PushProgress) -> None:
        """Write the progress, without fsync: an older one only repeats requests."""
        text = json.dumps({"base": progress.base, "records": progress.records})
        draft = self.path.with_suffix(f".{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.write_text(text)
            draft.replace(self.path)
        except OSError as error:
            raise OperatorError(
                f"Progress cannot be remembered in {self.path.parent}: {error.strerror}; "
                "mend that, or push with --no-resume."
            ) from error

    def remove(self) -> None:
        """Remove the file, since the push is complete."""
        self.path.unlink(missing_ok=True)
