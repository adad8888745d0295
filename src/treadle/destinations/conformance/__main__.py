"""`python -m treadle.destinations.conformance`: the suite over an empty database of an account.

It makes and removes schemas, `_treadle`, `web` and `other` among them, and some hundred small
tables. When every test passes it writes a proof, which the makers of treadle add to
`service_proofs.json`: then the mark "not yet run on the service" goes. pytest has to be installed.
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from treadle import __version__
from treadle.clock import read_clock
from treadle.destinations.registry import make_destination
from treadle.errors import TreadleError
from treadle.timestamps import to_datetime


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m treadle.destinations.conformance", description=__doc__
    )
    parser.add_argument(
        "--url-file", required=True, type=Path, metavar="FILE", help="file that holds the URL"
    )
    parser.add_argument(
        "--proof", type=Path, default=Path("proof.json"), help="file that the proof is written to"
    )
    parser.add_argument("words", nargs="*", metavar="PYTEST", help="further arguments of pytest")
    return parser


def main() -> int:
    """Run the suite; returns 0 when every test passed or did not apply."""
    arguments = make_parser().parse_args()
    if find_spec("pytest") is None:
        print("The suite needs pytest, which is not installed: pip install pytest", file=sys.stderr)
        return 2
    try:
        return run(arguments)
    except (TreadleError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


def run(arguments: argparse.Namespace) -> int:
    """Run the suite and write the proof."""
    from treadle.destinations.conformance.service_run import make_proof, run_suite

    url = arguments.url_file.expanduser().read_text("utf-8").strip()
    plugin = run_suite(lambda: make_destination(url), arguments.words)
    service = plugin.read_version()
    kind = plugin.make().kind
    day = to_datetime(read_clock()).date().isoformat()
    proof = make_proof(plugin, kind, __version__, service, day)
    for test in plugin.failed:
        print(f"failed: {test}")
    print(f"{plugin.passed} passed, {plugin.skipped} skipped, {len(plugin.failed)} failed")
    if plugin.left_out:
        print(f"{plugin.left_out} were left out, so this is no proof.")
    if proof is None:
        return 1
    arguments.proof.write_text(proof, encoding="utf-8")
    print(f"Wrote {arguments.proof}; send it with a request to change the list of proofs.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
