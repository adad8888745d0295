"""`python -m tests.faults.serve ...`: the command `treadle`, which dies where it is told to.

TREADLE_CRASH_POINT is a crash plan as JSON (`treadle.crash.Plan`). Only this program reads it:
treadle itself refuses the variable.
"""

import os
import sys

import msgspec

from treadle import crash
from treadle.cli.main import main

VARIABLE = "TREADLE_CRASH_POINT"

if __name__ == "__main__":
    plan = os.environ.pop(VARIABLE, None)
    if plan is not None:
        crash.arm(msgspec.json.decode(plan, type=crash.Plan))
    sys.exit(main())
