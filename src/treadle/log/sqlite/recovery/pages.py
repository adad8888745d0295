"""Reads the rows on the pages of a log's file without SQLite.

For a file that SQLite refuses: every page is looked at by itself, so that damage on one does not
hide another. Nothing found here is believed without a checksum. Formats: sqlite.org/fileformat2.
"""

import mmap
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

PAGE_BYTES: Final = 4096
_TABLE_LEAF: Final = 0x0D
_INDEX_LEAF: Final = 0x0A
_INDEX_INTERIOR: Final = 0x02
_PAGE_KINDS: Final = {_TABLE_LEAF: (8, 0), _INDEX_LEAF: (8, 0), _INDEX_INTERIOR: (12, 4)}
"""Kinds of page that hold rows: leaves of tables and of indexes, and what leads to the latter.
Bytes of the head, and bytes in front of each row, where another page is named."""

_FILE_HEADER_BYTES: Final = 100
_OVERFLOW_BYTES: Final = PAGE_BYTES - 4
_INTEGER_BYTES: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}

CellValues = tuple[Any, ...]
FileView = bytes | mmap.mmap
"""The content of a file; a slice of it is a copy."""


class UnreadablePageError(ValueError):
    """A page or a row is not what SQLite writes."""


@dataclass(frozen=True, slots=True)
class PageCell:
    """One row on a page.

    Attributes:
        rowid: None on a page of an index.
        values: as stored; None for the column that stands for the row's number.
    """

    rowid: int | None
    values: CellValues


