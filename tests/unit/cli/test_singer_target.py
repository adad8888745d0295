"""`target-treadle` takes the config that Singer runners give."""

import errno
import json
import os
import sys
from pathlib import Path

import pytest

from treadle.cli.singer import print_state
from treadle.cli.singer_target import read_target_config, run_target
from treadle.errors import OperatorError


def test_a_config_becomes_flags_and_its_token_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_PUSH_TOKEN", "before")
    file = tmp_path / "config.json"
    config = {"url": "http://t", "token": "at_x", "loaded": True, "batch_records": 10, "other": 1}
    file.write_text(json.dumps(config | {"flush_seconds": None}))
    assert read_target_config(str(file)) == [
        "--loaded",
        "--url",
        "http://t",
        "--batch-records",
        "10",
    ]
    assert os.environ["TREADLE_PUSH_TOKEN"] == "at_x"
    assert read_target_config(None) == []


@pytest.mark.parametrize(
    ("content", "said"), [("[]", "is not a JSON object"), ("{", "is not JSON"), (None, "cannot be")]
)
def test_a_config_that_is_none_is_said(
    content: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.json"
    if content is not None:
        file.write_text(content)
    assert run_target(["--config", str(file)]) == 2
    assert said in capsys.readouterr().err


class FailingOutput:
    """Standard output that takes nothing."""

    def __init__(self, number: int) -> None:
        self._error = OSError(number, os.strerror(number))

    def write(self, _: str) -> None:
        raise self._error


def test_a_state_that_cannot_be_printed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", FailingOutput(errno.ENOSPC))
    with pytest.raises(OperatorError, match=r"standard output: No space left .* the last state"):
        print_state(b"{}")
    monkeypatch.setattr(sys, "stdout", FailingOutput(errno.EPIPE))
    with pytest.raises(BrokenPipeError):  # the program ends quietly, as others do in a pipe
        print_state(b"{}")
