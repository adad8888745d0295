"""How far a push came, remembered in a small file, so that an interrupted one can go on."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from treadle.errors import OperatorError


@dataclass(frozen=True, slots=True)
class PushProgress:
    """Where a push stands.

    Attributes:
        base: sequence of the first record; the others count up from it.
        records: how many records from the beginning were acknowledged without a gap.
    """

    base: int
    records: int


class ResumeFile:
    """The progress of one push of one file, under a name made from what is pushed where.

    A file that changed in size or time is another push.
    """

    def __init__(self, folder: Path, file: Path, *what: str) -> None:
        status = file.stat()
        parts = (str(file.resolve()), str(status.st_size), str(status.st_mtime_ns), *what)
        name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        self.path = folder / f"{name}.json"

    def read(self) -> PushProgress | None:
        """The progress of an interrupted push; None where there is none, or none that is whole."""
        try:
            value = json.loads(self.path.read_bytes())
            return PushProgress(base=int(value["base"]), records=int(value["records"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def write(self, progress: PushProgress) -> None:
        """Remember. Not forced to the disk: an older bookmark repeats work and changes nothing."""
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
        """Forget: the push is complete."""
        self.path.unlink(missing_ok=True)
