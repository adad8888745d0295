"""The operations on tokens of all kinds: one life, one set of calls (`/v1/tokens`).

The documented calls about import tokens (`/v4/sources/{id}/tokens`) are in `operations`. As there,
everything here blocks, and `token_routes` runs it in threads.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from treadle.control import errors, token_requests
from treadle.control.lookups import find_source, parse_id
from treadle.control.token_responses import (
    render_access_token,
    render_made_token,
    render_webhook_settings,
)
from treadle.store.errors import NotFoundError, TokenLimitError, TokenRuleError
from treadle.store.model import Account, Source
from treadle.store.store import Store
from treadle.store.tokens import TokenFilter

logger: Final = logging.getLogger(__name__)
"""Logs ids only: answers hold tokens, so nothing of a request or an answer is logged."""


@dataclass(frozen=True, slots=True)
class TokenOperations:
    """The operations on tokens, and on the webhook settings of sources.

    Attributes:
        store: every look-up is inside the account.
        clock: microseconds since 1970.
    """

    store: Store
    clock: Callable[[], int]

    def list_tokens(self, account: Account, kind: str | None, source: str | None) -> object:
        """Serve `GET /v1/tokens`: by id, ended ones too, never their values."""
        wanted = TokenFilter(
            token_requests.parse_kinds(kind), account.id, token_requests.parse_source_id(source)
        )
        now = self.clock()
        found = self.store.tokens.find_tokens(wanted)
        return {"tokens": [render_access_token(token, now) for token in found]}

    def create_token(self, account: Account, raw: bytes) -> object:
        """Serve `POST /v1/tokens`."""
        asked, source_id = token_requests.parse_token_creation(raw)
        try:
            token = self.store.tokens.issue_token(asked, account_id=account.id, source_id=source_id)
        except NotFoundError as error:
            raise errors.source_not_found(str(source_id)) from error
        except TokenLimitError as error:
            raise errors.too_many_tokens(str(error)) from error
        except TokenRuleError as error:
            raise errors.invalid_token_body(str(error)) from error
        logger.info("account %d made %s token %d", account.id, token.kind, token.id)
        return render_made_token(token, self.clock())

    def expire_token(self, account: Account, token_id: str, raw: bytes) -> object:
        """Serve `PUT /v1/tokens/{token_id}`: from when the token is refused."""
        at = token_requests.parse_expiry(raw)
        try:
            token = self.store.tokens.expire_token(_own_tokens(account), _require_id(token_id), at)
        except NotFoundError as error:
            raise errors.token_not_found(token_id, status=404) from error
        logger.info("account %d set the expiry of token %d", account.id, token.id)
        return render_access_token(token, self.clock())

    def end_token(self, account: Account, token_id: str) -> object:
        """Serve `DELETE /v1/tokens/{token_id}`: revoke it at once."""
        try:
            token = self.store.tokens.end_token(_own_tokens(account), _require_id(token_id))
        except NotFoundError as error:
            raise errors.token_not_found(token_id, status=404) from error
        logger.info("account %d revoked token %d", account.id, token.id)
        return render_access_token(token, self.clock())

    def replace_token(self, account: Account, token_id: str, raw: bytes) -> object:
        """Serve `POST /v1/tokens/{token_id}/replace`: a new one, and an end of the old one."""
        overlap = token_requests.parse_overlap(raw)
        try:
            token = self.store.tokens.replace_token(
                _own_tokens(account), _require_id(token_id), overlap * 1_000_000
            )
        except NotFoundError as error:
            raise errors.token_not_found(token_id, status=404) from error
        except TokenLimitError as error:
            raise errors.too_many_tokens(
                f"{error}, or replace this one with overlap_seconds 0"
            ) from error
        logger.info("account %d replaced token %s with token %d", account.id, token_id, token.id)
        return render_made_token(token, self.clock())

    def get_webhook(self, account: Account, source_id: str) -> object:
        """Serve `GET /v1/sources/{source_id}/webhook`."""
        return render_webhook_settings(self._require_source(account, source_id))

    def change_webhook(self, account: Account, source_id: str, raw: bytes) -> object:
        """Serve `PUT /v1/sources/{source_id}/webhook`."""
        row = self._require_source(account, source_id)
        change = token_requests.parse_webhook_change(raw)
        changed: Source | None = row
        if change:
            changed = self.store.sources.update_source(
                account.id, row.id, settings={"webhook": change}
            )
        if changed is None:
            raise errors.source_not_found(source_id, status=404)
        logger.info("account %d changed the webhook of source %d", account.id, row.id)
        return render_webhook_settings(changed)

    def _require_source(self, account: Account, source_id: str) -> Source:
        row = find_source(self.store, account, source_id)
        if row is None or row.deleted_at is not None:
            raise errors.source_not_found(source_id, status=404)
        return row


def _own_tokens(account: Account) -> TokenFilter:
    return TokenFilter(token_requests.API_KINDS, account.id)


def _require_id(token_id: str) -> int:
    number = parse_id(token_id)
    if number is None:
        raise errors.token_not_found(token_id, status=404)
    return number
