"""`python -m treadle.server ROLE NAME`: a child of `treadle serve`."""

import sys

from treadle.server.child_process import run_child

if __name__ == "__main__":
    sys.exit(run_child())
