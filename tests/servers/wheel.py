"""Builds the wheel as `make wheel` does, in a copy of the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
NEEDED: Final = ("pyproject.toml", "README.md", "LICENSE", "src", "deploy")
BUILD: Final = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


def build_wheel(folder: Path) -> Path:
    """Make a wheel, and the locked versions beside it, in `dist` of a folder; returns its path.

    In a copy: setuptools leaves files beside the source, and two tests may build at once.
    """
    copy = folder / "copy"
    copy.mkdir(parents=True)
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, copy)
    dist = folder / "dist"
    dist.mkdir()
    run(sys.executable, "-c", BUILD, str(dist), cwd=copy)
    run(sys.executable, str(ROOT / "requirements" / "write_wheel_locks.py"), str(dist), cwd=folder)
    [wheel] = dist.glob("*.whl")
    return wheel


def run(*command: str, cwd: Path) -> str:
    """Run a command without what a test's environment says about Python; returns its output."""
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env=clean_environment()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def clean_environment() -> dict[str, str]:
    """The environment without what leads to the source or to settings."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "TREADLE_", "VIRTUAL_ENV", "COV_"))
    }
