"""Operations on the options of a source and its tables (loading.md 12.2)."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from treadle.control import errors
from treadle.control.lookups import find_source
from treadle.store.model import Account, Source
from treadle.store.store import Store
from treadle.tables.option_change import check_assignments
from treadle.tables.options import (
    OPTION_MEANINGS,
    EffectiveOption,
    OptionError,
    get_default,
    list_effective_options,
    list_values,
)
from treadle.tracking.source_options import set_source_options

TOUCHED_MAX: Final = 100
"""Names of touched tables in an answer; their number is always there."""


class OptionsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `PUT /v1/sources/{source_id}/options`."""

    options: dict[str, Any]


def get_options(
    store: Store, account: Account, source_id: str, table: str | None
) -> dict[str, Any]:
    """Serve `GET /v1/sources/{source_id}/options`.

    Raises:
        RequestRefusedError: 404, no such source; 400, something stored is no option.
    """
    source = _require_source(store, account, source_id)
    try:
        return render_options(source, table, list_effective_options(source.settings, table))
    except OptionError as error:
        raise errors.invalid_option(str(error)) from error


def set_options(
    store: Store,
    account: Account,
    source_id: str,
    table: str | None,
    raw: bytes,
    *,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Serve `PUT /v1/sources/{source_id}/options`.

    Raises:
        RequestRefusedError: 404, no such source, or deleted; 400, no such option or value.
    """
    source = _require_source(store, account, source_id)
    try:
        wanted = check_assignments(msgspec.json.decode(raw, type=OptionsBody).options)
        changed = set_source_options(store, source, table, wanted, dry_run=dry_run)
    except msgspec.MsgspecError as error:
        said = f'the body is to be {{"options": {{name: value}}}}: {error}'
        raise errors.invalid_option(said) from error
    except OptionError as error:
        raise errors.invalid_option(str(error)) from error
    if changed is None:
        raise errors.source_not_found(source_id, status=404)
    return {
        **render_options(source, table, changed.options),
        "touched_tables": {
            "count": len(changed.touched),
            "tables": changed.touched[:TOUCHED_MAX],
        },
        "dry_run": dry_run,
    }


def render_options(
    source: Source, table: str | None, found: Sequence[EffectiveOption]
) -> dict[str, Any]:
    """Return options as an answer shows them."""
    return {
        "source_id": source.id,
        "table": table,
        "options": [
            {
                "name": name,
                "value": value,
                "origin": origin,
                "default": get_default(name),
                "values": list(list_values(name)),
                "meaning": OPTION_MEANINGS[name],
            }
            for name, value, origin in found
        ],
    }


def _require_source(store: Store, account: Account, source_id: str) -> Source:
    row = find_source(store, account, source_id)
    if row is None or row.deleted_at is not None:
        raise errors.source_not_found(source_id, status=404)
    return row
