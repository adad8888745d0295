"""The program `target-treadle`: `treadle singer` for runners that start a target with a config."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from treadle import __version__
from treadle.cli.main import main
from treadle.cli.output import print_error
from treadle.errors import OperatorError


def run_target(argv: Sequence[str] | None = None) -> int:
    """Run as the target that Singer runners start: `target-treadle --config FILE`.

    The file is a JSON object with `url` and `token`, and perhaps `ca`, `loaded`, `flush_seconds`,
    `batch_records`, `connections` and `retry_seconds`.
    """
    parser = argparse.ArgumentParser(
        prog="target-treadle", description="Send the output of a Singer tap to a treadle server."
    )
    parser.add_argument("--config", metavar="FILE", help="JSON object with url and token")
    parser.add_argument("--version", action="version", version=f"target-treadle {__version__}")
    arguments = parser.parse_args(argv)
    try:
        words = read_target_config(arguments.config)
    except OperatorError as error:
        print_error(str(error))
        return 2
    return main(["singer", *words])


def read_target_config(name: str | None) -> list[str]:
    """Return the flags that a config file stands for; the token goes into the environment.

    Raises:
        OperatorError: it is no such file.
    """
    if name is None:
        return []
    try:
        found = json.loads(Path(name).read_bytes())
    except OSError as error:
        raise OperatorError(f"The config {name} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise OperatorError(f"The config {name} is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise OperatorError(f"The config {name} is not a JSON object.")
    if found.get("token"):
        os.environ["TREADLE_PUSH_TOKEN"] = str(found["token"])
    words = ["--loaded"] if found.get("loaded") in (True, "true", "True") else []
    for option in ("url", "ca", "flush_seconds", "batch_records", "connections", "retry_seconds"):
        if found.get(option) not in (None, ""):
            words += ["--" + option.replace("_", "-"), str(found[option])]
    return words


if __name__ == "__main__":
    sys.exit(run_target())
