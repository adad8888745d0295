"""A tap of the package index into `treadle singer`, and `meltano run`, killed amid their records.

    python -m tests.clients.killed_runs          # both, into each kind of destination
    python -m tests.clients.killed_runs pipe     # or meltano

Each side is killed with -9 while a part of the records is there, and the run is repeated with the
state that was emitted. In the end every record is in the table once. Needs what `by_the_page` does.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tests.clients.by_the_page import (
    PageRun,
    PublishedTap,
    find_plugins,
    main,
    make_environment,
    run_client,
    write_project,
)
from tests.servers.processes import children
from tests.servers.treadle import PATIENCE_SECONDS, eventually

FILES: Final = 8
FILE_ROWS: Final = 30_000
ROWS: Final = FILES * FILE_ROWS
"""Many enough that a run is still going on when its first records are seen in the table."""


def write_csv_files(folder: Path, _: Path) -> None:
    """Some files of comma separated values; the tap emits a state behind each."""
    for file in range(FILES):
        numbers = range(file * FILE_ROWS, (file + 1) * FILE_ROWS)
        rows = "".join(f"{number},Ann {number}\r\n" for number in numbers)
        (folder / f"rows{file}.csv").write_text("id,name\r\n" + rows, newline="")


TAP: Final = PublishedTap(
    "tap-csv-folder==0.0.1a1",
    lambda folder: {"path": str(folder), "filesystem": "local", "read_mode": "merge"},
    write_csv_files,
    ("_sdc_line_number", "_sdc_path", "_sdc_modified_at"),
    ("state",),  # this version ends with an error where it is given a catalog
)
"""`tap-csv` itself is in no package index. This one reads the same files, and keeps a state."""


def write_rows(run: PageRun, stream: str) -> tuple[Path, dict[str, Any]]:
    """Write the files; the programs of the tap, and its config."""
    programs = make_environment(run.shelf / TAP.name, TAP.package)
    files = run.folder / f"{stream}-rows"
    files.mkdir()
    TAP.write(files, programs)
    return programs, TAP.config(files) | {"stream_name": stream}


def count_accepted(run: PageRun, table: str) -> int:
    """Records of a table that were accepted in all runs; the file of DuckDB need not be free."""
    lines = json.loads(run.server.treadle("ledger", "--json"))
    return sum(line["accepted"] for line in lines if line["table"] == table)


def wait_for_some(run: PageRun, table: str, before: int, runs: Callable[[], bool]) -> None:
    """Wait until a run has brought some records, and see that it has not brought all."""
    eventually(lambda: count_accepted(run, table) > before or not runs(), PATIENCE_SECONDS)
    assert runs(), "the run was over before it could be killed"


def expect_all_once(run: PageRun, table: str) -> None:
    """Every record of the files is a row with its values, once."""
    run.expect(table, ROWS)
    query = (
        "select count(distinct id) as ids, count(distinct _sdc_path) as files, "
        "sum(case when name = 'Ann ' || id then 1 else 0 end) as right_ones "
        f'from import_api."{table}"'
    )
    [found] = run.server.query(query)
    assert {name: int(value) for name, value in found.items()} == {
        "ids": ROWS,
        "files": FILES,
        "right_ones": ROWS,
    }


class KilledPipe:
    """`tap --state FILE | treadle singer >> states`."""

    def __init__(self, run: PageRun, programs: Path, config: dict[str, Any]) -> None:
        self._run = run
        self._tap = programs / TAP.name
        self._config = run.folder / "pipe.json"
        self._config.write_text(json.dumps(config))
        self._state = run.folder / "pipe-state.json"
        self._states = run.folder / "pipe-states.jsonl"
        self._states.touch()

    def start(self) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
        """The tap and the target, from the last state that came out whole."""
        words: list[Path | str] = [self._tap, "--config", self._config]
        if state := self.read_state():
            self._state.write_text(state)
            words += ["--state", self._state]
        tap = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        server = self._run.server
        target_words = [sys.executable, "-m", "treadle", "singer", "--data", str(server.data)]
        with self._states.open("ab") as states:
            target = subprocess.Popen(
                [*target_words, "--batch-records", "2000"],
                stdin=tap.stdout,
                stdout=states,
                stderr=subprocess.PIPE,
                env={
                    **os.environ,
                    "TREADLE_PUSH_URL": server.url,
                    "TREADLE_PUSH_TOKEN": self._run.token,
                },
            )
        assert tap.stdout is not None
        tap.stdout.close()
        return tap, target

    def read_state(self) -> str:
        """The last whole line of what the target printed; empty for none."""
        lines = self._states.read_text().splitlines(keepends=True)
        return next((line for line in reversed(lines) if line.endswith("\n")), "")


def run_pipe(run: PageRun) -> None:
    """Kill the tap, then the target, and let a third run come to its end."""
    table = "killed_pipe"
    pipe = KilledPipe(run, *write_rows(run, table))
    for victim in range(2):
        before = count_accepted(run, table)
        started = pipe.start()
        target = started[1]
        wait_for_some(run, table, before, lambda target=target: target.poll() is None)  # type: ignore[misc]
        started[victim].kill()
        for process in started:
            process.wait(PATIENCE_SECONDS)
        _, said = target.communicate()
        # 2 where the output of the killed tap ended within a line, which nobody can arrange.
        assert victim or target.returncode in (0, 2), said.decode()
        assert count_accepted(run, table) - before < ROWS, "all was sent before the kill"
    tap, target = pipe.start()
    _, said = target.communicate(timeout=PATIENCE_SECONDS)
    assert (tap.wait(PATIENCE_SECONDS), target.returncode) == (0, 0), said.decode()
    expect_all_once(run, table)
    bookmarks = json.loads(pipe.read_state())["bookmarks"][table]["partitions"]
    assert len(bookmarks) == FILES


def run_meltano(run: PageRun) -> None:
    """Kill the target, the tap, then all of `meltano run`, and let a fourth run come to its end."""
    table = "killed_meltano"
    programs = make_environment(run.shelf / "meltano", "meltano")
    project = run.folder / table
    write_project(project, find_plugins(run), TAP, write_rows(run, table)[1])
    environment = {"TARGET_TREADLE_TOKEN": run.token}
    run_client([programs / "meltano", "install"], environment=environment, folder=project)
    words = [str(programs / "meltano"), "run", "--force", TAP.name, "target-treadle"]
    for victim in ("target-treadle", TAP.name, ""):
        before = count_accepted(run, table)
        log = run.folder / "meltano.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                words,
                cwd=project,
                env={**os.environ, **environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_for_some(run, table, before, lambda process=process: process.poll() is None)  # type: ignore[misc]
            if victim:
                os.kill(find_child(process.pid, victim), signal.SIGKILL)
                assert process.wait(PATIENCE_SECONDS) != 0
        except AssertionError as error:
            raise AssertionError(f"{error}: {log.read_text()[-4000:]}") from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert count_accepted(run, table) - before < ROWS, "all was sent before the kill"
    run_client([*words], environment=environment, folder=project)
    expect_all_once(run, table)
    state = run_client(
        [programs / "meltano", "state", "get", f"dev:{TAP.name}-to-target-treadle"],
        environment=environment,
        folder=project,
    )
    kept = json.loads(state)["singer_state"]["bookmarks"][table]["partitions"]
    assert len(kept) == FILES


def find_child(parent: int, program: str) -> int:
    """The process below another one that runs a program."""
    for child in children(parent):
        with suppress(OSError):
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            if any(Path(word.decode()).name == program for word in words[:2]):
                return child
    raise AssertionError(f"{program} does not run")


CLIENTS: Final[Mapping[str, Callable[[PageRun], None]]] = {
    "pipe": run_pipe,
    "meltano": run_meltano,
}


if __name__ == "__main__":
    main(CLIENTS, sys.argv[1:])
