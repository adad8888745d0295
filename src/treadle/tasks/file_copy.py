"""Copies of a DuckDB file that is used meanwhile, made by a task process.

A process of its own, because the locks of a file are those of a process: to close the file
releases them, also those by which DuckDB keeps others from writing. It knows nothing of DuckDB but
the outline of a file and the locks: three headers of 4,096 bytes, and after them blocks of one size
that begin with their checksum. DuckDB writes blocks that are free and then, at a checkpoint, a
header.

`publish_file` copies the whole file while it may be written to, and then holds it for a moment: no
process can write, and the blocks whose checksum has changed are copied again. If that takes longer
than it may, the file is let go of and the next moment finds less to do. So nobody waits longer,
however large the file is. Where the file system shares blocks between files, none is copied.

`release_file` gives a file that a reader holds another inode of the same content, so that loading
can go on while the reader keeps what it has open.
"""

import contextlib
import fcntl
import os
import stat
import struct
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from treadle.errors import OperatorError, RetriableError

HEADER_BYTES: Final = 3 * 4096
_MAGIC: Final = (8, b"DUCK")
_ITERATION_AT: Final = 8
_BLOCK_SIZE_AT: Final = 40
_BLOCK_SIZES: Final = frozenset(1 << power for power in range(12, 24))

RUN_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of one copy, after which it is looked how long the file is held."""

PASSES_MAX: Final = 30
POLL_SECONDS: Final = 0.002
"""Between two tries to get a file that somebody writes to. The loader's pauses are longer."""

_LOCK: Final = "hhqqi4x"
_SHARE_BLOCKS: Final = 0x40049409
"""FICLONE of Linux."""


class CopyOrder(msgspec.Struct, frozen=True):
    """What is to be copied.

    Attributes:
        source: the file.
        target: where the copy is put, in place of what is there.
        hold_seconds: longest time in which nobody can write to the source.
        wait_seconds: longest wait for a moment in which nobody writes to it.
        reserve_bytes: of the disk, which stay free.
        mode: permission bits of the copy; None for those of the source.
    """

    source: str
    target: str
    hold_seconds: float = 1.0
    wait_seconds: float = 60.0
    reserve_bytes: int = 0
    mode: int | None = 0o640


class CopyReport(msgspec.Struct, frozen=True):
    """What a copy took.

    Attributes:
        bytes: of the copy.
        seconds: in all.
        held_seconds: the longest time in which nobody could write to the source.
        passes: how often it was held.
    """

    bytes: int
    seconds: float
    held_seconds: float
    passes: int


def publish_file(payload: bytes) -> bytes:
    """Copy a file for readers, and put the copy in its place.

    Args:
        payload: a `CopyOrder` as JSON.

    Returns:
        A `CopyReport` as JSON.

    Raises:
        RetriableError: somebody writes to it all the time, its log is not written down, or the disk
            is full.
        OperatorError: it is no DuckDB file, rights are missing, or something else is in its place.
    """
    order = msgspec.json.decode(payload, type=CopyOrder)
    return msgspec.json.encode(copy_file(order))


def release_file(payload: bytes) -> bytes:
    """Give a file that readers hold another inode with the same content; see `publish_file`.

    Nobody can write to it while that lasts: readers keep it, and this does, too.

    Raises:
        RetriableError: somebody holds it for writing.
    """
    order = msgspec.json.decode(payload, type=CopyOrder)
    return msgspec.json.encode(replace_file(order))


def copy_file(order: CopyOrder, clock: Callable[[], float] = time.monotonic) -> CopyReport:
    """Copy a file that may be written to meanwhile; see `publish_file`."""
    began = clock()
    target = Path(order.target)
    with _translate_errors(order):
        refuse_other_content(target)
    _remove_left_over(target)
    with _translate_errors(order), _open_source(order) as source, _draft(target) as draft:
        check_room(source.descriptor, target.parent, order.reserve_bytes)
        copier = BlockCopier(source, draft.descriptor, order.hold_seconds, clock)
        with source.held(order.wait_seconds, clock) as hold:
            shared = _share_blocks(source.descriptor, draft.descriptor)
        held = hold.seconds
        passes = 1
        while not shared:
            copier.copy_ahead()
            if passes == 1:
                os.fsync(draft.descriptor)  # what is left to write at the end is little
            passes += 1
            if passes > PASSES_MAX:
                raise RetriableError(f"{order.source} changes faster than it can be copied")
            with source.held(order.wait_seconds, clock) as hold:
                shared = copier.catch_up()
            held = max(held, hold.seconds)
        mode = order.mode if order.mode is not None else stat.S_IMODE(source.stat.st_mode)
        draft.put_in_place(mode)
        size = os.fstat(draft.descriptor).st_size
    return CopyReport(size, clock() - began, held, passes)


