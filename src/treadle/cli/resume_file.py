"""Keeps the progress of a push in a small file, so that an interrupted push can go on."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from treadle.errors import OperatorError
from treadle.files import make_private_folder, open_private_file


@dataclass(frozen=True, slots=True)
class PushProgress:
    """The progress of a push.

    Attributes:
        base: the sequence of the first record; the others count up from it.
        records: how many records from the beginning are acknowledged without a gap.
        push_id: begins the idempotency keys of the push; empty for none.
        batch_records: the most records of one request. It stays the same, so that a request that
            is sent again has the same records.
    """

    base: int
    records: int
    push_id: str = ""
    batch_records: int = 5_000

    def advance(self, records: int) -> "PushProgress":
        """Return the progress with so many records."""
        return replace(self, records=records)


class ResumeFile:
    """The file with the progress of one push, named by what is pushed where.

    If a pushed file has another size or time, it is another push.
    """

    def __init__(self, folder: Path, files: Sequence[Path], *what: str) -> None:
        parts = list(what)
        for file in files:
            status = file.stat()
            parts += (str(file.resolve()), str(status.st_size), str(status.st_mtime_ns))
        name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        self.path = folder / f"{name}.json"
        self._is_there = False

    def read(self) -> PushProgress | None:
        """Return the progress of an interrupted push; None if there is no file, or no valid one.

        Raises:
            OperatorError: the file belongs to another user, or cannot be read.
        """
        try:
            value = json.loads(self.path.read_bytes())
            progress = PushProgress(
                base=int(value["base"]),
                records=int(value["records"]),
                push_id=str(value["push_id"]),
                batch_records=int(value["batch_records"]),
            )
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        except OSError as error:
            raise self._explain("read", error) from error
        self._is_there = True
        return progress

    def write(self, progress: PushProgress) -> None:
        """Write the progress, without fsync: an older one only repeats requests."""
        text = json.dumps(asdict(progress))
        draft = self.path.with_suffix(f".{os.getpid()}")
        try:
            make_private_folder(self.path.parent)
            descriptor = open_private_file(draft)
            with os.fdopen(descriptor, "w") as file:
                file.truncate()
                file.write(text)
            draft.replace(self.path)
        except OSError as error:
            raise self._explain("remembered", error) from error
        self._is_there = True

    def remove(self) -> None:
        """Remove the file, since the push is complete."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise self._explain("removed", error) from error

    def _explain(self, verb: str, error: OSError) -> OperatorError:
        remedy = "mend that"
        if isinstance(error, PermissionError):
            remedy = "run this as the user that the folder belongs to"
        if not self._is_there:
            # Not where a part of the push was stored: without the file it would be stored again.
            remedy += ", or push with --no-resume"
        return OperatorError(
            f"The progress of the push cannot be {verb} in {self.path.parent}: {error.strerror}; "
            f"{remedy}."
        )
