"""The file in which a worker keeps the requests that it refused.

Each worker has a file of its own in one folder, mapped into memory, as `shared_counters` has. It
outlives the process. Nothing is fsynced. The file has two parts of a fixed size: places for whole
refusals, and places for counts. What a place holds carries a checksum, so that one that was being
written when its process ended is taken for empty.
"""

import logging
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from treadle.files import make_private_folder, open_private_file
from treadle.traces.fair_places import FairPlaces
from treadle.traces.refusals import (
    MINUTES,
    STRANGERS,
    KeptRefusal,
    RefusalCount,
    RefusalGroup,
    shift_minutes,
)

KEPT_PLACES: Final = 1000
KEPT_BYTES: Final = 1024
"""Of a place for a refusal: number, checksum, length, and the refusal."""

COUNT_PLACES: Final = 1000
COUNT_BYTES: Final = 768
"""Of a place for a count: checksum and length of the group, the group, and the numbers."""

FILE_BYTES: Final = KEPT_PLACES * KEPT_BYTES + COUNT_PLACES * COUNT_BYTES
ENDING: Final = ".refusals1"
"""Of file names, with the number of the form. Another form is another file."""

MINUTE_US: Final = 60_000_000

_KEPT_HEAD: Final = struct.Struct("<QII")
_COUNT_HEAD: Final = struct.Struct("<II")
_GROUP_BYTES_MAX: Final = 480
_NUMBERS: Final = struct.Struct("<QQQQQ")
"""Of a count: times of the first and the last refusal, total, the newest minute, and the number of
the last refusal."""
_MINUTES: Final = struct.Struct(f"<{MINUTES}I")
_NUMBERS_AT: Final = _COUNT_HEAD.size + _GROUP_BYTES_MAX
_MINUTES_AT: Final = _NUMBERS_AT + _NUMBERS.size

logger = logging.getLogger(__name__)

_encoder: Final = msgspec.msgpack.Encoder()
_refusal_decoder: Final = msgspec.msgpack.Decoder(KeptRefusal)
_group_decoder: Final = msgspec.msgpack.Decoder(RefusalGroup)


