"""Fuzz the batch bodies: `python tests/fuzz/batch.py --seconds N`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[2])  # the script's own folder has modules of other names

from tests.fuzz.run import main  # noqa: E402 - needs the path above

main("batch")
