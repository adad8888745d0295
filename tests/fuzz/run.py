"""Runs a target with bytes that libFuzzer makes up, guided by what they reach.

Needs atheris. The corpus in git is where it starts; what it finds on the way is left in a folder
of its own, to be looked through and taken over by hand.
"""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def main(name: str) -> None:
    """Run one target of `targets.TARGETS` until the time is over or something is wrong."""
    parser = argparse.ArgumentParser(description=f"Fuzz the target {name}.")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--found", type=Path, help="folder for new inputs; default: a new one")
    options = parser.parse_args()
    found = options.found or Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    found.mkdir(parents=True, exist_ok=True)
    # Only the fuzzer's machine has it, so no type checker may look for it.
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["treadle.records"]):
        from tests.fuzz.targets import TARGETS
    arguments = [
        sys.argv[0],
        str(found),
        str(CORPUS / name),
        f"-max_total_time={options.seconds}",
        "-max_len=4096",
        "-timeout=10",
        f"-dict={CORPUS / 'words.txt'}",
        f"-artifact_prefix={found}/wrong-",
    ]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()
