"""`python -m tests.servers.few_files ...`: the command `treadle` where few files may be open."""

import resource
import sys
from typing import Final

from treadle.cli.main import main

OPEN_FILES: Final = 1024
"""What many systems allow by default."""

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    sys.exit(main())
