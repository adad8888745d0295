import json
import logging
import sys
import threading
from pathlib import Path

import pytest

from treadle.config import Config
from treadle.errors import OperatorError
from treadle.logging_setup import JsonFormatter, LogFileHandler, TextFormatter, set_up_logging


def line(message: str, level: int = logging.INFO) -> logging.LogRecord:
    record = logging.LogRecord("treadle.loader", level, "file", 1, message, (), None)
    record.created, record.msecs = 1_767_225_600.25, 250.0
    return record


def test_a_line_for_people() -> None:
    assert TextFormatter("loader").format(line("loaded")) == (
        "2026-01-01T00:00:00.250Z INFO    loader: loaded"
    )


def test_a_line_for_collectors() -> None:
    assert json.loads(JsonFormatter("loader").format(line("loaded", logging.ERROR))) == {
        "time": "2026-01-01T00:00:00.250Z",
        "level": "error",
        "role": "loader",
        "logger": "treadle.loader",
        "message": "loaded",
    }


def test_fields_are_keys_of_a_line_for_collectors_and_replace_none() -> None:
    record = line("loaded shop.orders")
    record.__dict__["fields"] = {"source": "shop", "rows": 3, "message": "another", "error": "x"}
    told = json.loads(JsonFormatter("loader").format(record))
    assert (told["source"], told["rows"], told["error"]) == ("shop", 3, "x")
    assert told["message"] == "loaded shop.orders"
    assert TextFormatter("loader").format(record).endswith("loader: loaded shop.orders")


def test_a_log_file_is_opened_anew_once_it_was_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "treadle.log"
    handler = LogFileHandler(path)
    handler.setFormatter(TextFormatter("loader"))
    try:
        handler.emit(line("first \ud800"))
        path.rename(tmp_path / "treadle.log.1")
        handler.emit(line("second"))
        assert not path.exists()
        handler.request_reopening()
        handler.emit(line("third"))
        assert "third" in path.read_text()
        assert "second" in (tmp_path / "treadle.log.1").read_text()
        path.unlink()
        path.mkdir()
        handler.request_reopening()
        handler.emit(line("fourth"))  # goes to the file that is open
    finally:
        handler.close()


def test_a_log_file_that_cannot_be_opened_is_the_operators_fault(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"The log file .* cannot be opened: Is a directory"):
        set_up_logging(Config(data=tmp_path / "data", log_file=tmp_path))


def test_a_traceback_stays_on_its_line() -> None:
    record = line("failed")
    error = ValueError("why")
    record.exc_info = (type(error), error, None)
    text = JsonFormatter("loader").format(record)
    assert "\n" not in text
    assert "ValueError: why" in json.loads(text)["error"]


HOSTILE = "\x1b[2J\n2026-01-01T00:00:00.000Z INFO    loader: forged\u202e\x9b\ud800\u2028"


def test_a_message_cannot_begin_a_line_nor_command_a_terminal() -> None:
    shown = TextFormatter("loader").format(line(HOSTILE))
    assert len(shown.splitlines()) == 1
    assert shown.isprintable()
    assert "\\x1b[2J\\n2026" in shown


def test_a_traceback_for_people_keeps_its_lines_and_no_others() -> None:
    record = line("failed")
    error = ValueError(HOSTILE)
    record.exc_info = (type(error), error, None)
    shown = TextFormatter("loader").format(record)
    assert all(one.isprintable() for one in shown.split("\n"))
    assert "\\x1b[2J" in shown
    assert "\\u202e" in shown


def test_json_lines_are_exact_and_have_no_control_character() -> None:
    record = line(HOSTILE)
    error = ValueError(HOSTILE)
    record.exc_info = (type(error), error, None)
    shown = JsonFormatter("loader").format(record)
    assert shown.isprintable()
    assert json.loads(shown)["message"] == HOSTILE
    assert HOSTILE in json.loads(shown)["error"]


def test_an_error_that_nobody_caught_becomes_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.excepthook, threading.excepthook, logging.root.handlers[:], logging.root.level
    try:
        set_up_logging(Config(data=Path("x")), "worker")
        error = ValueError(HOSTILE)
        sys.excepthook(ValueError, error, None)
        thread = threading.Thread(target=lambda: int(HOSTILE))
        thread.start()
        thread.join()
    finally:
        sys.excepthook, threading.excepthook = before[:2]
        logging.root.handlers[:] = before[2]
        logging.root.setLevel(before[3])
    shown = capsys.readouterr().err
    assert shown.count("CRITICAL worker: an error was not expected") == 2
    assert all(one.isprintable() for one in shown.split("\n"))
