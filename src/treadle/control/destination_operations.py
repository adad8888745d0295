"""The operations on destinations and their types (connect-rest.md A.2.1, A.2.2).

As in `operations`, everything here blocks, and `destination_routes` runs it in threads.
"""

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from treadle.control import destination_requests, errors
from treadle.control.destination_responses import render_destination, render_destination_type
from treadle.control.lookups import parse_id
from treadle.control.settings import ConnectApiSettings
from treadle.destinations.form import (
    DestinationForm,
    PathRefusedError,
    PropertiesRefusedError,
    TunnelRefusedError,
    merge_properties,
)
from treadle.destinations.form_registry import find_form, list_forms
from treadle.destinations.registry import make_destination
from treadle.errors import OperatorError
from treadle.store.destinations import DestinationPlace
from treadle.store.errors import DestinationHeldError, DestinationLimitError, NotFoundError
from treadle.store.model import Account, ConfiguredDestination, DestinationSetter
from treadle.store.store import Store

logger: Final = logging.getLogger(__name__)
"""Logs ids and types only: properties hold passwords, so nothing of a request is logged."""


@dataclass(frozen=True, slots=True)
class DestinationOperations:
    """The operations on destinations.

    Attributes:
        store: every look-up is inside the account.
        settings: bounds, and the folder of DuckDB files.
    """

    store: Store
    settings: ConnectApiSettings

    def list_types(self) -> object:
        """Serve `GET /v4/destination-types`: those whose driver is installed."""
        return [render_destination_type(form) for form in self._list_forms()]

    def get_type(self, type_: str) -> object:
        """Serve `GET /v4/destination-types/{type}`."""
        for form in self._list_forms():
            if form.type == type_:
                return render_destination_type(form)
        raise errors.unknown_destination_type_card(type_)

    def list_destinations(self, account: Account, parameters: Iterable[tuple[str, str]]) -> object:
        """Serve `GET /v4/destinations`: by id, without deleted ones."""
        wanted = destination_requests.parse_destination_filter(parameters)
        rows = [
            row
            for row in self.store.destinations.list_destinations(account.id)
            if row.deleted_at is None
        ]
        if wanted.destination_id is not None:
            rows = [row for row in rows if row.id == wanted.destination_id]
        if wanted.source_id is not None:
            its = self.store.destinations.find_destination_of_source(wanted.source_id)
            rows = [row for row in rows if its is not None and row.id == its.id]
        return [self._render(row) for row in rows]

    def get_destination(self, account: Account, destination_id: str) -> object:
        """Serve `GET /v4/destinations/{id}`."""
        number = parse_id(destination_id)
        row = (
            None if number is None else self.store.destinations.find_destination(account.id, number)
        )
        if row is None:
            raise errors.destination_unknown(status=404)
        return self._render(row)

    def create_destination(self, account: Account, raw: bytes) -> object:
        """Serve `POST /v4/destinations`."""
        asked = destination_requests.parse_destination_creation(raw)
        form = next((each for each in self._list_forms() if each.type == asked.type), None)
        if form is None:
            raise errors.unknown_destination_type(asked.type)
        place = _make_place(form, asked.properties, None)
        try:
            row = self.store.destinations.create_destination(
                account.id,
                place,
                name=asked.name,
                description=asked.description,
                takes_sources=asked.takes_sources,
                destinations_max=self.settings.destinations_max,
            )
        except DestinationLimitError as error:
            raise errors.destination_limit_reached() from error
        logger.info("account %d created destination %d (%s)", account.id, row.id, row.type)
        return self._render(row)

    def update_destination(self, account: Account, destination_id: str, raw: bytes) -> object:
        """Serve `PUT /v4/destinations/{id}`: other properties; those left out stay."""
        present = self._require_row(account, destination_id)
        given = destination_requests.parse_destination_update(raw)

        def rewrite(row: ConfiguredDestination) -> DestinationPlace:
            return _make_place(find_form(row.type, self.settings.duckdb_folder), given, row)

        # The first destination of its type imports the driver, which may take seconds. So that is
        # not done while the store is locked, where the change is decided.
        rewrite(present)
        try:
            row = self.store.destinations.update_destination(account.id, present.id, rewrite)
        except NotFoundError as error:
            raise errors.destination_unknown() from error
        except DestinationHeldError as error:
            raise errors.destination_is_held(present.id) from error
        logger.info("account %d changed destination %d", account.id, row.id)
        return self._render(row)

    def delete_destination(self, account: Account, destination_id: str) -> object:
        """Serve `DELETE /v4/destinations/{id}`: records wait, data in the database stays."""
        number = parse_id(destination_id)
        if number is None:
            if not re.fullmatch("[0-9]+", destination_id):
                raise errors.route_not_found()  # as documented, unlike for other methods
            raise errors.destination_not_deleted(destination_id, account.id)
        try:
            self.store.destinations.delete_destination(account.id, number)
        except NotFoundError as error:
            raise errors.destination_not_deleted(destination_id, account.id) from error
        except DestinationHeldError as error:
            raise errors.destination_is_held(number) from error
        logger.info("account %d deleted destination %d", account.id, number)
        return {}

    def _list_forms(self) -> list[DestinationForm]:
        return list_forms(self.settings.duckdb_folder)

    def _render(self, row: ConfiguredDestination) -> object:
        check = self.store.checks.find_last_check(row.id)
        form = find_form(row.type, self.settings.duckdb_folder)
        return render_destination(row, form, None if check is None else check.name)

    def _require_row(self, account: Account, destination_id: str) -> ConfiguredDestination:
        """Return a destination that the account may change."""
        number = parse_id(destination_id)
        if number is None:
            raise errors.destination_unknown()
        row = self.store.destinations.find_destination(account.id, number)
        if row is None:
            raise errors.destination_unknown()
        if row.is_held:
            raise errors.destination_is_held(number)
        return row


