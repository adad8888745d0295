"""`GET /v1/loads`: the reports of loads (loading.md 11.2), for an account or for a source."""

from typing import Final

from treadle.control.errors import invalid_parameter
from treadle.control.lookups import parse_id
from treadle.store.model import Account, TokenOwner
from treadle.store.store import Store
from treadle.tracking.load_reports import render_load_report

REPORTS_DEFAULT: Final = 100
REPORTS_MAX: Final = 1000


def list_reports(
    store: Store,
    asking: Account | TokenOwner,
    source: str | None,
    table: str | None,
    before: str | None,
    limit: str | None,
) -> object:
    """Return the answer's value.

    Raises:
        RequestRefusedError: 400 for a parameter that is wrong.
    """
    if isinstance(asking, Account):
        account_id, source_id = asking.id, None
    else:
        account_id, source_id = asking.account_id, asking.source_id
    if source is not None:
        wanted = parse_id(source)
        if wanted is None:
            raise invalid_parameter("source", "the id of a source")
        if source_id not in (None, wanted):
            return {"loads": [], "next": None}
        source_id = wanted
    count = REPORTS_DEFAULT if limit is None else parse_id(limit)
    if count is None or count > REPORTS_MAX:
        raise invalid_parameter("limit", f"a number from 1 to {REPORTS_MAX}")
    found = store.loads.list_loads(
        account_id=account_id,
        source_id=source_id,
        table_name=table,
        limit=count + 1,
        before=before,
    )
    shown = found[:count]
    return {
        "loads": [render_load_report(load) for load in shown],
        "next": shown[-1].id if len(found) > count else None,
    }