def replace_file(order: CopyOrder, clock: Callable[[], float] = time.monotonic) -> CopyReport:
    """Give a file that readers hold another inode with the same content; see `release_file`."""
    began = clock()
    target = Path(order.source)
    _remove_left_over(target)
    with _translate_errors(order), _open_source(order) as source, _draft(target) as draft:
        with source.held(0.0, clock, with_log=True):
            check_room(source.descriptor, target.parent, order.reserve_bytes)
            if not _share_blocks(source.descriptor, draft.descriptor):
                size = os.fstat(source.descriptor).st_size
                _copy_range(source.descriptor, draft.descriptor, 0, size)
            found = os.fstat(source.descriptor)
            with contextlib.suppress(PermissionError):  # it stays with who runs this
                os.fchown(draft.descriptor, found.st_uid, found.st_gid)
            draft.put_in_place(stat.S_IMODE(found.st_mode))
        size = os.fstat(draft.descriptor).st_size
    seconds = clock() - began
    return CopyReport(size, seconds, seconds, 1)


def refuse_other_content(target: Path) -> None:
    """Check that what a copy takes the place of is a DuckDB file, as a former copy is, or empty.

    Raises:
        OperatorError: it is something else.
        OSError: it cannot be read.
    """
    at, magic = _MAGIC
    try:
        with target.open("rb") as file:
            head = file.read(at + len(magic))
    except FileNotFoundError:
        return
    if head and head[at:] != magic:
        raise OperatorError(
            f"{target} is there and no DuckDB file, so no copy for readers takes its place; name "
            "another file in publish."
        )


def check_room(source: int, folder: Path, reserve_bytes: int) -> None:
    """Check that the disk has room for a copy.

    Raises:
        RetriableError: it has not.
    """
    needed = os.fstat(source).st_size
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free - needed < reserve_bytes:
        raise RetriableError(
            f"the disk of {folder} has {free:,} bytes left, and a copy takes {needed:,}"
        )


