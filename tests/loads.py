"""Reports of loads, as tests of what is done with them need them."""

import uuid
from dataclasses import replace
from typing import Any

from treadle.store.model import LoadReport


def load(source_id: int, table: str, last: int, at: int = 0, **changes: Any) -> LoadReport:
    """A load of one record, all of it loaded; or the try at one, where an `error` is given.

    Args:
        source_id: of the table.
        table: as sent.
        last: position of the entry, and of the only one.
        at: when it started and ended, microseconds since 1970.
        changes: other attributes.
    """
    failed = changes.get("error") is not None
    plain = LoadReport(
        id=str(uuid.uuid4()),
        source_id=source_id,
        table_name=table,
        first=last,
        last=last,
        started_at=at,
        finished_at=at,
        rows_received=1,
        rows_loaded=0 if failed else 1,
        rows_discarded=0,
        rows_rejected=0,
        tables={} if failed else {table: 1},
        details={},
        error=None,
    )
    return replace(plain, **changes)