class PageReader:
    """Reads pages by number, from 1.

    Args:
        data: the file.
        wal: its write-ahead log.
        newer: pages that the write-ahead log holds instead: number -> where in it.
    """

    def __init__(self, data: FileView, wal: FileView, newer: Mapping[int, int]) -> None:
        self._data = data
        self._wal = wal
        self._wal_pages = newer

    def page_numbers(self) -> range:
        """Return the numbers of all pages."""
        return range(1, max(len(self._data) // PAGE_BYTES, *self._wal_pages, 0) + 1)

    def read_page(self, number: int) -> bytes:
        """Return one page; raises UnreadablePageError when there is none."""
        start = self._wal_pages.get(number)
        if start is None:
            found = self._data[(number - 1) * PAGE_BYTES : number * PAGE_BYTES]
        else:
            found = self._wal[start : start + PAGE_BYTES]
        if number < 1 or len(found) != PAGE_BYTES:
            raise UnreadablePageError(f"there is no page {number}")
        return found

    def read_cells(self, numbers: Iterable[int] | None = None) -> Iterator[PageCell]:
        """Read every row of every page that can be read, or of some pages alone."""
        for number in self.page_numbers() if numbers is None else numbers:
            try:
                page = self.read_page(number)
            except UnreadablePageError:
                continue
            start = _FILE_HEADER_BYTES if number == 1 else 0
            if page[start] in _PAGE_KINDS:
                yield from self._read_page_cells(page, start)

    def _read_page_cells(self, page: bytes, start: int) -> Iterator[PageCell]:
        count = int.from_bytes(page[start + 3 : start + 5], "big")
        head, before = _PAGE_KINDS[page[start]]
        for place in range(start + head, min(start + head + 2 * count, PAGE_BYTES - 1), 2):
            offset = int.from_bytes(page[place : place + 2], "big") + before
            try:
                yield self._read_cell(page, offset, is_table=page[start] == _TABLE_LEAF)
            except (UnreadablePageError, IndexError, struct.error, ValueError):
                continue

    def _read_cell(self, page: bytes, offset: int, *, is_table: bool) -> PageCell:
        size, offset = _read_varint(page, offset)
        rowid = None
        if is_table:
            rowid, offset = _read_varint(page, offset)
            if rowid >= 1 << 63:
                rowid -= 1 << 64
        return PageCell(
            rowid, _read_values(self._read_payload(page, offset, size, is_table=is_table))
        )

    def _read_payload(self, page: bytes, offset: int, size: int, *, is_table: bool) -> bytes:
        most = PAGE_BYTES - 35 if is_table else (PAGE_BYTES - 12) * 64 // 255 - 23
        if size <= most:
            found = page[offset : offset + size]
            if len(found) < size:
                raise UnreadablePageError("a row passes the end of its page")
            return found
        least = (PAGE_BYTES - 12) * 32 // 255 - 23
        here = least + (size - least) % _OVERFLOW_BYTES
        if here > most:
            here = least
        pieces = [page[offset : offset + here]]
        following = int.from_bytes(page[offset + here : offset + here + 4], "big")
        left = size - here
        if left > len(self.page_numbers()) * PAGE_BYTES:
            raise UnreadablePageError("a row is longer than the file")
        while left > 0:
            further = self.read_page(following)
            pieces.append(further[4 : 4 + min(left, _OVERFLOW_BYTES)])
            left -= _OVERFLOW_BYTES
            following = int.from_bytes(further[:4], "big")
        return b"".join(pieces)


def _read_varint(data: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for _ in range(8):
        byte = data[offset]
        offset += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset
    return value << 8 | data[offset], offset + 1


def _read_values(record: bytes) -> CellValues:
    end, offset = _read_varint(record, 0)
    body = end
    found: list[Any] = []
    while offset < end:
        kind, offset = _read_varint(record, offset)
        value: Any
        if kind in _INTEGER_BYTES:
            length = _INTEGER_BYTES[kind]
            value = int.from_bytes(record[body : body + length], "big", signed=True)
        elif kind in (0, 8, 9):
            length = 0
            value = None if kind == 0 else kind - 8
        elif kind == 7:
            length = 8
            (value,) = struct.unpack(">d", record[body : body + 8])
        elif kind >= 12:
            length = (kind - 12) // 2
            value = record[body : body + length]
            if len(value) < length:
                raise UnreadablePageError("a value passes the end of its row")
            if kind % 2:
                value = value.decode()
        else:
            raise UnreadablePageError(f"no value has the type {kind}")
        body += length
        found.append(value)
    return tuple(found)


# --- the write-ahead log --------------------------------------------------------------------------

_WAL_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_WAL_MAGIC: Final = 0x377F0682


@dataclass(frozen=True, slots=True)
class WalContent:
    """The pages of the sound frames of a write-ahead log.

    Attributes:
        data: the file.
        pages: number -> where in it the page begins, up to the last commit of the chain of
            checksums, which begins with the first frame.
        later: the same of what was committed behind the end of that chain.
        torn: commits follow the place where SQLite would stop reading: the end of the chain, or the
            header where that is damaged.
    """

    data: FileView
    pages: Mapping[int, int]
    later: Mapping[int, int]
    torn: bool


def read_wal(data: FileView) -> WalContent:
    """Read a write-ahead log, past damaged frames too.

    What was committed behind the end of the chain is one of two things. A frame was damaged: then
    these commits were made after those before it, and were promised. Or it is the rest of a commit
    that failed, or whose process was killed in its fsync, under later ones that were written over
    its first frames: then it was never promised, and the earlier pages are the newer ones. A
    checksum says only what it went on from, so a frame that was flipped and the first of such a
    rest look the same: they do not follow from the frame before them. So both kinds of pages are
    given apart, for `salvage` to look at what they say. (`log_file.cut_write_ahead_log` removes
    such a rest before the failure is answered.)
    """
    frames = list(_read_sound_frames(data))
    last_of_chain = max((f.number for f in frames if f.commits and f.is_chained), default=-1)
    # What follows the last commit was never promised.
    last = max((f.number for f in frames if f.commits), default=-1)
    pages = {frame.page: frame.start for frame in frames if frame.number <= last_of_chain}
    later = {f.page: f.start for f in frames if last_of_chain < f.number <= last}
    torn = last > last_of_chain or (last >= 0 and not _is_header_sound(data))
    return WalContent(data, pages, later, torn)


class _WalFrame(NamedTuple):
    """A frame of a write-ahead log whose checksum is right.

    Attributes:
        number: of the frame, from 0.
        page: number of the page that it holds.
        start: of the page in the file.
        commits: it is the last of a transaction.
        is_chained: all frames before it are sound too.
    """

    number: int
    page: int
    start: int
    commits: bool
    is_chained: bool


def _read_sound_frames(data: FileView) -> Iterator[_WalFrame]:
    """Read the sound frames of a write-ahead log.

    The checksum of a frame goes on from the one of the frame before it, so that one flipped byte
    makes SQLite leave out all that follow. Here each frame is checked against the checksum that
    stands in the frame before it, whether that frame is sound or not.
    """
    frames = max(0, (len(data) - _WAL_HEADER_BYTES) // (PAGE_BYTES + _FRAME_HEADER_BYTES))
    if frames == 0:
        return
    magic, _, size = struct.unpack(">3I", data[:12])
    if magic & ~1 != _WAL_MAGIC or size != PAGE_BYTES:
        return
    order = ">" if magic & 1 else "<"
    salts = data[16:24]
    before = struct.unpack(">2I", data[24:32])
    is_chained = True
    for number in range(frames):
        start = _WAL_HEADER_BYTES + number * (PAGE_BYTES + _FRAME_HEADER_BYTES)
        header = data[start : start + _FRAME_HEADER_BYTES]
        if header[8:16] != salts:
            return  # of an earlier turn of the file
        start += _FRAME_HEADER_BYTES
        body = data[start : start + PAGE_BYTES]
        named = struct.unpack(">2I", header[16:24])
        is_sound = _frame_checksum(order, body, _frame_checksum(order, header[:8], before)) == named
        is_chained = is_chained and is_sound
        if is_sound:
            page, pages_after = struct.unpack(">2I", header[:8])
            yield _WalFrame(number, page, start, bool(pages_after), is_chained)
        before = named


def _is_header_sound(data: FileView) -> bool:
    order = ">" if data[3] & 1 else "<"
    return _frame_checksum(order, data[:24], (0, 0)) == struct.unpack(">2I", data[24:32])


def _frame_checksum(order: str, data: bytes, before: tuple[int, int]) -> tuple[int, int]:
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    first, second = before
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
