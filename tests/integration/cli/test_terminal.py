"""What a person at a terminal sees."""

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import Treadle
from tests.integration.cli.import_server import Answer, ImportServer


@pytest.fixture
def on_a_terminal(data: Path, treadle: Treadle) -> Any:
    """Run a command with standard error at a terminal; returns its exit code, output, and what
    the terminal showed.
    """

    def run(*words: str) -> tuple[int, str, str]:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "treadle", *words],
            stdout=subprocess.PIPE,
            stderr=theirs,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "160"},
        )
        os.close(theirs)
        shown = b""
        while part := _read(ours):
            shown += part
        os.close(ours)
        out, _ = process.communicate()
        return process.returncode, out, shown.decode()

    return run


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's way to say that the other side is closed
        return b""


def test_a_push_shows_a_bar_on_the_terminal_and_one_line_in_the_pipe(
    tmp_path: Path, treadle: Treadle, on_a_terminal: Any
) -> None:
    file = tmp_path / "records"
    file.write_text("".join(f'{{"id":{n}}}\n' for n in range(2_000)))
    treadle("account create")
    treadle("source create Orders")
    with ImportServer() as server:
        server.answers.extend([Answer(201, b'{"status":"OK"}')] * 10)
        server.answers.append(Answer(503, headers={"Retry-After": "1"}))
        code, out, shown = on_a_terminal(
            *("push", str(file), "--table", "t", "--key", "id", "--url", server.url),
            *("--batch-records", "100", "--connections", "1"),
        )
    assert code == 0
    assert out.startswith("Pushed 2,000 records to t in ")
    assert out.count("\n") == 1
    assert "1,000 records" in shown
    assert "50%" in shown
    assert "/s" in shown
    assert f"waiting: {server.url} answers 503" in shown
