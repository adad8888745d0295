"""The end of a process, without the search for garbage that Python does there."""

import gc
import sys


def skip_last_collection() -> None:
    """Keep Python from searching, at the end of this process, what goes with it: up to 0.4 s.

    DuckDB's binding counts what it holds at the end and reports the rest as leaks on standard
    error, so where it is loaded everything is searched after all.
    """
    if "duckdb" in sys.modules:
        gc.unfreeze()
    else:
        gc.freeze()
