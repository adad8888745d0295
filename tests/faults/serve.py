"""`python -m tests.faults.serve ...`: the command `treadle`, which dies where it is told to.

TREADLE_CRASH_POINT is the path of a plan's file (`treadle.crash.arm`). Only this program reads it:
treadle itself refuses the variable.
"""

import os
import sys

from treadle import crash
from treadle.cli.main import main

VARIABLE = "TREADLE_CRASH_POINT"

if __name__ == "__main__":
    crash.arm(os.environ.pop(VARIABLE, None))
    sys.exit(main())
