"""Publishes the DuckDB file for readers: a copy after loads, in a process of its own.

The thread looks at the file from outside, so it needs to know of no load: whatever wrote to the
file, a copy follows. `treadle.tasks.file_copy` says how a copy is made while loading goes on.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from treadle.clock import read_clock
from treadle.config import Config
from treadle.destinations.registry import make_destination
from treadle.errors import TreadleError
from treadle.tasks.file_copy import CopyOrder, CopyReport
from treadle.tasks.task_channel import TaskRequest
from treadle.tasks.task_process import TaskProcess
from treadle.traces.publication_note import PublicationNote, read_publication, write_publication

logger = logging.getLogger("treadle.loader")

LOOK_SECONDS: Final = 0.5
"""Between two looks whether the file has changed."""

HOLD_SECONDS: Final = 1.0
"""Longest time in which a copy keeps the loader from opening the file."""

COPY_SECONDS_MAX: Final = 3600
"""Of a whole copy, by the clock and by the processor."""

FileMark = tuple[int, int, int]
"""Inode, time of the last change and size: another one means that a file was written to."""


@dataclass(slots=True)
class CopyPublisher:
    """Publishes one file; one thread uses it, and `close` may be called by any.

    Attributes:
        source: the file that rows are loaded into; it may be missing.
        target: where readers find the copy.
        pause_seconds: least time between the beginnings of two copies.
        note_path: the file that tells of the last copy.
        copy: makes a copy; raises TreadleError.
        clock: microseconds since 1970.
        monotonic: seconds.
    """

    source: Path
    target: Path
    pause_seconds: float
    note_path: Path
    copy: Callable[[CopyOrder], CopyReport]
    order: CopyOrder
    clock: Callable[[], int] = read_clock
    monotonic: Callable[[], float] = time.monotonic
    _published: FileMark | None = None
    _began_at: float | None = None
    _note: PublicationNote = field(init=False)

    def __post_init__(self) -> None:
        """Go on where the last process ended."""
        before = read_publication(self.note_path)
        is_same = before is not None and before.target == str(self.target)
        self._note = before if before is not None and is_same else PublicationNote(str(self.target))
        mark = read_mark(self.source)
        at = self._note.at
        if mark is not None and at is not None and at * 1000 > mark[1] and self.target.exists():
            self._published = mark

    def run(self, stop: threading.Event) -> None:
        """Publish after changes until `stop` is set; blocks."""
        while not stop.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception:
                # Loading and the next look go on.
                logger.exception("the copy for readers %s was not made", self.target)
                stop.wait(self.pause_seconds)

    def look(self) -> bool:
        """Make a copy if the file has changed and it is time; return whether it did."""
        now = self.monotonic()
        if self._began_at is not None and now - self._began_at < self.pause_seconds:
            return False
        mark = read_mark(self.source)
        if mark is None or mark == self._published:
            return False
        self._began_at, at = now, self.clock()
        try:
            report = self.copy(self.order)
        except TreadleError as error:
            self._note_failure(str(error), at)
            return False
        # What changed while it was copied is another mark, and copied the next time.
        self._published = mark
        was_failing = self._note.error is not None
        self._note = PublicationNote(
            str(self.target), at, report.bytes, report.seconds, report.held_seconds
        )
        write_publication(self.note_path, self._note)
        logger.log(
            logging.INFO if was_failing else logging.DEBUG,
            "published %s: %d bytes, %.3f s, loading held for %.3f s",
            self.target,
            report.bytes,
            report.seconds,
            report.held_seconds,
            extra={
                "fields": {
                    "file": str(self.target),
                    "bytes": report.bytes,
                    "seconds": report.seconds,
                    "held_seconds": report.held_seconds,
                }
            },
        )
        return True

    def _note_failure(self, why: str, at: int) -> None:
        if self._note.error != why:
            logger.warning(
                "the copy for readers %s cannot be made: %s; readers keep the last one; retrying "
                "in %.0f s",
                self.target,
                why,
                self.pause_seconds,
                extra={"fields": {"file": str(self.target), "reason": why}},
            )
        since = self._note.failing_since or at
        self._note = msgspec.structs.replace(self._note, error=why, failing_since=since)
        write_publication(self.note_path, self._note)


def read_mark(path: Path) -> FileMark | None:
    """Return what tells whether a file has changed; None where it is missing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class FileTask:
    """Runs the functions of `treadle.tasks.file_copy`, each in a process that ends with it."""

    def __init__(self) -> None:
        self._process = TaskProcess(patience_seconds=COPY_SECONDS_MAX)

    def publish(self, order: CopyOrder) -> CopyReport:
        """Copy a file for readers; raises TreadleError."""
        return self._run("publish_file", order)

    def release(self, order: CopyOrder) -> CopyReport:
        """Give a file that a reader holds another inode; raises TreadleError."""
        return self._run("release_file", order)

    def close(self) -> None:
        """End what is under way; any thread may call it."""
        self._process.kill_current()

    def _run(self, function: str, order: CopyOrder) -> CopyReport:
        payload = msgspec.json.encode(order)
        name = f"treadle.tasks.file_copy:{function}"
        try:
            done = self._process.run(TaskRequest(name, COPY_SECONDS_MAX, payload))
        finally:
            self._process.close()  # it is needed seldom, and takes memory
        return msgspec.json.decode(done, type=CopyReport)


def find_published_file(config: Config) -> Path | None:
    """Return the file that is published; None where the settings name none, or a server."""
    if config.publish is None:
        return None
    return make_destination(config.destination_url).file


def make_publisher(config: Config, task: FileTask) -> CopyPublisher | None:
    """Make what publishes the file of the settings; None where there is nothing to publish."""
    source = find_published_file(config)
    if source is None or config.publish is None:
        config.publication_path.unlink(missing_ok=True)  # of an earlier start
        return None
    order = CopyOrder(
        str(source),
        str(config.publish),
        hold_seconds=HOLD_SECONDS,
        reserve_bytes=config.disk_reserve_bytes,
    )
    return CopyPublisher(
        source,
        config.publish,
        config.publish_seconds,
        config.publication_path,
        task.publish,
        order,
    )


def make_file_releaser(config: Config) -> Callable[[Path], None]:
    """Make what gives a file that a reader holds another inode."""

    def release(file: Path) -> None:
        FileTask().release(
            CopyOrder(str(file), str(file), reserve_bytes=config.disk_reserve_bytes, mode=None)
        )

    return release
