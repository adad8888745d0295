"""Records that follow each other: each is put only if no other one has its number.

So of all who would follow a record, one does. Nobody holds a lock, and nobody waits for anybody.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from treadle.destinations.files.errors import FAULTS, describe
from treadle.destinations.files.object_names import name_record, read_number
from treadle.destinations.files.object_store import ObjectExistsError, ObjectStore
from treadle.destinations.files.table_record import RECORDS_KEPT, RECORDS_MAX
from treadle.destinations.protocol import (
    AccessDeniedError,
    CommitUnknownError,
    DestinationUnavailableError,
    PlanOutdatedError,
)
from treadle.errors import OperatorError, TreadleError

READERS: Final = 8
"""Records that are read at a time."""

READS_MAX: Final = 5
"""Attempts to read the newest record: it may be removed, as an old one, while it is read."""


class Numbered(Protocol):
    """A record of a chain."""

    @property
    def attempt(self) -> str:
        """The name of the attempt that wrote it; different for each."""

    @property
    def previous(self) -> str:
        """That of the record before."""

    @property
    def number(self) -> int:
        """Its number; that of the record before and one."""


Record = TypeVar("Record", bound=Numbered)


class RecordChain(Generic[Record]):
    """The records of a kind, of any number of folders.

    Args:
        store: of the objects.
        type_: of the records.
    """

    def __init__(self, store: ObjectStore, type_: type[Record]) -> None:
        self._store = store
        self._type = type_
        self._known: dict[str, Record] = {}
        """Folder -> its newest record when it was read. A record is never changed."""

    def read(self, folder: str) -> Record | None:
        """Return the newest record of a folder; None where there is none."""
        for _ in range(READS_MAX):
            number = max(self._list_numbers(folder), default=-1)
            if number < 0:
                self._known.pop(folder, None)
                return None
            found = self.read_number(folder, number)
            if found is not None:
                self._known[folder] = found
                return found
        raise DestinationUnavailableError(f"{folder} is changed faster than it can be read")

    def read_all(self, place: str) -> list[Record]:
        """Return the newest record of each folder in a folder and below.

        One list shows which they are, and several are read at a time.
        """
        newest: dict[str, int] = {}
        for key in self._store.list_keys(place):
            folder = key.rpartition("/")[0]
            newest[folder] = max(newest.get(folder, -1), read_number(key))
        folders = [folder for folder, number in newest.items() if number >= 0]
        with ThreadPoolExecutor(READERS) as readers:
            found = readers.map(lambda each: self.read_number(each, newest[each]), folders)
            pairs = list(zip(folders, found, strict=True))
        # One that was removed meanwhile, as an old one, is followed by another.
        read = {folder: record or self.read(folder) for folder, record in pairs}
        kept = {folder: record for folder, record in read.items() if record is not None}
        self._known |= kept
        return list(kept.values())

    def read_number(self, folder: str, number: int) -> Record | None:
        """Return a record; None where it is not there, or not any more."""
        known = self._known.get(folder)
        if known is not None and known.number == number:
            return known
        data = self._store.get(name_record(folder, number))
        return None if data is None else self._decode(folder, data)

    def _list_numbers(self, folder: str) -> list[int]:
        """Return the numbers of the records that are in a folder itself, in order."""
        keys = self._store.list_keys(folder)
        numbers = (read_number(key) for key in keys if key.rpartition("/")[0] == folder)
        return sorted(number for number in numbers if number >= 0)

    def _decode(self, folder: str, data: bytes) -> Record:
        try:
            return msgspec.json.decode(data, type=self._type)
        except msgspec.MsgspecError as error:
            raise OperatorError(
                f"a record in {folder} cannot be read: {error}. It was changed or damaged; put the "
                "object back from a version or a copy of it"
            ) from error

    def append(self, folder: str, record: Record) -> None:
        """Put a record that follows the newest one.

        Raises:
            PlanOutdatedError: somebody else was first; nothing was put.
            CommitUnknownError: the answer was lost, and the record is not there yet.
            AccessDeniedError, OperatorError: the store refuses it.
        """
        key = name_record(folder, record.number)
        try:
            self._store.put_new(key, msgspec.json.encode(record))
        except ObjectExistsError:
            # Where an answer was lost and the put repeated, it is this one's own.
            self._require_own(folder, record)
        except FAULTS as error:
            if isinstance(error, AccessDeniedError | OperatorError):
                raise
            self._settle(folder, record, error)
        self._require_newest(folder, record)
        self._known[folder] = record

    def _settle(self, folder: str, record: Record, error: Exception) -> None:
        """Find out what became of a put that was not answered."""
        unknown = CommitUnknownError(f"a record was put and not answered: {describe(error)}")
        try:
            found = self._read_put(folder, record.number)
        except FAULTS as second:
            raise unknown from second
        if found is None:
            raise unknown from error
        if found.attempt != record.attempt:
            raise _be_outdated(folder) from error

    def _require_own(self, folder: str, record: Record) -> None:
        try:
            found = self._read_put(folder, record.number)
        except FAULTS as error:
            raise CommitUnknownError(
                f"a record has the number of another one: {describe(error)}"
            ) from error
        if found is None:
            # A put that was repeated met the first one of it, which is not done yet.
            raise CommitUnknownError("a record was put twice, and neither is there yet")
        if found.attempt != record.attempt:
            raise _be_outdated(folder)

    def _read_put(self, folder: str, number: int) -> Record | None:
        data = self._store.get(name_record(folder, number))
        return None if data is None else self._decode(folder, data)

    def _require_newest(self, folder: str, record: Record) -> None:
        """Check that a record that was put is one of the chain, and remove old ones.

        Old records are removed, so a number that was taken can be free again.
        """
        try:
            numbers = self._list_numbers(folder)
            later = [number for number in numbers if number > record.number]
            if later:
                following = self._read_put(folder, record.number + 1)
                if following is None:
                    raise CommitUnknownError(f"{folder} has gone on; ask it how far it is")
                if following.previous != record.attempt:
                    self._store.remove([name_record(folder, record.number)])
                    raise _be_outdated(folder)
            if len(numbers) > RECORDS_MAX:
                old = numbers[:-RECORDS_KEPT]
                self._store.remove([name_record(folder, number) for number in old])
        except FAULTS as error:
            if isinstance(error, CommitUnknownError | PlanOutdatedError):
                raise
            raise CommitUnknownError(
                f"a record was put and could not be looked at: {describe(error)}"
            ) from error


def _be_outdated(folder: str) -> TreadleError:
    return PlanOutdatedError(f"somebody else changed {folder}; the load is planned again")
