"""Writes the locked versions beside a wheel, for those who install it without this repository.

`make wheel` runs it. There are two files, made of `run.txt`:

- `treadle-VERSION.constraints.txt`: the versions that were tested together, for `pip install -c`.
  It installs nothing by itself, so the extras stay a choice.
- `treadle-VERSION.locked.txt`: all versions with the hashes of all their files, and the wheel with
  its own, for `pip install --require-hashes --find-links FOLDER -r`.

    python requirements/write_wheel_locks.py FOLDER
"""

import hashlib
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
HASH: Final = "    --hash=sha256:"


def make_constraints(lock: str) -> str:
    """Return the versions of a lock without their hashes."""
    lines = [line.removesuffix(" \\") for line in lock.splitlines()]
    kept = [line for line in lines if not line.startswith((HASH, "#"))]
    return "\n".join(["# The versions that were tested together.", *kept, ""])


def add_wheel(lock: str, version: str, sha256: str) -> str:
    """Return a lock that installs treadle as well, from a wheel with this digest."""
    lines = [line for line in lock.splitlines() if not line.startswith("#")]
    first = "# All that a server is made of, with the hashes of all files."
    return "\n".join([first, *lines, f"treadle=={version} \\", f"{HASH}{sha256}", ""])


def main(folder: Path) -> int:
    """Write the files beside the only wheel of a folder."""
    [wheel] = folder.glob("treadle-*.whl")
    version = wheel.name.split("-")[1]
    lock = (HERE / "run.txt").read_text()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / f"treadle-{version}.constraints.txt").write_text(make_constraints(lock))
    (folder / f"treadle-{version}.locked.txt").write_text(add_wheel(lock, version, digest))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