@dataclass(slots=True)
class FileHold:
    """How long a file was held, seconds."""

    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """The file that is copied.

    Attributes:
        path: of it.
        descriptor: open for reading.
        stat: what was found when it was opened.
    """

    path: Path
    descriptor: int
    stat: os.stat_result

    @contextmanager
    def held(
        self, wait_seconds: float, clock: Callable[[], float], *, with_log: bool = False
    ) -> Iterator[FileHold]:
        """Keep everybody from writing to the file, and be sure that all of it is in the file.

        Args:
            wait_seconds: longest wait for who writes.
            clock: seconds.
            with_log: a write-ahead log beside it may be there, and stays.

        Raises:
            RetriableError: it is written to all the time, or another file has its name by now.
        """
        until = clock() + wait_seconds
        while True:
            if self._try_lock():
                if with_log or not self._has_log():
                    break
                self._unlock()
            if clock() >= until:
                raise RetriableError(f"{self.path} is being written to for too long")
            time.sleep(POLL_SECONDS)
        hold, began = FileHold(), clock()
        try:
            if self.path.stat().st_ino != self.stat.st_ino:
                raise RetriableError(f"{self.path} was replaced meanwhile")
            yield hold
        finally:
            hold.seconds = clock() - began
            self._unlock()

    def _has_log(self) -> bool:
        try:
            return self.path.with_name(self.path.name + ".wal").stat().st_size > 0
        except FileNotFoundError:
            return False

    def _try_lock(self) -> bool:
        asked = struct.pack(_LOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        try:
            fcntl.fcntl(self.descriptor, fcntl.F_SETLK, asked)
        except OSError:
            return False
        return True

    def _unlock(self) -> None:
        free = struct.pack(_LOCK, fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(self.descriptor, fcntl.F_SETLK, free)


@dataclass(slots=True)
class BlockCopier:
    """Copies blocks, and knows by their checksums which ones have to be copied again.

    Attributes:
        source: the file.
        target: descriptor of the copy.
        hold_seconds: how long it may copy while the file is held.
        clock: seconds.
    """

    source: CopiedFile
    target: int
    hold_seconds: float
    clock: Callable[[], float]
    _marks: "array[int]" = field(default_factory=lambda: array("Q"))
    """Of each block that was copied: its checksum before that."""
    _block_bytes: int = 0

    def copy_ahead(self) -> None:
        """Copy what differs, while somebody may write to the file: what that leaves torn differs.

        A checksum is read before its block. So a block that is written to meanwhile has another
        checksum afterwards than the one that is kept.
        """
        self._block_bytes = read_block_bytes(self.source)
        self._copy_changed(None)

    def catch_up(self) -> bool:
        """Copy what differs while the file is held; return whether that was all of it."""
        if read_block_bytes(self.source) != self._block_bytes:
            raise RetriableError(f"{self.source.path} was made anew meanwhile")
        if not self._copy_changed(self.clock() + self.hold_seconds):
            return False
        _copy_range(self.source.descriptor, self.target, 0, HEADER_BYTES)
        os.ftruncate(self.target, os.fstat(self.source.descriptor).st_size)
        return True

    def _copy_changed(self, until: float | None) -> bool:
        marks = self._read_marks()
        known = len(self._marks)
        del self._marks[len(marks) :]
        changed = [
            place
            for place, mark in enumerate(marks)
            if place >= known or mark != self._marks[place]
        ]
        for first, last in _join_runs(changed, max(1, RUN_BYTES_MAX // self._block_bytes)):
            if until is not None and self.clock() >= until:
                return False
            begin = HEADER_BYTES + first * self._block_bytes
            length = (last - first) * self._block_bytes
            _copy_range(self.source.descriptor, self.target, begin, length)
            # In order, so a block beyond the known ones is the next one or follows it.
            self._marks[first:last] = marks[first:last]
        return True

    def _read_marks(self) -> "array[int]":
        size = os.fstat(self.source.descriptor).st_size
        marks = array("Q")
        for begin in range(HEADER_BYTES, size, self._block_bytes):
            piece = os.pread(self.source.descriptor, 8, begin)
            marks.frombytes(piece.ljust(8, b"\0"))
        return marks


def read_block_bytes(source: CopiedFile) -> int:
    """Return the size of a DuckDB file's blocks, out of the newer one of its two headers.

    Raises:
        OperatorError: it is no DuckDB file as this release knows them.
    """
    head = os.pread(source.descriptor, HEADER_BYTES, 0)
    at, magic = _MAGIC
    sizes = []
    if head[at : at + len(magic)] == magic and len(head) == HEADER_BYTES:
        for begin in (4096, 8192):
            (iteration,) = struct.unpack_from("<Q", head, begin + _ITERATION_AT)
            (size,) = struct.unpack_from("<Q", head, begin + _BLOCK_SIZE_AT)
            sizes.append((iteration, size))
    found = max(sizes, default=(0, 0))[1]
    if found not in _BLOCK_SIZES:
        raise OperatorError(
            f"{source.path} is no DuckDB file of a form that can be copied while it is used"
        )
    return found


def _join_runs(places: list[int], most: int) -> Iterator[tuple[int, int]]:
    """Return runs of consecutive places as (first, behind the last), of so many places at most."""
    first = last = None
    for place in places:
        if first is None or last is None or place != last or last - first >= most:
            if first is not None and last is not None:
                yield first, last
            first = place
        last = place + 1
    if first is not None and last is not None:
        yield first, last


@dataclass(frozen=True, slots=True)
class CopyDraft:
    """A copy that nobody sees yet."""

    path: Path
    target: Path
    descriptor: int

    def put_in_place(self, mode: int) -> None:
        """Make the copy durable, and give it the name of the target."""
        os.fchmod(self.descriptor, mode)
        os.fsync(self.descriptor)
        self.path.rename(self.target)
        folder = os.open(self.target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def _draft(target: Path) -> Iterator[CopyDraft]:
    path = target.with_name(f".{target.name}.{os.getpid()}.copy")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield CopyDraft(path, target, descriptor)
    finally:
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


@contextmanager
def _open_source(order: CopyOrder) -> Iterator[CopiedFile]:
    path = Path(order.source)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield CopiedFile(path, descriptor, os.fstat(descriptor))
    finally:
        os.close(descriptor)


def _remove_left_over(target: Path) -> None:
    """Remove copies that a killed process left unfinished."""
    for path in target.parent.glob(f".{target.name}.*.copy"):
        with contextlib.suppress(OSError):
            path.unlink()


def _share_blocks(source: int, target: int) -> bool:
    """Have the file system share the blocks of a file; return whether it does that."""
    try:
        fcntl.ioctl(target, _SHARE_BLOCKS, source)
    except OSError:
        return False
    return True


def _copy_range(source: int, target: int, begin: int, length: int) -> None:
    """Copy a part of a file to the same place of another; a part behind the end is left out."""
    while length > 0:
        count = min(length, RUN_BYTES_MAX)
        copied = _copy_once(source, target, begin, count)
        if not copied:
            return
        begin, length = begin + copied, length - copied


def _copy_once(source: int, target: int, begin: int, count: int) -> int:
    try:
        return os.copy_file_range(source, target, count, begin, begin)
    except OSError:  # not between these two file systems, or not by this kernel
        return os.pwrite(target, os.pread(source, count, begin), begin)


@contextmanager
def _translate_errors(order: CopyOrder) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise OperatorError(
            f"{error.filename or order.target} cannot be written or read by this user: "
            f"{error.strerror}"
        ) from error
    except FileNotFoundError as error:
        raise RetriableError(f"{error.filename} is not there") from error
    except OSError as error:
        raise RetriableError(f"{order.target} cannot be made: {error.strerror}") from error
