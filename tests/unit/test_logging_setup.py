import json
import logging

from treadle.logging_setup import JsonFormatter, TextFormatter


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


def test_a_traceback_stays_on_its_line() -> None:
    record = line("failed")
    error = ValueError("why")
    record.exc_info = (type(error), error, None)
    text = JsonFormatter("loader").format(record)
    assert "\n" not in text
    assert "ValueError: why" in json.loads(text)["error"]
