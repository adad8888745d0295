"""`python -m tests.conformance FILE [--destination URL]`: run the loading cases of a file."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.conformance.loading.runner import Rig, cases, run


def main() -> int:
    """Run every case that applies; returns 1 when one differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("file", type=Path, help="JSON array of cases")
    parser.add_argument(
        "--destination", help="duckdb:///FILE or postgresql://...; a new DuckDB file by default"
    )
    arguments = parser.parse_args()
    passed = failed = left_out = 0
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(Path(folder) / "data", arguments.destination)
        with rig.running():
            here = rig.warehouse("any").name
            for case in cases(arguments.file):
                if case.get("only", here) != here:
                    left_out += 1
                    print(f"{case['id']} left out: it is for {case['only']}")
                    continue
                said = run(rig, case)
                passed, failed = passed + (not said), failed + bool(said)
                print(f"{case['id']} {'differs' if said else 'passes'}: {case.get('title', '')}")
                for sentence in said:
                    print(f"    {sentence}")
    print(f"{passed} passed, {failed} failed, {left_out} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
