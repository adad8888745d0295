"""`GET /v1/ledger`: tells what became of every record that an account's sources sent."""

from collections.abc import Callable

from treadle.control.errors import invalid_parameter
from treadle.control.lookups import parse_id
from treadle.log.protocol import LogReader
from treadle.store.model import Account
from treadle.store.store import Store
from treadle.timestamps import format_seconds
from treadle.tracking.ledger import LedgerLine, compute_ledger, sum_lines


def read_ledger(
    store: Store, open_reader: Callable[[], LogReader], account: Account, source: str | None
) -> object:
    """Return the answer's value.

    Raises:
        RequestRefusedError: 400, the source is no id.
    """
    wanted = {one.id for one in store.sources.list_sources(account.id)}
    if source is not None:
        chosen = parse_id(source)
        if chosen is None:
            raise invalid_parameter("source", "the id of a source")
        wanted &= {chosen}
    reader = open_reader()
    try:
        lines = compute_ledger(store, reader.statistics, wanted)
    finally:
        reader.close()
    return {
        "total": _render_sums(sum_lines(lines)),
        "hours": [
            {
                "source_id": line.source_id,
                "table": line.table_name,
                "hour": format_seconds(line.hour),
                **_render_sums(line),
            }
            for line in lines
        ],
    }


def _render_sums(line: LedgerLine) -> dict[str, int]:
    return {
        "accepted": line.accepted,
        "loaded": line.loaded,
        "superseded": line.superseded,
        "rejected": line.rejected,
        "waiting": line.waiting,
    }
