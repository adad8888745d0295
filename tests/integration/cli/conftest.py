"""Commands run in this process on a data folder of their own."""

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from treadle.cli.main import main


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


Treadle = Callable[..., Done]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("TREADLE_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "data"
    monkeypatch.setenv("TREADLE_DATA", str(folder))
    return folder


@pytest.fixture(autouse=True)
def kept_logging() -> Iterator[None]:
    """A server that refuses to start has set up this process, for lines to a stream that ends."""
    handlers, level = logging.root.handlers[:], logging.root.level
    hooks = sys.excepthook, threading.excepthook
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    sys.excepthook, threading.excepthook = hooks


@pytest.fixture
def treadle(data: Path, capsys: pytest.CaptureFixture[str]) -> Treadle:
    """Run one command; its words may be given in one string or each by itself."""

    def run(line: str, *words: str) -> Done:
        capsys.readouterr()
        code = main([*line.split(), *words])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run
