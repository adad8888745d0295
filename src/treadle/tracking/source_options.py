"""The options of a source and its tables: shown and set, for the command line and the API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from treadle.store.merge_patch import apply_merge_patch
from treadle.store.model import Source
from treadle.store.store import Store
from treadle.tables.option_change import find_touched_tables
from treadle.tables.options import (
    EffectiveOption,
    OptionError,
    OptionValue,
    list_effective_options,
    make_options_patch,
)


@dataclass(frozen=True, slots=True)
class ChangedOptions:
    """The options after a change.

    Attributes:
        options: of the table, or of the source's tables in general.
        touched: names of the tables that are loaded differently from now on.
    """

    options: tuple[EffectiveOption, ...]
    touched: list[str]


def set_source_options(
    store: Store,
    source: Source,
    table_name: str | None,
    assignments: Mapping[str, OptionValue],
    *,
    dry_run: bool = False,
) -> ChangedOptions | None:
    """Set options of a source, or of one of its tables; None when the source is deleted.

    Args:
        store: keeps them; its actor is who sets them.
        source: whose.
        table_name: as sent; None for the whole source.
        assignments: option -> value; None takes one back. They were checked.
        dry_run: change nothing, and say what would change.

    Raises:
        OptionError: something that is stored already is no option.
    """
    patch = make_options_patch(table_name, assignments)
    after: Mapping[str, Any]
    if dry_run:
        after = apply_merge_patch(source.settings, patch)
    else:
        changed = store.sources.update_source(source.account_id, source.id, settings=patch)
        if changed is None:
            return None
        after = changed.settings
    known = [table.name for table in store.tables.list_overviews(source.id)]
    try:
        touched = find_touched_tables(source.settings, after, table_name, known)
    except OptionError:  # what was stored could not be used, and the change may have mended it
        touched = known if table_name is None else [table_name]
    return ChangedOptions(list_effective_options(after, table_name), touched)
