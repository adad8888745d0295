"""Types lines into a shell, as a person does who follows the guide."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None and os.environ.get("CI") != "true",
    reason="curl is not installed, and the guide is made of it",
)


def patient(lines: str) -> str:
    """The guide's lines with a wait for the row in place of the two seconds it gives the loader.

    They are plenty for a person, and too few for a machine that runs other tests beside.
    """
    begin, sleep, rest = lines.partition("sleep 2; ")
    query, newline, end = rest.partition("\n")
    assert sleep, lines
    assert newline, lines
    wait = f'until ROWS=$({query}) && echo "$ROWS" | grep -q Ann; do sleep 0.1; done; echo "$ROWS"'
    return begin + wait + newline + end


def typed(
    lines: str, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> str:
    """What the lines print; `treadle` is found on the PATH. The first that fails ends them."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-e"],
        input=lines,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=folder,
        env={**os.environ, "PATH": path, **(environment or {})},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