class RefusalFile:
    """The refusals of this process. Only one thread may use it at a time.

    An account has a share of the places, and strangers have together at most a quarter of them
    (`FairPlaces`).

    Args:
        folder: for the files of all processes; made if it is missing.
        process: its name, the same after a restart: "worker 1".
    """

    def __init__(self, folder: Path, process: str) -> None:
        make_private_folder(folder)
        self._name = process.rpartition(" ")[2]
        descriptor = open_private_file(folder / (process.replace(" ", "-") + ENDING))
        try:
            # Room on the disk is taken now: a page that is written first when the disk is full
            # would end the process.
            os.posix_fallocate(descriptor, 0, FILE_BYTES)
            self._map = mmap.mmap(descriptor, FILE_BYTES)
        except OSError as error:
            logger.warning("refused requests are not kept, there is no room for them: %s", error)
            self._map = mmap.mmap(-1, FILE_BYTES)
        finally:
            os.close(descriptor)
        self._kept = FairPlaces(KEPT_PLACES)
        self._counted = FairPlaces(COUNT_PLACES)
        self._groups: dict[RefusalGroup, int] = {}
        self._group_at: dict[int, RefusalGroup] = {}
        self._number = 0
        self._restore()

    def add(self, refusal: KeptRefusal) -> int:
        """Keep a refusal and count it; return its number."""
        self._number += 1
        owner = refusal.group.account_id
        self._write_kept(self._kept.take(owner), self._number, refusal)
        self._count(refusal.group, refusal.at, self._number)
        return self._number

    def name_request(self, number: int) -> str:
        """Return the id of a refused request: the worker and its number, "1-1042"."""
        return f"{self._name}-{number}"

    def find_place(self, number: int) -> int | None:
        """Return the place of a refusal; None where it is not kept any more."""
        for place in range(KEPT_PLACES):
            if _KEPT_HEAD.unpack_from(self._map, place * KEPT_BYTES)[0] == number:
                return place
        return None

    def assign(self, number: int, group: RefusalGroup) -> None:
        """Give a stranger's refusal to an account, as its token turned out to be known.

        Args:
            number: of the refusal.
            group: with the account.
        """
        place = self.find_place(number)
        refusal = None if place is None else _read_kept(self._map, place)[1]
        if place is None or refusal is None or refusal.group.account_id != STRANGERS:
            return
        self._discount(refusal.group, refusal.at)
        self._kept.hand_over(place, STRANGERS, group.account_id)
        self._write_kept(place, number, msgspec.structs.replace(refusal, group=group))
        self._count(group, refusal.at, number)

    def close(self) -> None:
        """Close the file, which stays."""
        self._map.close()

    def _restore(self) -> None:
        found = [(place, *_read_kept(self._map, place)) for place in range(KEPT_PLACES)]
        for place, number, refusal in sorted(found, key=lambda one: one[1]):
            self._number = max(self._number, number)
            if refusal is not None:
                self._kept.take_at(refusal.group.account_id, place)
        for place in range(COUNT_PLACES):
            group = _read_group(self._map, KEPT_PLACES * KEPT_BYTES + place * COUNT_BYTES)
            if group is not None and group not in self._groups:
                self._counted.take_at(group.account_id, place)
                self._groups[group], self._group_at[place] = place, group

    def _write_kept(self, place: int, number: int, refusal: KeptRefusal) -> None:
        named = msgspec.structs.replace(refusal, id=f"{self._name}-{number}")
        written = _encoder.encode(named)
        room = KEPT_BYTES - _KEPT_HEAD.size
        while len(written) > room:
            body = named.body[: max(0, len(named.body) - (len(written) - room))]
            named = msgspec.structs.replace(named, body=body)
            written = _encoder.encode(named)
        at = place * KEPT_BYTES
        head = _KEPT_HEAD.pack(number, zlib.crc32(written), len(written))
        self._map[at : at + len(head) + len(written)] = head + written

    def _count(self, group: RefusalGroup, at: int, number: int) -> None:
        place = self._groups.get(group)
        if place is None:
            place = self._add_group(group, at)
        else:
            self._counted.use(group.account_id, place)
        begin = KEPT_PLACES * KEPT_BYTES + place * COUNT_BYTES
        first, last, total, newest, _ = _NUMBERS.unpack_from(self._map, begin + _NUMBERS_AT)
        minute = at // MINUTE_US
        minutes = list(_MINUTES.unpack_from(self._map, begin + _MINUTES_AT))
        for passed in range(newest + 1, min(minute, newest + MINUTES) + 1):
            minutes[passed % MINUTES] = 0
        newest = max(minute, newest)
        if minute > newest - MINUTES:
            minutes[minute % MINUTES] = min(minutes[minute % MINUTES] + 1, 2**32 - 1)
        _MINUTES.pack_into(self._map, begin + _MINUTES_AT, *minutes)
        _NUMBERS.pack_into(
            self._map, begin + _NUMBERS_AT, first, max(at, last), total + 1, newest, number
        )

    def _discount(self, group: RefusalGroup, at: int) -> None:
        """Take one refusal out of the count of a group."""
        place = self._groups.get(group)
        if place is None:
            return
        begin = KEPT_PLACES * KEPT_BYTES + place * COUNT_BYTES
        first, last, total, newest, number = _NUMBERS.unpack_from(self._map, begin + _NUMBERS_AT)
        minutes = list(_MINUTES.unpack_from(self._map, begin + _MINUTES_AT))
        at_minute = at // MINUTE_US
        if newest - MINUTES < at_minute <= newest:
            minutes[at_minute % MINUTES] = max(0, minutes[at_minute % MINUTES] - 1)
        _MINUTES.pack_into(self._map, begin + _MINUTES_AT, *minutes)
        _NUMBERS.pack_into(
            self._map, begin + _NUMBERS_AT, first, last, max(0, total - 1), newest, number
        )

    def _add_group(self, group: RefusalGroup, at: int) -> int:
        place = self._counted.take(group.account_id)
        gone = self._group_at.pop(place, None)
        if gone is not None:
            del self._groups[gone]
        self._groups[group], self._group_at[place] = place, group
        begin = KEPT_PLACES * KEPT_BYTES + place * COUNT_BYTES
        written = _encoder.encode(group)
        blank = _NUMBERS.pack(at, at, 0, at // MINUTE_US, 0) + bytes(_MINUTES.size)
        self._map[begin : begin + _COUNT_HEAD.size] = bytes(_COUNT_HEAD.size)
        self._map[begin + _NUMBERS_AT : begin + _NUMBERS_AT + len(blank)] = blank
        head = _COUNT_HEAD.pack(zlib.crc32(written), len(written))
        self._map[begin : begin + len(head) + len(written)] = head + written
        return place


def _read_kept(content: bytes | mmap.mmap, place: int) -> tuple[int, KeptRefusal | None]:
    """Return the number and the refusal of a place; 0 and None for an empty or a broken one."""
    at = place * KEPT_BYTES
    number, checksum, length = _KEPT_HEAD.unpack_from(content, at)
    begin = at + _KEPT_HEAD.size
    if not 0 < length <= KEPT_BYTES - _KEPT_HEAD.size:
        return 0, None
    written = content[begin : begin + length]
    if zlib.crc32(written) != checksum:
        return 0, None
    try:
        return number, _refusal_decoder.decode(written)
    except msgspec.MsgspecError:
        return 0, None


def _read_group(content: bytes | mmap.mmap, begin: int) -> RefusalGroup | None:
    checksum, length = _COUNT_HEAD.unpack_from(content, begin)
    if not 0 < length <= _GROUP_BYTES_MAX:
        return None
    written = content[begin + _COUNT_HEAD.size : begin + _COUNT_HEAD.size + length]
    if zlib.crc32(written) != checksum:
        return None
    try:
        return _group_decoder.decode(written)
    except msgspec.MsgspecError:
        return None


def read_refusals(folder: Path) -> list[KeptRefusal]:
    """Return the kept refusals of all workers, the newest first."""
    found = [
        refusal
        for content in _read_files(folder)
        for place in range(KEPT_PLACES)
        if (refusal := _read_kept(content, place)[1]) is not None
    ]
    return sorted(found, key=lambda refusal: (refusal.at, refusal.id), reverse=True)


def read_refusals_after(folder: Path, seen: dict[str, int]) -> list[KeptRefusal]:
    """Return the refusals that were kept since the last call, the oldest first.

    Args:
        folder: of the files.
        seen: file name -> the greatest number that was returned; it is changed. A file that is not
            in it yet has nothing new.
    """
    found: list[KeptRefusal] = []
    for path in sorted(folder.glob("*" + ENDING)):
        last = seen.get(path.name)
        greatest = last or 0
        with path.open("rb") as file:
            content = file.read(KEPT_PLACES * KEPT_BYTES)
        if len(content) < KEPT_PLACES * KEPT_BYTES:
            continue
        for place in range(KEPT_PLACES):
            (number,) = struct.unpack_from("<Q", content, place * KEPT_BYTES)
            if last is None or number > last:
                number, refusal = _read_kept(content, place)
                greatest = max(greatest, number)
                if last is not None and refusal is not None:
                    found.append(refusal)
        seen[path.name] = greatest
    return sorted(found, key=lambda refusal: refusal.at)


def read_counts(folder: Path, now: int) -> Iterator[RefusalCount]:
    """Yield the counts of each worker.

    Args:
        folder: of the files.
        now: microseconds since 1970.
    """
    for content in _read_files(folder):
        latest = dict(
            found
            for place in range(KEPT_PLACES)
            if (found := _read_kept(content, place))[1] is not None
        )
        for place in range(COUNT_PLACES):
            begin = KEPT_PLACES * KEPT_BYTES + place * COUNT_BYTES
            group = _read_group(content, begin)
            if group is None:
                continue
            first, last, total, newest, number = _NUMBERS.unpack_from(content, begin + _NUMBERS_AT)
            if not total:
                continue
            minutes = _MINUTES.unpack_from(content, begin + _MINUTES_AT)
            refusal = latest.get(number)
            yield RefusalCount(
                group,
                first,
                last,
                total,
                shift_minutes(minutes, newest, now // MINUTE_US),
                refusal if refusal is not None and refusal.group == group else None,
            )


def _read_files(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.glob("*" + ENDING)):
        content = path.read_bytes()
        if len(content) >= FILE_BYTES:
            yield content
