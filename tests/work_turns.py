"""Turns at long work of sources that send alone."""

from typing import Final

from treadle.ingest.work_turns import WorkTurns

ALONE: Final = WorkTurns(lambda source_id: True)
