"""`tap | treadle singer`, with kill -9 of each side: no record is lost or doubled."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest
from tests.servers.treadle import PATIENCE_SECONDS, Client, TreadleServer, eventually

BLOCK = 60
"""Records that the tap prints at a time, before a state."""

TAP = f"""
import json, os, sys
first = json.loads(sys.argv[1])
def say(message, end="\\n"):
    sys.stdout.write(json.dumps(message) + end)
at = {{"type": "string", "format": "date-time"}}
say({{"type": "SCHEMA", "stream": "orders", "key_properties": ["id"],
     "schema": {{"properties": {{"id": {{"type": "integer"}}, "at": at}}}}}})
for word in sys.stdin:
    for number in range(first, first + {BLOCK}):
        record = {{"id": number, "at": "2026-01-01T00:00:00Z", "note": "x" * (number % 50)}}
        say({{"type": "RECORD", "stream": "orders", "record": record}})
    first += {BLOCK}
    if word == "half\\n":
        sys.stdout.write('{{"type": "REC')
        sys.stdout.flush()
        os.kill(os.getpid(), 9)
    else:
        say({{"type": "STATE", "value": first}})
    sys.stdout.flush()
"""


class Pipeline:
    """A tap and a target. The tap prints a block of records for each word on its standard input."""

    def __init__(self, server: TreadleServer, token: str, states: Path, *words: str) -> None:
        environment = {
            **os.environ,
            "TREADLE_DATA": str(server.data),
            "TREADLE_PUSH_URL": server.url,
            "TREADLE_PUSH_TOKEN": token,
        }
        self._states = states
        self._out = states.open("a")
        self.tap = subprocess.Popen(
            [sys.executable, "-c", TAP, str(self.read_state())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.target = subprocess.Popen(
            [sys.executable, "-m", "treadle", "singer", "--flush-seconds", "0", *words],
            stdin=self.tap.stdout,
            stdout=self._out,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        assert self.tap.stdout is not None
        self.tap.stdout.close()

    def read_state(self) -> int:
        """The last whole state that was emitted."""
        lines = self._states.read_text().splitlines(keepends=True) if self._states.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        return json.loads(whole[-1]) if whole else 0

    def say(self, word: str) -> None:
        control: IO[str] | None = self.tap.stdin
        assert control is not None
        control.write(word + "\n")
        control.flush()

    def wait_for_state(self, least: int) -> None:
        eventually(lambda: self.read_state() >= least, PATIENCE_SECONDS)

    def end(self) -> tuple[int, str]:
        """Let the tap end, and wait for the target; its exit code and what it said."""
        assert self.tap.stdin is not None
        self.tap.stdin.close()
        self.tap.wait(PATIENCE_SECONDS)
        _, said = self.target.communicate(timeout=PATIENCE_SECONDS)
        self._out.close()
        return self.target.returncode, said


@pytest.mark.slow
def test_no_record_is_lost_or_doubled_whoever_is_killed(tmp_path: Path) -> None:
    states = tmp_path / "states"
    with TreadleServer(tmp_path / "data") as server:
        _, token = Client(server, *server.account()).create_source("shop")

        run = Pipeline(server, token, states)
        run.say("go")
        run.wait_for_state(BLOCK)
        run.say("go")
        run.target.kill()
        run.target.wait()
        run.tap.kill()
        run.end()
        assert run.read_state() in (BLOCK, 2 * BLOCK)

        run = Pipeline(server, token, states)
        begun = run.read_state()
        run.say("go")
        run.wait_for_state(begun + BLOCK)
        run.say("half")
        code, said = run.end()
        assert (code, run.read_state()) == (2, begun + BLOCK)
        assert "ends in the middle of line" in said

        run = Pipeline(server, token, states, "--loaded")
        begun = run.read_state()
        run.say("go")
        run.wait_for_state(begun + BLOCK)
        found = server.query(f"select count(*) as n from shop.orders where id < {begun + BLOCK}")
        assert found == [{"n": begun + BLOCK}], "what a state covers can be queried"
        server.kill()
        run.say("go")
        server.start()
        run.wait_for_state(begun + 2 * BLOCK)
        code, said = run.end()
        assert code == 0, said
        assert f"{2 * BLOCK} records of 1 stream are loaded" in said

        expected: list[dict[str, Any]] = [
            {"id": number, "size": number % 50} for number in range(begun + 2 * BLOCK)
        ]
        rows = server.query("select id, length(note) as size from shop.orders order by id")
        assert rows == expected
        types = server.query('select distinct typeof("at") as kind from shop.orders')
        assert types == [{"kind": "TIMESTAMP WITH TIME ZONE"}]
