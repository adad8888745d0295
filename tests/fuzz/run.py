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
UNTIMED = ["-reload=0", "-entropic=0"]
"""What libFuzzer does as the clock says, left out: a seed makes the same inputs every time, as long
as PYTHONHASHSEED is the same, too."""


def main(name: str) -> None:
    """Run one target of `targets.TARGETS` until the time is over or something is wrong."""
    parser = argparse.ArgumentParser(description=f"Fuzz the target {name}.")
    parser.add_argument("--seconds", type=int, default=60, help="when to stop")
    parser.add_argument("--runs", type=int, default=-1, help="stop after so many inputs")
    parser.add_argument("--seed", type=int, default=0, help="for the same inputs; 0: others")
    parser.add_argument("--found", type=Path, help="folder for new inputs; default: a new one")
    options = parser.parse_args()
    found = options.found or Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    found.mkdir(parents=True, exist_ok=True)
    try:
        # Only the fuzzer's machine has it, so no type checker may look for it.
        atheris = importlib.import_module("atheris")
    except ImportError:
        sys.exit("The fuzz targets need atheris, which is made for Linux: pip install '.[fuzz]'")
    with atheris.instrument_imports(include=["treadle.records"]):
        from tests.fuzz.targets import TARGETS
    arguments = [
        sys.argv[0],
        str(found),
        # Named one by one: a folder lists them in an order of its own on every machine.
        f"-seed_inputs={','.join(sorted(map(str, (CORPUS / name).iterdir())))}",
        f"-max_total_time={options.seconds}",
        f"-runs={options.runs}",
        f"-seed={options.seed}",
        "-max_len=4096",
        "-timeout=120",
        "-print_final_stats=1",
        f"-dict={CORPUS / 'words.txt'}",
        f"-artifact_prefix={found}/wrong-",
    ]
    if options.seed:
        arguments += UNTIMED
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()
