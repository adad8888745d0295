"""Operations on load reports: lists of them, and one."""

from typing import Any, Final

from treadle.control import errors
from treadle.control.lookups import parse_id
from treadle.control.times import instant
from treadle.errors import RequestRefusedError
from treadle.store.deliveries import make_delivery_id
from treadle.store.model import TokenHolder, TokenOwner
from treadle.store.recent_loads import LoadFilter
from treadle.store.store import Store
from treadle.tracking.load_reports import render_load_report
from treadle.tracking.schema_history import render_changes

REPORTS_DEFAULT: Final = 100
REPORTS_MAX: Final = 1000


def invalid_parameter(name: str, expected: str) -> RequestRefusedError:
    """Refuse a query parameter of a wrong form."""
    return RequestRefusedError(400, {"message": f"{name} is {expected}"})


def parse_flag(name: str, text: str | None) -> bool | None:
    """Return the value of a parameter that is true or false; None where it is not given.

    Raises:
        RequestRefusedError: 400, it is neither.
    """
    if text is None:
        return None
    if text not in ("true", "false"):
        raise invalid_parameter(name, "true or false")
    return text == "true"


def parse_moment(name: str, text: str | None) -> int | None:
    """Return the time of a parameter, microseconds since 1970; None where it is not given.

    Raises:
        RequestRefusedError: 400, it is no time.
    """
    if text is None:
        return None
    found = instant(text)
    if found is None:
        raise invalid_parameter(name, "a time such as 2026-03-01T08:00:00Z")
    return found


def parse_limit(text: str | None, *, default: int, most: int) -> int:
    """Return how many elements a page has.

    Raises:
        RequestRefusedError: 400, it is no number from 1 to `most`.
    """
    count = default if text is None else parse_id(text)
    if count is None or count > most:
        raise invalid_parameter("limit", f"a number from 1 to {most}")
    return count


def parse_load_filter(
    failed: str | None, changed: str | None, since: str | None, until: str | None
) -> LoadFilter:
    """Return which loads are asked for.

    Raises:
        RequestRefusedError: 400 for a parameter that is wrong.
    """
    return LoadFilter(
        parse_flag("failed", failed),
        parse_flag("changed", changed),
        parse_moment("from", since),
        parse_moment("to", until),
    )


def list_reports(
    store: Store,
    asking: TokenHolder | TokenOwner,
    source: str | None,
    table: str | None,
    before: str | None,
    limit: str | None,
    chosen: LoadFilter | None = None,
) -> dict[str, Any]:
    """Serve `GET /v1/loads`: the loads of an account, or of the source of an import token.

    Raises:
        RequestRefusedError: 400 for a parameter that is wrong.
    """
    account_id, source_id = _find_scope(asking)
    if source is not None:
        wanted = parse_id(source)
        if wanted is None:
            raise invalid_parameter("source", "the id of a source")
        if source_id not in (None, wanted):
            return {"loads": [], "next": None}
        source_id = wanted
    count = parse_limit(limit, default=REPORTS_DEFAULT, most=REPORTS_MAX)
    found = store.loads.list_loads(
        account_id=account_id,
        source_id=source_id,
        table_name=table,
        chosen=chosen,
        limit=count + 1,
        before=before,
    )
    shown = found[:count]
    return {
        "loads": [render_load_report(load) for load in shown],
        "next": shown[-1].id if len(found) > count else None,
    }


def get_report(store: Store, asking: TokenHolder | TokenOwner, load_id: str) -> dict[str, Any]:
    """Serve `GET /v1/loads/{load_id}`: all that is known of one load.

    Raises:
        RequestRefusedError: 404, the account or source has no such load, or no longer.
    """
    account_id, source_id = _find_scope(asking)
    load = store.loads.find_load(account_id, load_id)
    if load is None or source_id not in (None, load.source_id):
        raise errors.load_not_found(load_id)
    deliveries = []
    if source_id is None:  # an import token opens nothing but its source
        for hook in store.hooks.list_hooks(account_id):
            sent = store.deliveries.find_delivery(hook.id, make_delivery_id(hook.id, load.id))
            if sent is not None:
                deliveries.append({"hook_id": hook.id, "delivery_id": sent.id, "state": sent.state})
    return {
        **render_load_report(load),
        "entries": {"first": load.first, "last": load.last},
        "duration_us": load.finished_at - load.started_at,
        "schema_changes": render_changes(load.details.get("schema_changes", ())),
        "new_version": load.details.get("new_version", False),
        "deliveries": deliveries,
    }


def _find_scope(asking: TokenHolder | TokenOwner) -> tuple[int, int | None]:
    """Return the account whose loads somebody may see, and the only source where it is one."""
    if isinstance(asking, TokenHolder):
        return asking.account.id, None
    return asking.account_id, asking.source_id
