"""What the children of a server say and do when it is killed while they start."""

import subprocess
import sys
from pathlib import Path


def test_children_of_a_server_killed_at_its_start_end_in_order(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "treadle", "serve", "--port", "0"]
    command += ["--data", str(tmp_path / "data")]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if "loader started" in line:  # the last of them; all have their orders
                break
        else:
            raise AssertionError("the server did not start its children")
        server.kill()
        said = server.stderr.read()  # ends when the last child has ended
    assert "Error" not in said
    assert said.count("the supervisor is gone; stopping") == 2
