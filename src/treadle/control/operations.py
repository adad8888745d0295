"""What each request does: reads the store, decides, changes it, and gives the answer's value.

Everything here blocks, because the store does; `app` runs it in threads. The answer to a request
that cannot be done is raised (`treadle.errors.Refused`).
"""

import logging
import re
import time
from collections.abc import Callable
from typing import Any, Final

from treadle.control import bodies, pages, refusals, shapes
from treadle.control.bodies import Creation, Update
from treadle.control.settings import Settings
from treadle.store.errors import NameTaken, NotFound, TooManyTokens
from treadle.store.model import Account, Source, TableStatus
from treadle.store.sources import UNSET, Unset
from treadle.store.store import Store

log: Final = logging.getLogger(__name__)
"""Ids only: answers hold tokens, so nothing of a request or an answer is logged."""

LOADS_KEPT: Final = 60 * 24 * 60 * 60 * 1_000_000
"""Microseconds that a table stays in the list of loads after its last one (connect-api.md 2.12)."""

_ID: Final = re.compile(r"[1-9][0-9]{0,18}")
_GREATEST_ID: Final = 2**63 - 1


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1_000


def identifier(text: str) -> int | None:
    """The id a path names; None for a text that can be no id, such as one beyond 64 bits."""
    if not _ID.fullmatch(text):
        return None
    value = int(text)
    return value if value <= _GREATEST_ID else None


