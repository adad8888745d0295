"""`treadle log stats` and `treadle log verify`."""

import sqlite3
from pathlib import Path

import pytest
from tests.faults.damage import append

from treadle.cli.main import main
from treadle.log.protocol import NewEntry


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.sqlite"
    append(path, [NewEntry(3, "orders", 1, 2, bytes([n]) * 40) for n in range(4)])
    return path


def test_stats_show_what_waits(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "stats", "--data", str(log.parent), "--json"]) == 0
    said = capsys.readouterr().out
    assert '"entries_waiting":4' in said.replace(" ", "")
    assert main(["log", "stats", "--data", str(log.parent)]) == 0
    assert "The log holds" in capsys.readouterr().out


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
    assert said.endswith("3 entries are sound, 1 are damaged.\n")
    log.write_bytes(b"no log" + bytes(data)[6:])
    assert main(["log", "verify", "--data", str(log.parent)]) == 2
    assert "start treadle again" in capsys.readouterr().err


def test_a_folder_without_a_log_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "verify", "--data", str(tmp_path)]) == 2
    assert "There is no log" in capsys.readouterr().err