def _make_place(
    form: DestinationForm, given: Mapping[str, Any], row: ConfiguredDestination | None
) -> DestinationPlace:
    """Return the place that an account names by properties.

    Args:
        form: of the type.
        given: the properties of the request.
        row: the destination as it is; None for a new one.

    Raises:
        RequestRefusedError: the properties cannot be those of a destination.
    """
    try:
        url, changed = _write_url(form, given, row)
        identity = make_destination(url).identity
    except PropertiesRefusedError as error:
        raise errors.properties_do_not_match(error.names) from error
    except TunnelRefusedError as error:
        raise errors.tunnel_not_supported(error.value) from error
    except PathRefusedError as error:
        raise errors.path_outside_of_folder() from error
    except OperatorError as error:
        raise errors.properties_do_not_match([each.name for each in form.properties][:1]) from error
    setter = choose_setter(form, row, given, url, changed)
    return DestinationPlace(form.type, url, identity, setter, changed)


def _write_url(
    form: DestinationForm, given: Mapping[str, Any], row: ConfiguredDestination | None
) -> tuple[str, list[str]]:
    """Return the URL that a destination has then, and the properties that are new in it.

    Raises:
        PropertiesRefusedError: a property does not fit, or a credential has to be given, too.
        TunnelRefusedError, PathRefusedError: see `DestinationForm.write_url`.
    """
    former = None if row is None else row.url
    merged = merge_properties(form, given, former)
    old = {} if former is None else form.read_url(former)
    changed = sorted(name for name in {*merged, *old} if merged.get(name) != old.get(name))
    if former is not None and not changed:
        return former, changed
    if missing := list_missing_credentials(form, row, given, merged):
        raise PropertiesRefusedError(missing)
    return form.write_url(merged, former), changed


def choose_setter(
    form: DestinationForm,
    row: ConfiguredDestination | None,
    given: Collection[str],
    url: str,
    changed: Collection[str],
) -> DestinationSetter:
    """Return who has named a destination, after an account changed it. Pure.

    Only who names the server or the file, and gives every credential that is kept, names the
    destination. Otherwise credentials in it may be the operator's, whatever an account changed.

    Args:
        form: of its type.
        row: the destination as it was; None for a new one.
        given: names of the properties that the account gave.
        url: that the destination has now.
        changed: the properties that have other values now.
    """
    if row is None or row.is_named_by_account:
        return DestinationSetter.ACCOUNT
    if not changed:
        return DestinationSetter(row.set_by)
    old, new = form.read_url(row.url), form.read_url(url)
    keeps = any(
        each.is_credential and each.name not in given and each.name in old and each.name in new
        for each in form.properties
    )
    named = any(each.names_place and each.name in changed for each in form.properties)
    return DestinationSetter.ACCOUNT if named and not keeps else DestinationSetter.ADJUSTED


def list_missing_credentials(
    form: DestinationForm,
    row: ConfiguredDestination | None,
    given: Collection[str],
    merged: Mapping[str, str],
) -> tuple[str, ...]:
    """Return the credentials that an account has to give with a change.

    A password of the operator is not sent to a server that an account names, nor with another
    encryption than the operator wanted (connect-rest.md A.2.2).

    Args:
        form: of its type.
        row: the destination as it is; None for a new one.
        given: names of the properties that the account gives.
        merged: all properties that it would have then.
    """
    if row is None or row.is_named_by_account:
        return ()
    old = form.read_url(row.url)
    # A form on a page takes away the line end behind a certificate.
    if all(
        merged.get(each.name, "").strip() == old.get(each.name, "").strip()
        for each in form.properties
        if each.guards_secrets
    ):
        return ()
    return tuple(
        each.name
        for each in form.properties
        if each.is_credential and each.name not in given and (each.is_required or each.name in old)
    )
