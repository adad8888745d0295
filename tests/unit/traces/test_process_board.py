import os
from pathlib import Path

import msgspec
import pytest

from treadle.traces.process_board import ProcessNote, list_process_uses, note_start

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")


def test_what_processes_use_is_measured(tmp_path: Path) -> None:
    folder = tmp_path / "processes"
    note_start(folder, "worker 1", 5_000_000)
    gone = ProcessNote("desk", 2**22 + 1, os.getppid(), 4_000_000, 1)
    (folder / "desk").write_bytes(msgspec.json.encode(gone))
    found = {one.name: one for one in list_process_uses(folder)}
    assert found.keys() == {"supervisor", "worker 1"}
    mine = found["worker 1"]
    assert mine.memory_bytes > 1_000_000
    assert mine.cpu_seconds > 0
    assert mine.open_files is not None
    assert mine.open_files >= 3
    assert mine.started == 5