class Operations:
    """The operations of the control API.

    Args:
        store: sources, tokens, loads; every look-up is inside the account.
        settings: what the answers look like.
        clock: microseconds since 1970.
    """

    def __init__(self, store: Store, settings: Settings, clock: Callable[[], int] = now) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock

    @property
    def store(self) -> Store:
        """What is asked."""
        return self._store

    # Who asks ------------------------------------------------------------------------------------

    def account(self, token: str | None) -> Account:
        """The account of an account token; Import API tokens are unknown here."""
        account = None if token is None else self._store.account_by_token(token)
        if account is None:
            raise refusals.unauthorized()
        return account

    # Source types --------------------------------------------------------------------------------

    def source_types(self) -> object:
        """`GET /v4/source-types`."""
        return [shapes.source_type(self._settings)]

    def source_type(self, type_: str) -> object:
        """`GET /v4/source-types/{source_type}`."""
        if type_ not in shapes.SOURCE_TYPES:
            raise refusals.no_source_type(type_, status=404)
        return shapes.source_type(self._settings)

    # Sources -------------------------------------------------------------------------------------

    def sources(self, account: Account) -> object:
        """`GET /v4/sources`: all of the account, deleted ones too, by id."""
        rows = self._store.sources(account.id)
        shown = [row.id for row in rows] if self._settings.shows_tokens else []
        tokens = self._store.tokens_of(shown)
        return [shapes.source(self._settings, row, tokens.get(row.id, [])) for row in rows]

    def source(self, account: Account, source_id: str) -> object:
        """`GET /v4/sources/{source_id}`."""
        row = self._find(account, source_id)
        if row is None:
            raise refusals.no_source(source_id, status=404)
        return self._shaped(row)

    def create_source(self, account: Account, raw: bytes) -> object:
        """`POST /v4/sources`."""
        asked = bodies.creation(raw)
        if asked.properties:
            raise self._unsettable(account, asked)
        _check_range(asked.destination_id)
        try:
            row = self._store.create_source(
                account.id,
                type=asked.type,
                display_name=asked.display_name,
                name=asked.name,
                destination_id=asked.destination_id,
                bootstrap_token=self._settings.shows_tokens,
            )
        except NameTaken as error:
            raise asked.taken() from error
        except NotFound as error:
            raise refusals.no_destination(asked.destination_id) from error
        log.info("account %d created source %d", account.id, row.id)
        return self._shaped(row)

    def _unsettable(self, account: Account, asked: Creation) -> Exception:
        """Why a creation with properties fails: a name in use is said first (2.5, check order)."""
        for row in self._store.sources(account.id):
            if row.name == asked.name and row.deleted_at is None:
                return asked.taken()
        card = shapes.report_card(self._settings, configured=False)
        return refusals.bad_properties(asked.properties, card)

    def update_source(self, account: Account, source_id: str, raw: bytes) -> object:
        """`PUT /v4/sources/{source_id}`: rename, pause, unpause, another destination."""
        row = self._living(account, source_id)
        asked = bodies.update(raw)
        if asked.properties:
            card = shapes.report_card(self._settings, configured=True)
            raise refusals.bad_properties(asked.properties, card)
        if not isinstance(asked.destination_id, Unset):
            _check_range(asked.destination_id)
        changes = _changes(asked)
        if not changes:
            return self._shaped(row)
        try:
            changed = self._store.update_source(account.id, row.id, **changes)
        except NameTaken as error:  # in another destination the name is another account's
            raise refusals.name_taken(row.name) from error
        except NotFound as error:
            raise refusals.no_destination(asked.destination_id) from error
        if changed is None:
            raise refusals.no_source(source_id)
        log.info("account %d changed %s of source %d", account.id, ", ".join(changes), row.id)
        return self._shaped(changed)

    def delete_source(self, account: Account, source_id: str) -> object:
        """`DELETE /v4/sources/{source_id}`: the source stays readable, its data stays."""
        row = self._living(account, source_id)
        deleted = self._store.delete_source(account.id, row.id)
        if deleted is None:
            raise refusals.no_source(source_id)
        log.info("account %d deleted source %d", account.id, row.id)
        return self._shaped(deleted)

    # Import API access tokens --------------------------------------------------------------------

    def create_token(self, account: Account, source_id: str) -> object:
        """`POST /v4/sources/{source_id}/tokens`."""
        row = _with_tokens(self._living(account, source_id))
        try:
            token = self._store.create_token(account.id, row.id)
        except NotFound as error:
            raise refusals.no_source(source_id) from error
        except TooManyTokens as error:
            raise refusals.two_tokens(row.id, error.limit) from error
        log.info("account %d made token %d of source %d", account.id, token.id, row.id)
        changed = self._store.source(account.id, row.id) or row
        return shapes.new_token(self._settings, token, changed, self._store.tokens(row.id))

    def tokens(self, account: Account, source_id: str) -> object:
        """`GET /v4/sources/{source_id}/tokens`: ids of the active ones, never their values."""
        row = _with_tokens(self._living(account, source_id, status=404))
        return shapes.token_list(self._settings, self._store.tokens(row.id))

    def revoke_token(self, account: Account, source_id: str, token_id: str) -> object:
        """`DELETE /v4/sources/{source_id}/tokens/{token_id}`."""
        row = _with_tokens(self._living(account, source_id))
        number = identifier(token_id)
        if number is None:
            raise refusals.no_token(token_id)
        try:
            changed = self._store.revoke_token(account.id, row.id, number)
        except NotFound as error:
            raise refusals.no_source(source_id) from error
        if changed is None:
            raise refusals.no_token(token_id)
        log.info("account %d revoked token %d of source %d", account.id, number, row.id)
        return self._shaped(changed)

    # Loads, and what a source that is pushed to does not have (connect-api.md 5) -----------------

    def loads(self, account: Account, client_id: str, page: str | None) -> object:
        """`GET /v4/{client_id}/loads`: the last load of each table, for 60 days."""
        self._own(account, client_id)
        names = {row.id: row.name for row in self._store.sources(account.id)}
        since = self._clock() - LOADS_KEPT
        rows = sorted(
            (
                (status.table_name, names[status.source_id], status)
                for status in self._store.table_statuses()
                if status.source_id in names and _last_tried(status) >= since
            ),
            key=lambda row: row[:2],
        )
        return pages.page(
            rows,
            page,
            f"/v4/{account.id}/loads",
            lambda row: shapes.load(account.id, row[1], row[2]),
        )

    def extractions(self, account: Account, client_id: str, page: str | None) -> object:
        """`GET /v4/{client_id}/extractions`: nothing is extracted."""
        self._own(account, client_id)
        nothing: tuple[object, ...] = ()
        return pages.page(nothing, page, f"/v4/{account.id}/extractions", lambda row: row)

    def extraction(self, account: Account, client_id: str) -> object:
        """`GET /v4/{client_id}/extractions/{job_name}`: there is no job, so there is no log."""
        self._own(account, client_id)
        raise refusals.no_route()

    def last_check(self, account: Account, source_id: str) -> object:
        """`GET /v4/sources/{source_id}/last-connection-check`."""
        row = self._find(account, source_id)
        if row is None:
            raise refusals.no_source(source_id, status=404)
        raise refusals.no_check(row.id)

    def streams(self, account: Account, source_id: str) -> object:
        """`GET /v4/sources/{source_id}/streams`: nothing was discovered."""
        if self._find(account, source_id) is None:
            raise refusals.no_stream(source_id)
        return []

    def stream(self, account: Account, source_id: str, stream_id: str) -> object:
        """`GET /v4/sources/{source_id}/streams/{stream_id}`."""
        known = self._find(account, source_id) is not None
        raise refusals.no_stream(stream_id if known else source_id)

    def select_streams(self, account: Account, source_id: str, raw: bytes) -> object:
        """`PUT /v4/sources/{source_id}/streams/metadata`."""
        if self._find(account, source_id) is None:
            raise refusals.no_stream(source_id)
        ids = bodies.selected_streams(raw)
        if ids:
            raise refusals.no_tap_streams(ids)
        return {"status": 200}

    def start_job(self, account: Account, source_id: str) -> object:
        """`POST /v4/sources/{source_id}/sync`: says at once that there is nothing to start."""
        row = self._job_source(account, source_id)
        if row.deleted_at is not None:
            raise refusals.job_source_deleted()
        raise refusals.no_job(row.id, account.id)

    def stop_job(self, account: Account, source_id: str) -> object:
        """`DELETE /v4/sources/{source_id}/sync`: nothing runs, so it is stopped."""
        self._job_source(account, source_id)
        return {"status": 200}

    # Look-ups ------------------------------------------------------------------------------------

    def _find(self, account: Account, source_id: str) -> Source | None:
        """A source of the account, deleted ones too."""
        number = identifier(source_id)
        return None if number is None else self._store.source(account.id, number)

    def _living(self, account: Account, source_id: str, *, status: int = 400) -> Source:
        row = self._find(account, source_id)
        if row is None or row.deleted_at is not None:
            raise refusals.no_source(source_id, status=status)
        return row

    def _job_source(self, account: Account, source_id: str) -> Source:
        row = self._find(account, source_id)
        if row is None:
            raise refusals.no_job_source(source_id, account.id)
        return row

    def _shaped(self, row: Source) -> object:
        tokens = self._store.tokens(row.id) if self._settings.shows_tokens else []
        return shapes.source(self._settings, row, tokens)

    @staticmethod
    def _own(account: Account, client_id: str) -> None:
        if identifier(client_id) != account.id:
            raise refusals.unauthorized()


def _with_tokens(row: Source) -> Source:
    if row.type != shapes.IMPORT_API:
        raise refusals.no_import_api(row.id)
    return row


def _check_range(destination_id: int | None) -> None:
    """No store has an id beyond 64 bits, or can be asked for one."""
    if destination_id is not None and not 1 <= destination_id <= _GREATEST_ID:
        raise refusals.no_destination(destination_id)


def _changes(asked: Update) -> dict[str, Any]:
    """The columns to change, by the store's names."""
    every = {
        "display_name": asked.display_name,
        "paused_at": asked.paused_at,
        "destination_id": asked.destination_id,
    }
    return {name: value for name, value in every.items() if value is not UNSET}


def _last_tried(status: TableStatus) -> int:
    """When a table was last loaded or tried; one in trouble is tried for as long as it is."""
    if status.error is not None and not status.stopped:
        return _GREATEST_ID
    return max(status.loaded_at or 0, status.error_since or 0)
