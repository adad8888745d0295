"""A writing process that is killed: what it acknowledged is there, once."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from treadle.log.protocol import LogEntry
from treadle.log.sqlite.log import SqliteReader

WRITER = """
import asyncio, os, sys
from pathlib import Path
from treadle.log.sqlite.log import SqliteAppender
from treadle.log.protocol import NewEntry

async def main(path, life):
    appender = SqliteAppender(Path(path))
    async def one(task):
        number = 0
        while True:
            label = f"{life} {task} {number}"
            given = [NewEntry(1, f"t{task % 3}", 1, 1, label.encode() + b"." * (number % 3000))] * 2
            position = await appender.append(given)
            os.write(1, f"{position} {label}\\n".encode())
            number += 1
    await asyncio.gather(*[one(task) for task in range(16)])

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def test_what_was_acknowledged_survives_a_kill(log_path: Path) -> None:
    dice = random.Random(11)
    acknowledged: dict[int, str] = {}
    for life in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(log_path), str(life)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        heard = [process.stdout.readline() for _ in range(dice.randrange(25, 200))]
        assert all(heard)
        os.kill(process.pid, signal.SIGKILL)
        with process:
            # Not by `communicate`, which passes over what was read ahead of the lines above.
            rest = process.stdout.read()
        lines = (b"".join(heard) + rest).decode().split("\n")
        for line in lines[:-1]:  # the last may be cut short
            position, _, label = line.partition(" ")
            assert int(position) not in acknowledged
            acknowledged[int(position)] = label
    reader = SqliteReader(log_path)
    found = reader.find_entries(1, 10**9)
    reader.close()
    assert len(acknowledged) > 100
    entries = {one.position: one for one in found if isinstance(one, LogEntry)}
    assert len(entries) == len(found)
    labels: dict[str, list[int]] = {}
    for one in entries.values():
        labels.setdefault(one.payload.decode().rstrip("."), []).append(one.position)
    for place, label in acknowledged.items():
        assert sorted(labels[label]) == [place, place + 1]
    # What was not acknowledged is there whole or not at all, and nothing is there twice.
    assert all(len(places) == 2 for places in labels.values())
    assert sorted(entries) == list(range(1, len(entries) + 1))
