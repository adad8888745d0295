"""The store as a declaration, and the changes of a declaration carried out in the store."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from treadle.cli.quotas import parse_quotas
from treadle.cli.webhook import DEFAULTS as WEBHOOK_DEFAULTS
from treadle.cli.webhook import check_webhook_value
from treadle.clock import read_clock
from treadle.control.hook_requests import SECRET
from treadle.control.schema_names import is_schema_name
from treadle.destinations.form import (
    PathRefusedError,
    PropertiesRefusedError,
    TunnelRefusedError,
    merge_properties,
)
from treadle.destinations.form_registry import find_form
from treadle.destinations.registry import list_types, make_destination
from treadle.errors import OperatorError, TreadleError
from treadle.maintenance.declaration.model import (
    Declaration,
    DeclaredAccount,
    DeclaredDestination,
    DeclaredHook,
    DeclaredSource,
    SecretText,
)
from treadle.maintenance.declaration.plan import (
    PlannedChange,
    has_own_name,
    name_destination,
)
from treadle.quotas import ACCOUNT_QUOTAS, SOURCE_QUOTAS, QuotaOverrides
from treadle.store.destinations import DestinationPlace
from treadle.store.model import (
    Account,
    ConfiguredDestination,
    DestinationSetter,
    PostLoadHook,
    Source,
)
from treadle.store.sources import UNSET
from treadle.store.store import Store
from treadle.tables.options import check_option, make_options_patch

DECLARED_SETTERS = frozenset(
    {DestinationSetter.OPERATOR, DestinationSetter.ACCOUNT, DestinationSetter.ADJUSTED}
)
"""Who named the destinations that are exported. The settings name the others."""


def read_present(store: Store, folder: Path) -> Declaration:
    """Return all that is there, with ids, and with secrets.

    Args:
        store: knows it.
        folder: for DuckDB files; absolute.
    """
    quotas = store.quotas.list_overrides()
    return tuple(
        _read_account(store, account, quotas, folder) for account in store.accounts.list_accounts()
    )


def _read_account(
    store: Store, account: Account, quotas: QuotaOverrides, folder: Path
) -> DeclaredAccount:
    rows = [row for row in store.destinations.list_destinations(account.id) if not row.deleted_at]
    destinations = tuple(
        DeclaredDestination(row.name, row.id, row.type, _read_properties(row, folder))
        for row in rows
    )
    called = {row.id: name_destination(row, destinations) for row in destinations}
    return DeclaredAccount(
        name=account.name,
        id=account.id,
        quotas=dict(quotas.accounts.get(account.id, {})),
        destinations=destinations,
        sources=tuple(
            _read_source(source, called, quotas.sources.get(source.id, {}))
            for source in store.sources.list_sources(account.id)
            if source.deleted_at is None
        ),
        hooks=tuple(_read_hook(hook, called) for hook in store.hooks.list_hooks(account.id)),
    )


def _read_properties(row: ConfiguredDestination, folder: Path) -> dict[str, Any]:
    form = find_form(row.type, folder)
    secret = {each.name for each in form.properties if each.is_credential}
    return {
        name: SecretText(value) if name in secret else value
        for name, value in form.read_url(row.url).items()
    } | {"url": SecretText(row.url)}


def _read_source(
    source: Source, called: Mapping[int | None, str], quotas: Mapping[str, int]
) -> DeclaredSource:
    settings = source.settings
    return DeclaredSource(
        name=source.name,
        display_name=source.display_name,
        paused=source.paused_at is not None,
        destination=called.get(source.destination_id),
        options=_flatten(settings.get("options")),
        tables={
            table: _flatten(options) for table, options in (settings.get("tables") or {}).items()
        },
        webhook=dict(settings.get("webhook") or {}),
        quotas=dict(quotas),
    )


def _flatten(options: object) -> dict[str, Any]:
    """Return options by their names; a contract may be kept as one object."""
    found: dict[str, Any] = {}
    for name, value in options.items() if isinstance(options, Mapping) else ():
        if isinstance(value, Mapping):
            found |= {f"{name}.{part}": inner for part, inner in value.items()}
        else:
            found[name] = value
    return found


def _read_hook(hook: PostLoadHook, called: Mapping[int | None, str]) -> DeclaredHook:
    return DeclaredHook(
        id=hook.id,
        url=SecretText(hook.url),
        destination=called.get(hook.destination_id),
        paused=hook.paused_at is not None,
        enabled=hook.disabled_at is None,
        secret=None if hook.secret is None else SecretText(hook.secret),
    )


def choose_exported(present: Declaration, set_by: Mapping[int, str]) -> Declaration:
    """Return what an export shows of what is there.

    Args:
        present: all of it.
        set_by: id of a destination -> who named it.
    """
    return tuple(_choose_of_account(account, set_by) for account in present)


def _choose_of_account(account: DeclaredAccount, set_by: Mapping[int, str]) -> DeclaredAccount:
    rows = [row for row in account.destinations if set_by.get(row.id or 0) in DECLARED_SETTERS]
    called = {name_destination(row, account.destinations) for row in rows}
    return replace(
        account,
        destinations=tuple(
            replace(
                row,
                id=None if has_own_name(row, account.destinations) else row.id,
                # The URL says the same as the other properties, where there are any.
                properties={
                    key: value
                    for key, value in row.properties.items()
                    if key != "url" or len(row.properties) == 1
                },
            )
            for row in rows
        ),
        sources=tuple(
            replace(
                source, destination=source.destination if source.destination in called else None
            )
            for source in account.sources
        ),
        hooks=tuple(
            replace(hook, destination=hook.destination if hook.destination in called else None)
            for hook in account.hooks
        ),
    )


def complete_urls(wanted: Declaration) -> Declaration:
    """Return a declaration whose URLs of destinations are as they are kept, with their types.

    Raises:
        OperatorError: a URL names no destination, or one of another type than is said.
    """
    return tuple(
        replace(account, destinations=tuple(map(_complete_url, account.destinations)))
        for account in wanted
    )


def _complete_url(row: DeclaredDestination) -> DeclaredDestination:
    if "url" not in row.properties:
        return row
    place = _read_place(str(row.properties["url"]))
    if len(row.properties) > 1:
        raise OperatorError(
            f"the destination {row.name!r} has a url and other properties: keep one of the two"
        )
    if row.type not in (None, place.type):
        raise OperatorError(
            f"the destination {row.name!r} is to be of the type {row.type}, and its url is one of "
            f"{place.type}"
        )
    return replace(row, type=place.type, properties={"url": SecretText(place.url)})


def _read_place(url: str) -> DestinationPlace:
    destination = make_destination(url)
    # The name of a file is relative to where the command runs, and the server runs elsewhere.
    if destination.kind == "duckdb" and destination.file is not None:
        url = "duckdb://" + quote(str(destination.file))
    return DestinationPlace(
        destination.kind, url, destination.identity, DestinationSetter.OPERATOR, ("url",)
    )


@dataclass(slots=True)
class DeclarationApplier:
    """Carries out the changes of a plan, in their order.

    Attributes:
        store: is changed.
        folder: for DuckDB files; absolute.
        check_hook_url: raises OperatorError for a URL that is not called.
    """

    store: Store
    folder: Path
    check_hook_url: Callable[[str], None]
    _made: dict[tuple[str, int | None], int] = field(default_factory=dict)

    def check(self, change: PlannedChange) -> None:
        """Check a change before any is carried out.

        Raises:
            OperatorError: it cannot be carried out.
        """
        wanted = change.wanted
        try:
            match wanted:
                case DeclaredAccount():
                    _check_quotas(change, ACCOUNT_QUOTAS)
                case DeclaredDestination():
                    self._make_place(change, self._find_url(change))
                case DeclaredSource():
                    self._check_source(change, wanted)
                case DeclaredHook():
                    self._check_hook(wanted)
        except OperatorError as error:
            raise OperatorError(f"{describe_item(change)}: {error}") from None

    def _check_hook(self, wanted: DeclaredHook) -> None:
        if wanted.url is not None:
            self.check_hook_url(wanted.url)
        if wanted.secret is not None and not SECRET.fullmatch(wanted.secret):
            raise OperatorError(
                "its secret is to have 16 to 256 printable ASCII characters without blanks"
            )

    def carry_out(self, change: PlannedChange) -> None:
        """Carry out one change.

        Raises:
            OperatorError: the store refuses it; what came before is done.
        """
        try:
            match change.wanted:
                case DeclaredAccount():
                    self._apply_account(change, change.wanted)
                case DeclaredDestination():
                    self._apply_destination(change, change.wanted)
                case DeclaredSource():
                    self._apply_source(change, change.wanted)
                case DeclaredHook():
                    self._apply_hook(change, change.wanted)
        except TreadleError as error:
            raise OperatorError(f"{describe_item(change)}: {error}") from error

    def _get_account_id(self, change: PlannedChange) -> int:
        account = change.account
        made = self._made.get((account.name, account.id))
        return made if made is not None else account.id or 0

    def _apply_account(self, change: PlannedChange, wanted: DeclaredAccount) -> None:
        if change.present is None:
            made, _ = self.store.accounts.create_account(wanted.name, client_id=wanted.id)
            self._made[wanted.name, wanted.id] = made.id
        elif any(one.path == ("name",) for one in change.values):
            self.store.accounts.rename_account(self._get_account_id(change), wanted.name)
        quotas = _collect(change, ("quotas",))
        if quotas:
            account_id = self._get_account_id(change)
            found = [one for one in self.store.accounts.list_accounts() if one.id == account_id]
            self.store.quotas.set_account_quotas(found[0], quotas)

    def _find_url(self, change: PlannedChange) -> str | None:
        present = change.present
        return str(present.properties["url"]) if isinstance(present, DeclaredDestination) else None

    def _make_place(self, change: PlannedChange, former: str | None) -> DestinationPlace:
        wanted, present = change.wanted, change.present
        if not isinstance(wanted, DeclaredDestination):
            raise TypeError(wanted)
        type_ = wanted.type
        if isinstance(present, DeclaredDestination):
            if type_ not in (None, present.type):
                raise OperatorError(
                    f"it is of the type {present.type}, which stays: declare another one of the "
                    f"type {type_}"
                )
            type_ = present.type
        if type_ not in list_types():
            raise OperatorError(
                f"its type is to be one of {', '.join(list_types())}"
                + ("" if type_ is None else f", not {type_!r}")
            )
        if "url" in wanted.properties:
            return _read_place(str(wanted.properties["url"]))
        form = find_form(str(type_), self.folder)
        given = {name: str(value) for name, value in wanted.properties.items()}
        try:
            url = form.write_url(merge_properties(form, given, former), former)
        except PropertiesRefusedError as error:
            known = ", ".join(one.name for one in form.properties)
            raise OperatorError(
                f"these properties are missing, unknown or not valid: {', '.join(error.names)}; "
                f"the type {type_} has {known}"
            ) from None
        except (TunnelRefusedError, PathRefusedError) as error:
            raise OperatorError(str(error)) from None
        changed = tuple(one.path[-1] for one in change.values)
        return DestinationPlace(
            str(type_), url, make_destination(url).identity, DestinationSetter.OPERATOR, changed
        )

    def _apply_destination(self, change: PlannedChange, wanted: DeclaredDestination) -> None:
        account_id = self._get_account_id(change)
        if wanted.id is None:
            place = self._make_place(change, None)
            self.store.destinations.create_destination(account_id, place, name=wanted.name)
            return
        self.store.destinations.update_destination(
            account_id,
            wanted.id,
            lambda present: self._make_place(change, present.url),
            name=wanted.name,
        )

    def _find_destination_id(self, account_id: int, wanted: str) -> int:
        rows = [
            row
            for row in self.store.destinations.list_destinations(account_id)
            if row.deleted_at is None
        ]
        found = [row for row in rows if str(row.id) == wanted] or [
            row for row in rows if row.name == wanted
        ]
        if len(found) != 1:
            raise OperatorError(f"there is no destination {wanted!r}, or several of them")
        return found[0].id

    def _check_source(self, change: PlannedChange, wanted: DeclaredSource) -> None:
        _check_quotas(change, SOURCE_QUOTAS)
        for each in change.values:
            if each.path[0] in ("options", "tables") and each.after is not None:
                check_option(each.path[-1], each.after)
            elif each.path[0] == "webhook":
                if each.path[-1] not in WEBHOOK_DEFAULTS:
                    raise OperatorError(
                        f"webhook has no {each.path[-1]!r}; known are {', '.join(WEBHOOK_DEFAULTS)}"
                    )
                if each.after is not None:
                    check_webhook_value(each.path[-1], each.after)
        if change.present is None:
            identities = self.store.destinations.list_identities(self._get_account_id(change), None)
            if not is_schema_name(wanted.name, identities):
                raise OperatorError(
                    "its name cannot be a schema: it is to have 1 to 49 of the characters a-z, "
                    "0-9, _ and $, to begin with a letter or _, and not to be one that a database "
                    "or treadle keeps for itself"
                )

    def _apply_source(self, change: PlannedChange, wanted: DeclaredSource) -> None:
        account_id = self._get_account_id(change)
        values = {one.path[0]: one.after for one in change.values if len(one.path) == 1}
        destination_id = None
        if values.get("destination") is not None:
            destination_id = self._find_destination_id(account_id, values["destination"])
        if change.present is None:
            source = self.store.sources.create_source(
                account_id,
                type="import_api",
                display_name=values.pop("display_name", wanted.name),
                name=wanted.name,
                destination_id=destination_id,
                bootstrap_token=False,
            )
            values.pop("destination", None)
        else:
            [source] = [
                one
                for one in self.store.sources.list_sources(account_id)
                if one.name == wanted.name and one.deleted_at is None
            ]
        patch = _make_patch(change)
        paused_at = read_clock() if values.get("paused") else None
        if change.present is None and paused_at is None:
            values.pop("paused", None)
        self.store.sources.update_source(
            account_id,
            source.id,
            display_name=values.get("display_name", UNSET),
            paused_at=paused_at if "paused" in values else UNSET,
            destination_id=destination_id if "destination" in values else UNSET,
            settings=patch or UNSET,
        )
        quotas = _collect(change, ("quotas",))
        if quotas:
            self.store.quotas.set_source_quotas(source, quotas)

    def _apply_hook(self, change: PlannedChange, wanted: DeclaredHook) -> None:
        account_id = self._get_account_id(change)
        hook_id = wanted.id
        if hook_id is None:
            place = wanted.destination
            destination_id = None if place is None else self._find_destination_id(account_id, place)
            made = self.store.hooks.create_hook(
                account_id, str(wanted.url), destination_id=destination_id
            )
            hook_id = made.id
        values = {one.path[0]: one.after for one in change.values}
        further: dict[str, Any] = {
            name: values[name] for name in ("paused", "enabled", "secret") if name in values
        }
        if wanted.id is not None and "url" in values:
            further["url"] = str(values["url"])
        if "secret" in further:
            further["secret"] = str(further["secret"])
        if further:
            self.store.hooks.update_hook(account_id, hook_id, **further)


def _collect(change: PlannedChange, section: tuple[str, ...]) -> dict[str, Any]:
    return {one.path[-1]: one.after for one in change.values if one.path[:-1] == section}


def _check_quotas(change: PlannedChange, known: tuple[str, ...]) -> None:
    for name, value in _collect(change, ("quotas",)).items():
        if value is not None and type(value) is not int:
            raise OperatorError(f"the quota {name} is to be a whole number, 0 for no limit")
        parse_quotas([f"{name}={'' if value is None else value}"], known)


def _make_patch(change: PlannedChange) -> dict[str, Any]:
    """Return the merge patch of the settings of a source."""
    patch: dict[str, Any] = {}
    options = _collect(change, ("options",))
    if options:
        patch |= make_options_patch(None, options)
    for table in {one.path[1] for one in change.values if one.path[0] == "tables"}:
        made = make_options_patch(table, _collect(change, ("tables", table)))
        patch.setdefault("tables", {}).update(made["tables"])
    webhook = _collect(change, ("webhook",))
    if webhook:
        patch["webhook"] = webhook
    return patch


def describe_item(change: PlannedChange) -> str:
    """Return what a change is about: `source web of Shop`."""
    match change.wanted:
        case DeclaredAccount(name=name):
            return f"account {name}"
        case DeclaredDestination(name=name):
            return f"destination {name} of {change.account.name}"
        case DeclaredSource(name=name):
            return f"source {name} of {change.account.name}"
        case DeclaredHook(id=id_):
            return f"hook{'' if id_ is None else f' {id_}'} of {change.account.name}"
