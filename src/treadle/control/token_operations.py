"""The operations on tokens of all kinds: one life, one set of calls (`/v1/tokens`).

The documented calls about import tokens (`/v4/sources/{id}/tokens`) are in `operations`. As there,
everything here blocks, and `token_routes` runs it in threads.
"""

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from treadle.control import errors, schemas, token_requests
from treadle.control.lookups import find_source, parse_id
from treadle.control.token_responses import (
    render_access_token,
    render_listed_token,
    render_made_token,
    render_webhook_settings,
)
from treadle.store.errors import NotFoundError, TokenLimitError, TokenRuleError
from treadle.store.model import AccessToken, Account, Source
from treadle.store.store import Store
from treadle.store.token_rules import ACCOUNT
from treadle.store.tokens import TokenFilter
from treadle.tracking.token_verdict import judge_token

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
        return {"tokens": self._list_with_uses(wanted)}

    def _list_with_uses(self, wanted: TokenFilter) -> list[schemas.TokenWithUses]:
        now = self.clock()
        found = self.store.tokens.find_tokens(wanted)
        hours = self.store.tokens.list_hourly_uses([token.id for token in found], now)
        by_owner: dict[tuple[object, ...], list[AccessToken]] = defaultdict(list)
        for token in found:
            by_owner[_name_owner(token)].append(token)
        return [
            render_listed_token(
                token,
                judge_token(token, by_owner[_name_owner(token)], hours[token.id], now),
                hours[token.id],
                now,
            )
            for token in found
        ]

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

    def change_token(self, account: Account, token_id: str, raw: bytes) -> object:
        """Serve `PUT /v1/tokens/{token_id}`: its note, and from when it is refused."""
        change = token_requests.parse_token_change(raw)
        wanted, number = _own_tokens(account), _require_id(token_id)
        try:
            if change.description is not None:
                token = self.store.tokens.change_token(
                    wanted, number, description=change.description
                )
            if change.expires:
                token = self.store.tokens.expire_token(wanted, number, change.expires_at)
        except NotFoundError as error:
            raise errors.token_not_found(token_id, status=404) from error
        except TokenRuleError as error:
            raise errors.invalid_token_body(str(error)) from error
        logger.info("account %d changed token %d", account.id, token.id)
        return render_access_token(token, self.clock())

    # Account tokens by themselves ----------------------------------------------------------------

    def list_account_tokens(self, account: Account) -> object:
        """Serve `GET /v1/account-tokens`."""
        return {"account_tokens": self._list_with_uses(TokenFilter((ACCOUNT,), account.id))}

    def create_account_token(self, account: Account, raw: bytes) -> object:
        """Serve `POST /v1/account-tokens`."""
        asked = token_requests.parse_account_token(raw)
        try:
            token = self.store.tokens.issue_token(asked, account_id=account.id)
        except TokenLimitError as error:
            raise errors.too_many_tokens(str(error)) from error
        except TokenRuleError as error:
            raise errors.invalid_token_body(str(error)) from error
        logger.info("account %d made account token %d", account.id, token.id)
        return render_made_token(token, self.clock())

    def change_account_token(self, account: Account, token_id: str, raw: bytes) -> object:
        """Serve `PUT /v1/account-tokens/{token_id}`: disable, enable, another note."""
        change = token_requests.parse_account_token_change(raw)
        try:
            token = self.store.tokens.change_token(
                TokenFilter((ACCOUNT,), account.id),
                _require_id(token_id),
                description=change.description,
                disabled=change.disabled,
            )
        except NotFoundError as error:
            raise errors.token_not_found(token_id, status=404) from error
        except TokenRuleError as error:
            raise errors.invalid_token_body(str(error)) from error
        logger.info("account %d changed account token %d", account.id, token.id)
        return render_access_token(token, self.clock())

    def delete_account_token(self, account: Account, token_id: str) -> object:
        """Serve `DELETE /v1/account-tokens/{token_id}`: it is refused for good."""
        wanted = TokenFilter((ACCOUNT,), account.id)
        try:
            token = self.store.tokens.end_token(wanted, _require_id(token_id))
        except NotFoundError as error:
            raise errors.token_not_found(token_id, status=404) from error
        logger.info("account %d deleted account token %d", account.id, token.id)
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


def _name_owner(token: AccessToken) -> tuple[object, ...]:
    """Return what the tokens have in common that can take the place of each other."""
    return token.kind, token.source_id


def _own_tokens(account: Account) -> TokenFilter:
    return TokenFilter(token_requests.API_KINDS, account.id)


def _require_id(token_id: str) -> int:
    number = parse_id(token_id)
    if number is None:
        raise errors.token_not_found(token_id, status=404)
    return number
