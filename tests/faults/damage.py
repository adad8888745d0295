"""`python -m tests.faults.damage`: every byte of a sample log flipped, and every length cut.

A cycle is one bit of each byte of the file, or one length. With fewer cycles than there are bytes,
bytes and lengths are taken at equal distances. The log is opened as the server does it: mended,
read to the end, and appended to.
"""

import argparse
import asyncio
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.command import Tally, command, folder

from treadle.log.protocol import (
    AppendResult,
    DamagedEntry,
    IdempotencyKey,
    LogEntry,
    NewEntry,
    TrimPoint,
)
from treadle.log.salvage_report import KnownLog
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.log.sqlite.recovery.salvage import repair_log

TABLES = ("orders", "events", "é")
PAGE = 4096
NAME = IdempotencyKey(b"name" * 8, b"asks" * 8)


@dataclass(frozen=True)
class Sample:
    """A log that was closed, and what it held."""

    data: bytes
    log_id: str
    entries: dict[int, LogEntry]
    loaded: dict[tuple[int, str], int]
    _pages: dict[int, set[int]] = field(default_factory=dict)

    def on_page(self, page: int) -> set[int]:
        """Entries of which any part lies on a page."""
        if page not in self._pages:
            self._pages[page] = on_page(self, page)
        return self._pages[page]

    @property
    def waiting(self) -> dict[int, LogEntry]:
        """Entries that are not loaded."""
        return {
            position: entry
            for position, entry in self.entries.items()
            if position > self.loaded.get((entry.source_id, entry.table_name), 0)
        }


def append(path: Path, entries: list[NewEntry]) -> int:
    """Append, close, and give the first position."""

    async def run() -> int:
        appender = SqliteAppender(path)
        try:
            return await appender.append(entries)
        finally:
            await appender.aclose()

    return asyncio.run(run())


def append_once(path: Path, entry: NewEntry, names: Sequence[IdempotencyKey]) -> list[AppendResult]:
    """Append an entry under each name, all at once, and close."""

    async def run() -> list[AppendResult]:
        appender = SqliteAppender(path)
        try:
            return await asyncio.gather(*[appender.append_once([entry], name) for name in names])
        finally:
            await appender.aclose()

    return asyncio.run(run())


def sample(path: Path, dice: random.Random) -> Sample:
    """Small and large entries of three tables, some loaded, some removed; the last has a name."""
    made = [
        NewEntry(1 + n % 2, TABLES[n % 3], 1_700_000_000_000_000 + n, n, dice.randbytes(size))
        for n, size in enumerate([30, 200, 5000, 90, 40, 700, 12_000, 60, 350, 20, 80, 100])
    ]
    append(path, made[:-1])
    append_once(path, made[-1], [NAME])
    loaded = {(1, "orders"): 1, (2, "events"): 2}
    reader = SqliteReader(path)
    for key, position in loaded.items():
        reader.mark_loaded(*key, position)
    reader.trim([TrimPoint(1, "orders", 1)])
    entries = {
        one.position: one for one in reader.find_entries(1, 100) if isinstance(one, LogEntry)
    }
    log_id = reader.log_id
    reader.close()
    return Sample(path.read_bytes(), log_id, entries, loaded)


def examined(path: Path, given: Sample, damage: range) -> list[str]:
    """Open a damaged file as the server does; what is wrong with what it then gives."""
    gone = path.stat().st_size == 0  # then the server says so, and begins a new log
    salvaged = repair_log(path, KnownLog(given.log_id, given.loaded))
    named = {p for ones in salvaged.damaged_positions.values() for p in ones} if salvaged else set()
    found: dict[int, LogEntry] = {}
    wrong: list[str] = []
    reader = SqliteReader(path)
    try:
        if (reader.log_id != given.log_id) != gone:
            wrong.append(f"the log has another name: {reader.log_id}")
        for backlog in reader.list_backlogs():
            key = (backlog.source_id, backlog.table_name)
            # From where the destination stands.
            after = given.loaded.get(key, -1)
            while items := reader.read(*key, after, 10**6, 10**9):
                for one in items:
                    if isinstance(one, DamagedEntry):
                        named.add(one.position)
                    elif one != given.entries.get(one.position):
                        wrong.append(f"entry {one.position} passes for sound")
                    elif one.position in found:
                        wrong.append(f"entry {one.position} is given twice")
                    else:
                        found[one.position] = one
                after = items[-1].position
    finally:
        reader.close()
    missing = given.waiting.keys() - found.keys()
    if salvaged is None and len(damage):
        wrong += [f"entry {p} is lost and nobody says so" for p in missing - named]
    if len(damage) == 1:
        page = damage[0] // PAGE
        there = given.on_page(page)
        wrong += [f"entry {p} is lost, of another page" for p in missing - there]
    new = NewEntry(1, "orders", 1, 1, b"new")
    told = append_once(path, new, [IdempotencyKey(bytes(32), bytes(32)), NAME] * 2)
    if told[0].duplicate or (told[0].first <= max(given.entries) and not gone):
        wrong.append(f"a new request is told to be at {told[0]}")
    for earlier, again in zip(told[:2], told[2:], strict=True):
        if not again.duplicate or again.first != earlier.first:
            wrong.append(f"a request that came twice is in the log at {earlier} and {again}")
    return wrong


def on_page(given: Sample, page: int) -> set[int]:
    """Entries any part of which lies on a page: those whose stored bytes change with it."""
    raw = given.data[page * PAGE : (page + 1) * PAGE]
    return {
        position
        for position, entry in given.entries.items()
        if any(
            entry.payload[start : start + 12] in raw
            for start in range(0, max(1, len(entry.payload) - 12), 8)
        )
    }


def run(arguments: argparse.Namespace, tally: Tally) -> None:
    """Half of the cycles flip, half cut."""
    dice = random.Random(arguments.seed)
    with folder() as path:
        file = path / "log.sqlite"
        given = sample(file, dice)
        size = len(given.data)
        step = max(1, 2 * size // arguments.cycles)
        for place in range(dice.randrange(step), size, step):
            copy = bytearray(given.data)
            copy[place] ^= 1 << dice.randrange(8)
            trial(path, bytes(copy), given, range(place, place + 1), f"byte {place}", tally)
            tally.add(**{"bytes flipped": 1})
        for length in range(dice.randrange(step), size, step):
            trial(path, given.data[:length], given, range(0), f"length {length}", tally)
            tally.add(lengths=1)


def trial(path: Path, data: bytes, given: Sample, damage: range, title: str, tally: Tally) -> None:
    """One damaged file."""
    for old in path.iterdir():
        old.unlink()
    file = path / "log.sqlite"
    file.write_bytes(data)
    try:
        wrong = examined(file, given, damage)
    except Exception as error:  # noqa: BLE001 - whatever it is, the server would not start
        wrong = [f"it cannot be used: {error!r}"]
    tally.note(title, wrong)


if __name__ == "__main__":
    sys.exit(command("damage", str(__doc__), run, cycles=2000))
