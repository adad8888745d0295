"""Finds the changes that lead from what is there to what is wanted. Nothing is ever deleted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from treadle.errors import OperatorError
from treadle.maintenance.declaration.model import (
    Declaration,
    DeclaredAccount,
    DeclaredDestination,
    DeclaredHook,
    DeclaredItem,
    DeclaredSource,
    SecretText,
    list_sections,
    list_values,
)

SECRET_NAMES = frozenset({"url", "secret", "password"})
"""Values that are never shown, whatever they are."""

ITEM = TypeVar("ITEM", DeclaredDestination, DeclaredSource, DeclaredHook)


@dataclass(frozen=True, slots=True)
class ValueChange:
    """One value that changes.

    Attributes:
        path: its name, behind those of its section: ("options", "split_mode").
        before: None for none.
        after: None to have it taken back.
    """

    path: tuple[str, ...]
    before: Any
    after: Any

    @property
    def is_secret(self) -> bool:
        """Return whether neither of the two values is to be shown."""
        values = (self.before, self.after)
        return self.path[-1] in SECRET_NAMES or any(isinstance(one, SecretText) for one in values)


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """An item that is made or changed.

    Attributes:
        account: that it belongs to as it is wanted; itself for an account.
        wanted: the item, with the id that it has.
        present: as it is there; None for one that is made.
        values: that change.
    """

    account: DeclaredAccount
    wanted: DeclaredItem
    present: DeclaredItem | None
    values: tuple[ValueChange, ...]


def plan_changes(wanted: Declaration, present: Declaration) -> list[PlannedChange]:
    """Return the changes, in an order in which they can be carried out.

    What the declaration does not name stays as it is. A section that it has, such as the options of
    a source, is whole: what is not in it is taken back.

    Args:
        wanted: as it was read.
        present: all that is there, with ids.

    Raises:
        OperatorError: it names something that is not there and cannot be made, or that is there
            several times.
    """
    changes: list[PlannedChange] = []
    for account in wanted:
        there = _find_account(account, present)
        its = replace(account, id=account.id if there is None else there.id)
        changes += _compare(its, its, there)
        here = there or DeclaredAccount(account.name)
        names = {*_list_names(here.destinations), *_list_names(account.destinations)}
        for destination in account.destinations:
            found = _find_named(destination, here.destinations, "destination")
            if found is None and destination.id is not None:
                raise OperatorError(
                    f"the account {account.name} has no destination {destination.id}: leave its id "
                    "out to have it made"
                )
            kept = destination if found is None else replace(destination, id=found.id)
            changes += _compare(its, kept, found)
        for source in account.sources:
            named = replace(source, destination=_resolve(source.destination, here, names, account))
            changes += _compare(its, named, _find_source(named, here.sources))
        for hook in account.hooks:
            named_hook = replace(hook, destination=_resolve(hook.destination, here, names, account))
            changes += _plan_hook(its, named_hook, here)
    return changes


def name_destination(row: DeclaredDestination, all_: Sequence[DeclaredDestination]) -> str:
    """Return what a source calls a destination: its name, or its id where others have the name."""
    return row.name if has_own_name(row, all_) else str(row.id)


def has_own_name(row: DeclaredDestination, all_: Sequence[DeclaredDestination]) -> bool:
    """Return whether the name of a destination means no other one, by its name or by its id."""
    others = [one for one in all_ if one.id != row.id]
    return all(row.name not in (one.name, str(one.id)) for one in others)


def _list_names(rows: Sequence[DeclaredDestination]) -> Iterator[str]:
    for row in rows:
        yield name_destination(row, rows) if row.id is not None else row.name


def _resolve(
    wanted: str | None, here: DeclaredAccount, names: set[str], account: DeclaredAccount
) -> str | None:
    """Return the destination that is meant, as `name_destination` calls it."""
    if wanted is None:
        return None
    meant = [row for row in here.destinations if wanted == str(row.id)] or [
        row for row in here.destinations if wanted == row.name
    ]
    if len(meant) > 1:
        raise OperatorError(
            f"several destinations of the account {account.name} have the name {wanted!r}: give "
            f"the id of one of them, {', '.join(str(row.id) for row in meant)}"
        )
    if meant:
        return name_destination(meant[0], here.destinations)
    if wanted not in names:
        raise OperatorError(
            f"the account {account.name} has no destination {wanted!r}: name one that is there, or "
            "declare it"
        )
    return wanted


def _find_account(wanted: DeclaredAccount, present: Declaration) -> DeclaredAccount | None:
    if wanted.id is not None:
        return next((one for one in present if one.id == wanted.id), None)
    return _choose(wanted.name, [one for one in present if one.name == wanted.name], "accounts")


def _find_named(
    wanted: DeclaredDestination, present: Sequence[DeclaredDestination], kind: str
) -> DeclaredDestination | None:
    if wanted.id is not None:
        return next((one for one in present if one.id == wanted.id), None)
    found = [one for one in present if one.name == wanted.name]
    return _choose(wanted.name, found, f"{kind}s")


def _find_source(
    wanted: DeclaredSource, present: Sequence[DeclaredSource]
) -> DeclaredSource | None:
    return next((one for one in present if one.name == wanted.name), None)


NAMED = TypeVar("NAMED", DeclaredAccount, DeclaredDestination)


def _choose(name: str, found: Sequence[NAMED], kind: str) -> NAMED | None:
    if len(found) > 1:
        ids = ", ".join(str(one.id) for one in found)
        raise OperatorError(f"several {kind} have the name {name!r}: give the id of one ({ids})")
    return found[0] if found else None


def _plan_hook(
    account: DeclaredAccount, wanted: DeclaredHook, here: DeclaredAccount
) -> list[PlannedChange]:
    if wanted.id is not None:
        found = next((one for one in here.hooks if one.id == wanted.id), None)
    else:
        same = [one for one in here.hooks if one.url == wanted.url]
        place = wanted.destination
        found = next((one for one in same if place in (None, one.destination)), None)
    if found is None and (wanted.id is not None or wanted.url is None):
        raise OperatorError(
            f"the account {account.name} has no hook {wanted.id}: leave the id out and give its "
            'url, such as url = "env:HOOK_URL", to have it made'
            if wanted.id is not None
            else f"a hook of the account {account.name} has neither id nor url"
        )
    if found is not None and wanted.destination not in (None, found.destination):
        raise OperatorError(
            f"the hook {found.id} of the account {account.name} belongs to the destination "
            f"{found.destination}, and stays there: make another one, and delete this one"
        )
    kept = wanted if found is None else replace(wanted, id=found.id)
    return _compare(account, kept, found)


def _compare(
    account: DeclaredAccount, wanted: DeclaredItem, present: DeclaredItem | None
) -> list[PlannedChange]:
    values = tuple(_list_changes(wanted, present))
    if present is not None and not values:
        return []
    return [PlannedChange(account, wanted, present, values)]


def _list_changes(wanted: DeclaredItem, present: DeclaredItem | None) -> Iterator[ValueChange]:
    before = {} if present is None else list_values(present)
    for name, value in list_values(wanted).items():
        if before.get(name) != value:
            yield ValueChange((name,), before.get(name), value)
    sections = {} if present is None else list_sections(present)
    for section, values in list_sections(wanted).items():
        there: Mapping[str, Any] = sections.get(section, {})
        for name in dict.fromkeys([*there, *values]):
            if there.get(name) != values.get(name):
                yield ValueChange((*section, name), there.get(name), values.get(name))
