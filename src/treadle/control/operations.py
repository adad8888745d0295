"""The operations of the Connect API: read the store, decide, change it, return the answer's value.

Everything here blocks, because the store does; `routes` runs it in threads. A request that cannot
be done is refused by an exception (`treadle.errors.RequestRefusedError`).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from treadle.clock import read_clock
from treadle.control import errors, paging, requests, responses
from treadle.control.lookups import ID_MAX, find_source, parse_id, require_own_account
from treadle.control.requests import SourceCreation, SourceUpdate
from treadle.control.schema_names import is_schema_name
from treadle.control.settings import ConnectApiSettings
from treadle.store.errors import (
    NameTakenError,
    NotFoundError,
    SourceLimitError,
    TokenLimitError,
)
from treadle.store.model import Account, Source, TableLoadStatus
from treadle.store.sources import UNSET, Unset
from treadle.store.store import Store

logger: Final = logging.getLogger(__name__)
"""Logs ids only: answers hold tokens, so nothing of a request or an answer is logged."""

LOADS_KEPT_US: Final = 60 * 24 * 60 * 60 * 1_000_000
"""How long a table stays in the list of loads after its last load (connect-api.md 2.12)."""


@dataclass(frozen=True, slots=True)
class ConnectOperations:
    """The operations of the Connect API.

    Attributes:
        store: sources, tokens, loads; every look-up is inside the account.
        settings: what the answers look like.
        clock: microseconds since 1970.
    """

    store: Store
    settings: ConnectApiSettings
    clock: Callable[[], int] = read_clock

    # Source types --------------------------------------------------------------------------------

    def list_source_types(self) -> object:
        """Serve `GET /v4/source-types`."""
        return [responses.render_source_type(self.settings)]

    def get_source_type(self, type_: str) -> object:
        """Serve `GET /v4/source-types/{source_type}`."""
        if type_ not in responses.SOURCE_TYPES:
            raise errors.unknown_source_type(type_, status=404)
        return responses.render_source_type(self.settings)

    # Sources -------------------------------------------------------------------------------------

    def list_sources(self, account: Account) -> object:
        """Serve `GET /v4/sources`: all of the account, deleted ones too, by id."""
        rows = self.store.sources.list_sources(account.id)
        shown = [row.id for row in rows] if self.settings.shows_tokens else []
        tokens = self.store.tokens.list_tokens_by_source(shown)
        return [responses.render_source(self.settings, row, tokens.get(row.id, [])) for row in rows]

    def get_source(self, account: Account, source_id: str) -> object:
        """Serve `GET /v4/sources/{source_id}`."""
        row = find_source(self.store, account, source_id)
        if row is None:
            raise errors.source_not_found(source_id, status=404)
        return self._render_source(row)

    def create_source(self, account: Account, raw: bytes) -> object:
        """Serve `POST /v4/sources`."""
        asked = requests.parse_creation(raw)
        if self._is_reserved(account, asked):
            raise asked.make_reserved_error()
        if asked.properties:
            raise self._make_properties_error(account, asked)
        _check_id_range(asked.destination_id)
        try:
            row = self.store.sources.create_source(
                account.id,
                type=asked.type,
                display_name=asked.display_name,
                name=asked.name,
                destination_id=asked.destination_id,
                bootstrap_token=self.settings.shows_tokens,
                sources_max=self.settings.sources_max,
            )
        except NameTakenError as error:
            raise asked.make_name_taken_error() from error
        except SourceLimitError as error:
            raise errors.source_limit_reached(error.limit) from error
        except NotFoundError as error:
            raise errors.destination_not_found(asked.destination_id) from error
        logger.info("account %d created source %d", account.id, row.id)
        return self._render_source(row)

    def _is_reserved(self, account: Account, asked: SourceCreation) -> bool:
        """Return whether the destination that is asked for keeps the name for itself."""
        if asked.destination_id is not None and not 1 <= asked.destination_id <= ID_MAX:
            return False
        found = self.store.destinations.list_identities(account.id, asked.destination_id)
        return not is_schema_name(asked.name, found)

    def _make_properties_error(self, account: Account, asked: SourceCreation) -> Exception:
        """Return why a creation with properties fails; a name in use comes first.

        (connect-api.md 2.5, check order)
        """
        for row in self.store.sources.list_sources(account.id):
            if row.name == asked.name and row.deleted_at is None:
                return asked.make_name_taken_error()
        card = responses.render_report_card(self.settings, configured=False)
        return errors.invalid_properties(asked.properties, card)

    def update_source(self, account: Account, source_id: str, raw: bytes) -> object:
        """Serve `PUT /v4/sources/{source_id}`: rename, pause, unpause, another destination."""
        row = self._require_active_source(account, source_id)
        asked = requests.parse_update(raw)
        if asked.properties:
            card = responses.render_report_card(self.settings, configured=True)
            raise errors.invalid_properties(asked.properties, card)
        if not isinstance(asked.destination_id, Unset):
            _check_id_range(asked.destination_id)
        changes = _collect_changes(asked)
        if not changes:
            return self._render_source(row)
        try:
            changed = self.store.sources.update_source(account.id, row.id, **changes)
        except NotFoundError as error:
            raise errors.destination_not_found(asked.destination_id) from error
        if changed is None:
            raise errors.source_not_found(source_id)
        logger.info("account %d changed %s of source %d", account.id, ", ".join(changes), row.id)
        return self._render_source(changed)

    def delete_source(self, account: Account, source_id: str) -> object:
        """Serve `DELETE /v4/sources/{source_id}`: the source stays readable, its data stays."""
        row = self._require_active_source(account, source_id)
        deleted = self.store.sources.delete_source(account.id, row.id)
        if deleted is None:
            raise errors.source_not_found(source_id)
        logger.info("account %d deleted source %d", account.id, row.id)
        return self._render_source(deleted)

    # Import API access tokens --------------------------------------------------------------------

    def create_token(self, account: Account, source_id: str) -> object:
        """Serve `POST /v4/sources/{source_id}/tokens`."""
        row = _require_import_source(self._require_active_source(account, source_id))
        try:
            token = self.store.tokens.create_token(account.id, row.id)
        except NotFoundError as error:
            raise errors.source_not_found(source_id) from error
        except TokenLimitError as error:
            raise errors.token_limit_reached(row.id, error.limit) from error
        logger.info("account %d made token %d of source %d", account.id, token.id, row.id)
        changed = self.store.sources.get_source(account.id, row.id) or row
        return responses.render_new_token(
            self.settings, token, changed, self.store.tokens.list_tokens(row.id)
        )

    def list_tokens(self, account: Account, source_id: str) -> object:
        """Serve `GET /v4/sources/{source_id}/tokens`: ids of active tokens, never values."""
        row = _require_import_source(self._require_active_source(account, source_id, status=404))
        return responses.render_token_list(self.settings, self.store.tokens.list_tokens(row.id))

    def revoke_token(self, account: Account, source_id: str, token_id: str) -> object:
        """Serve `DELETE /v4/sources/{source_id}/tokens/{token_id}`."""
        row = _require_import_source(self._require_active_source(account, source_id))
        number = parse_id(token_id)
        if number is None:
            raise errors.token_not_found(token_id)
        try:
            changed = self.store.tokens.revoke_token(account.id, row.id, number)
        except NotFoundError as error:
            raise errors.source_not_found(source_id) from error
        if changed is None:
            raise errors.token_not_found(token_id)
        logger.info("account %d revoked token %d of source %d", account.id, number, row.id)
        return self._render_source(changed)

    # Loads ---------------------------------------------------------------------------------------

    def list_loads(self, account: Account, client_id: str, page: str | None) -> object:
        """Serve `GET /v4/{client_id}/loads`: the last load of each table, for 60 days."""
        require_own_account(account, client_id)
        names = {row.id: row.name for row in self.store.sources.list_sources(account.id)}
        since = self.clock() - LOADS_KEPT_US
        rows = sorted(
            (
                (status.table_name, names[status.source_id], status)
                for status in self.store.tables.list_statuses()
                if status.source_id in names
                and _was_tried(status)
                and _get_last_try(status) >= since
            ),
            key=lambda row: row[:2],
        )
        return paging.render_page(
            rows,
            page,
            f"/v4/{account.id}/loads",
            lambda row: responses.render_load(account.id, row[1], row[2]),
        )

    # Look-ups ------------------------------------------------------------------------------------

    def _require_active_source(
        self, account: Account, source_id: str, *, status: int = 400
    ) -> Source:
        row = find_source(self.store, account, source_id)
        if row is None or row.deleted_at is not None:
            raise errors.source_not_found(source_id, status=status)
        return row

    def _render_source(self, row: Source) -> object:
        tokens = self.store.tokens.list_tokens(row.id) if self.settings.shows_tokens else []
        return responses.render_source(self.settings, row, tokens)


def _require_import_source(row: Source) -> Source:
    if row.type != responses.IMPORT_API:
        raise errors.not_an_import_source(row.id)
    return row


def _check_id_range(destination_id: int | None) -> None:
    """Refuse an id beyond 64 bits: no store has one, or can be asked for one."""
    if destination_id is not None and not 1 <= destination_id <= ID_MAX:
        raise errors.destination_not_found(destination_id)


def _collect_changes(asked: SourceUpdate) -> dict[str, Any]:
    """Return the columns to change, by the store's names."""
    every = {
        "display_name": asked.display_name,
        "paused_at": asked.paused_at,
        "destination_id": asked.destination_id,
    }
    return {name: value for name, value in every.items() if value is not UNSET}


def _was_tried(status: TableLoadStatus) -> bool:
    """Return whether a table was loaded, or fails.

    Clients cannot read a row without a time and without an error (connect-rest.md A.3 row 4).
    """
    return status.loaded_at is not None or status.error is not None


def _get_last_try(status: TableLoadStatus) -> int:
    """Return when a table was last loaded or tried; a failing table is tried all the time."""
    if status.error is not None and not status.stopped:
        return ID_MAX
    return max(status.loaded_at or 0, status.error_since or 0)
