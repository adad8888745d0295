"""Writes the lock files of this folder: every version, with the hashes of all its files.

`make lock` runs it. The versions hold for Python 3.11 and newer on every system; uv works out the
markers. A file names only what it needs beyond the file that it begins with, so that each version
and its hashes stand in one place.

    python requirements/write_locks.py UV [--keep]
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
PROJECT: Final = HERE.parent / "pyproject.toml"
PYTHON: Final = "3.11"
INSTALLERS: Final = ("pip",)
"""What an environment is filled with. Those that come with Python are old."""


@dataclass(frozen=True)
class LockFile:
    """One file.

    Attributes:
        name: of the file, without `.txt`.
        extras: of the project, beside what it always needs.
        base: the file that it begins with; None for none.
        alone: the extra by itself, for a tool in an environment of its own.
        apart: its versions need not be those of the others, either.
    """

    name: str
    extras: tuple[str, ...]
    base: str | None = None
    alone: bool = False
    apart: bool = False


DRIVERS: Final = ("bigquery", "clickhouse", "files", "iceberg", "mysql", "postgres", "redshift")
"""The extras of destinations."""

LOCKS: Final = (
    LockFile("run", DRIVERS),
    LockFile("test", (*DRIVERS, "test"), "run"),
    LockFile("browser", (*DRIVERS, "test", "browser"), "test"),
    LockFile("chdb", (*DRIVERS, "test", "chdb"), "test"),
    LockFile("lint", (*DRIVERS, "test", "lint"), "test"),
    LockFile("fuzz", (*DRIVERS, "fuzz"), "run"),
    LockFile("bqemulator", ("bqemulator",), alone=True, apart=True),
    LockFile("snowflake", (*DRIVERS, "test", "snowflake"), "test"),
    LockFile("fakesnow", ("fakesnow", "snowflake"), alone=True),
    LockFile("sbom", ("sbom",), alone=True),
    LockFile("sqlglot", ("sqlglot",), alone=True),
    LockFile("lock", ("lock",), alone=True),
    LockFile("node", ("node",), alone=True),
)


def main() -> int:
    """Resolve everything once, and then write each file with these versions."""
    parser = argparse.ArgumentParser(description="write the lock files")
    parser.add_argument("uv", help="the program uv")
    parser.add_argument("--keep", action="store_true", help="keep versions that still fit")
    arguments = parser.parse_args()
    project = tomllib.loads(PROJECT.read_text())
    extras: dict[str, list[str]] = project["project"]["optional-dependencies"]
    always: list[str] = project["project"]["dependencies"]
    building = [*project["build-system"]["requires"], *INSTALLERS]
    apart = {name for lock in LOCKS if lock.apart for name in lock.extras}
    shared = [one for name, extra in extras.items() if name not in apart for one in extra]
    everything = [*building, *always, *shared]
    with tempfile.TemporaryDirectory() as scratch:
        versions = Path(scratch) / "versions.txt"
        if arguments.keep:
            versions.write_text("\n".join(read_versions(apart=False)))
        compile_lock(arguments.uv, everything, output=versions)
        blocks = {"build": compile_lock(arguments.uv, building, versions)}
        write_lock("build", None, blocks["build"])
        for lock in LOCKS:
            wanted = [one for extra in lock.extras for one in extras[extra]]
            wanted += [] if lock.alone else always
            its = versions
            if lock.apart:
                its = Path(scratch) / f"{lock.name}.txt"
                if arguments.keep:
                    its.write_text("\n".join(read_versions(apart=True)))
                compile_lock(arguments.uv, wanted, output=its)
            found = compile_lock(arguments.uv, wanted, its)
            base = lock.base
            blocks[lock.name] = found
            while base is not None:
                found = [block for block in found if block not in blocks[base]]
                base = next(one.base for one in LOCKS if one.name == base)
            write_lock(lock.name, lock.base, found)
    return 0


def read_versions(*, apart: bool) -> list[str]:
    """Return what the files hold now, without hashes: those that are apart, or the others."""
    names = {lock.name for lock in LOCKS if lock.apart}
    return [
        line.removesuffix("\\")
        for path in sorted(HERE.glob("*.txt"))
        if (path.stem in names) is apart
        for line in path.read_text().splitlines()
        if line[0] not in "#- "
    ]


def compile_lock(
    uv: str, wanted: list[str], versions: Path | None = None, output: Path | None = None
) -> list[str]:
    """Return what some requirements need: a block for each version, with its hashes.

    Args:
        uv: the program.
        wanted: requirements.
        versions: file with the versions to take; None to choose them.
        output: file to write to; versions that it holds already are kept if they fit.
    """
    command = [uv, "pip", "compile", "-", "--quiet", "--universal", "--python-version", PYTHON]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url"]
    command += [] if versions is None else ["--constraint", str(versions)]
    command += [] if output is None else ["--output-file", str(output)]
    made = subprocess.run(  # noqa: S603 - the program that make installed
        command, input="\n".join(wanted), check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return [block for block in re.split(r"\n(?=\S)", made.strip()) if block]


def write_lock(name: str, base: str | None, blocks: list[str]) -> None:
    """Write one file."""
    lines = ["# Written by `make lock`.", *([] if base is None else [f"-r {base}.txt"]), *blocks]
    (HERE / f"{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
