"""Fuzzes what reads requests: `python -m tests.fuzz.decoder_fuzzer push --seconds N`.

libFuzzer makes up the bytes, guided by the code that they reach; needs atheris. It begins with the
corpus in git. New inputs go to a folder of their own, to be looked through and added by hand.
"""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
INSTRUMENTED = ("treadle.records", "treadle.http", "treadle.ingest.fastpath")
"""The modules whose ways guide the fuzzer."""
UNTIMED = ["-reload=0", "-entropic=0"]
"""Turns off what libFuzzer does by the clock: with one PYTHONHASHSEED, a seed always makes the same
inputs."""


def main() -> None:
    """Run one target until the time is over or a check fails."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.decoder_fuzzer",
        description="Fuzz a decoder of bodies, or the connection.",
    )
    parser.add_argument(
        "target",
        choices=("push", "batch", "transit", "schema", "gzip", "zstd", "wire"),
        help="which bodies, or bytes on a connection",
    )
    parser.add_argument("--seconds", type=int, default=60, help="when to stop")
    parser.add_argument("--runs", type=int, default=-1, help="stop after so many inputs")
    parser.add_argument("--seed", type=int, default=0, help="for the same inputs; 0: others")
    parser.add_argument("--found", type=Path, help="folder for new inputs; default: a new one")
    options = parser.parse_args()
    name = options.target
    found = options.found or Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    found.mkdir(parents=True, exist_ok=True)
    try:
        # Only the fuzzer's machine has it, so no type checker may look for it.
        atheris = importlib.import_module("atheris")
    except ImportError:
        sys.exit("The fuzz targets need atheris, which is made for Linux: pip install '.[fuzz]'")
    # To prepare a module takes ten times as long as to import it, so only what the target needs.
    with atheris.instrument_imports(include=[*INSTRUMENTED]):
        if name == "wire":
            from tests.fuzz.wire_target import fuzz_wire as target
        else:
            from tests.fuzz.decoder_targets import TARGETS

            target = TARGETS[name]
    arguments = [
        sys.argv[0],
        str(found),
        # Named one by one, because a folder lists them in another order on every machine.
        f"-seed_inputs={','.join(sorted(map(str, (CORPUS / name).iterdir())))}",
        f"-max_total_time={options.seconds}",
        f"-runs={options.runs}",
        f"-seed={options.seed}",
        "-max_len=4096",
        "-timeout=120",
        "-print_final_stats=1",
        f"-dict={CORPUS / ('wire-words.txt' if name == 'wire' else 'words.txt')}",
        f"-artifact_prefix={found}/wrong-",
    ]
    if options.seed:
        arguments += UNTIMED
    atheris.Setup(arguments, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
