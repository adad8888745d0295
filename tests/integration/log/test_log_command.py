"""`treadle log stats`, `verify`, `cat` and `salvage`."""

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.faults.damage import append

from treadle.cli.main import main
from treadle.data_lock import take_lock
from treadle.log.protocol import NewEntry
from treadle.log.sqlite.log import SqliteReader
from treadle.log.sqlite.recovery.salvage import POSITION_GAP
from treadle.records.message_batch import MessageBatch, ValueForm, encode_batch
from treadle.records.transit import encoding


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.sqlite"
    append(path, [NewEntry(3, "orders", 1, 2, bytes([n]) * 40) for n in range(4)])
    return path


def test_stats_show_what_waits(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "stats", "--data", str(log.parent), "--json"]) == 0
    said = capsys.readouterr().out
    assert '"entries_waiting":4' in said.replace(" ", "")
    assert '"source":3,' in said.replace(" ", "")  # no store that knows its name
    assert main(["log", "stats", "--data", str(log.parent)]) == 0
    assert " used, " in capsys.readouterr().out


def test_verify_names_what_is_damaged(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "verify", "--data", str(log.parent)]) == 0
    assert capsys.readouterr().out == "4 entries are sound, 0 are damaged.\n"
    data = bytearray(log.read_bytes())
    connection = sqlite3.connect(log)
    connection.execute("UPDATE entries SET crc = crc + 1 WHERE position = 3")
    connection.commit()
    connection.close()
    assert main(["log", "verify", "--data", str(log.parent)]) == 2
    said = capsys.readouterr().out
    assert "entry 3 of 'orders', source 3, is damaged" in said
    assert said.endswith("3 entries are sound, 1 is damaged.\n")
    log.write_bytes(b"no log" + bytes(data)[6:])
    for command in ("verify", "stats", "cat"):
        assert main(["log", command, "--data", str(log.parent)]) == 2
        assert "`treadle log salvage`" in capsys.readouterr().err


def test_a_folder_without_a_log_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "verify", "--data", str(tmp_path)]) == 2
    assert "There is no log" in capsys.readouterr().err


def entry(source: int, table: str, data: bytes, count: int, form: ValueForm = "json") -> NewEntry:
    sequences = list(range(7, 7 + count))
    batch = MessageBatch(
        table, ("id",), form, b"", (), sequences, [0, 5][:count], None, [(1, 5)][: count - 1], data
    )
    return NewEntry(source, table, 1_700_000_000_000_000, count, encode_batch(batch))


@pytest.fixture
def full(tmp_path: Path) -> Path:
    path = tmp_path / "log.sqlite"
    typed_record = encoding.encode_records(
        [{"id": 3, "at": encoding.make_instant(1_500_000, "1970")}]
    )
    append(
        path,
        [
            entry(3, "orders", b'[{"id": 1.50,\n"a": "\\ud800"},{"id": 2}]', 2),
            entry(4, "events", typed_record, 1, "transit"),
            entry(3, "orders", b'[{"id": 4}]', 1),
        ],
    )
    reader = SqliteReader(path)
    reader.mark_loaded(3, "orders", 1)
    reader.close()
    return path


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["log", "cat", *arguments]) in (0, 2)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_cat_prints_entries_by_source_table_and_position(
    full: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", str(full.parent))
    every = lines(capsys, *data)
    assert [(one["position"], one["source"], one["table"]) for one in every] == [
        (1, 3, "orders"),
        (3, 3, "orders"),
        (2, 4, "events"),
    ]
    assert every[0] == {
        "position": 1,
        "source": 3,
        "table": "orders",
        "received_at": "2023-11-14T22:13:20Z",
        "records": 2,
        "bytes": len(entry(3, "orders", b'[{"id": 1.50,\n"a": "\\ud800"},{"id": 2}]', 2).payload),
        "waiting": False,
    }

    def positions(*arguments: str) -> list[int]:
        return [one["position"] for one in lines(capsys, *data, *arguments)]

    assert positions("--source", "4") == [2]
    assert positions("--table", "orders", "--from", "2") == [3]
    assert positions("--to", "1") == [1]
    assert positions("--waiting") == [3, 2]
    assert main(["log", "cat", *data, "--from", "one"]) == 2
    assert "--from is to be a position" in capsys.readouterr().err


def test_cat_prints_records_as_they_were_sent(
    full: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", str(full.parent))
    capsys.readouterr()
    assert main(["log", "cat", *data, "--records", "--to", "1"]) == 0
    head = '{"position":1,"source":3,"table":"orders",'
    assert capsys.readouterr().out.splitlines() == [
        head + '"record":0,"sequence":7,"key_names":["id"],"data":{"id": 1.50, "a": "\\ud800"}}',
        head + '"activate_version":5}',
        head + '"record":1,"sequence":8,"key_names":["id"],"version":5,"data":{"id": 2}}',
    ]
    [found] = lines(capsys, *data, "--records", "--source", "4")
    assert found["data"] == {"id": 3, "at": "1970-01-01T00:00:01.500000Z"}


def test_cat_names_what_is_damaged(full: Path, capsys: pytest.CaptureFixture[str]) -> None:
    connection = sqlite3.connect(full)
    connection.execute("UPDATE entries SET crc = crc + 1 WHERE position = 3")
    connection.commit()
    connection.close()
    capsys.readouterr()
    assert main(["log", "cat", "--data", str(full.parent), "--records", "--from", "2"]) == 2
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "checksum" in said[0]["damaged"]
    assert said[1]["position"] == 2


def test_salvage_puts_a_damaged_log_aside_and_never_beside_a_server(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", str(log.parent))
    assert main(["log", "salvage", *data]) == 0
    assert "nothing was done" in capsys.readouterr().out
    assert not list(log.parent.glob("*.damaged-*"))

    held = take_lock(log.parent / "treadle.lock")
    log.write_bytes(b"no log" + log.read_bytes()[6:])
    assert main(["log", "salvage", *data]) == 2
    assert "stop it first" in capsys.readouterr().err
    os.close(held)

    assert main(["log", "salvage", *data]) == 0
    said = capsys.readouterr().out
    assert "4 entries were carried over, 0 are damaged." in said
    assert (log.parent / "log.sqlite.damaged-1").exists()
    assert main(["log", "verify", *data]) == 0
    assert [one["position"] for one in lines(capsys, *data)] == [1, 2, 3, 4]

    assert main(["log", "salvage", "--anyway", *data]) == 0
    assert (log.parent / "log.sqlite.damaged-2").exists()
    assert main(["log", "verify", *data]) == 0
    # Places that a database may have seen while a later copy of this log was there are passed by.
    assert append(log, [NewEntry(3, "orders", 1, 1, b"new")]) > POSITION_GAP
