"""The repository of access tokens: what opens the APIs, and the life that all kinds of it have.

A token is made, listed, replaced with an overlap, and ends when it expires or is revoked. Import
tokens have the documented calls besides (connect-api.md 2.6).
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Row,
    Text,
    bindparam,
    case,
    delete,
    exists,
    func,
    select,
    update,
)

from treadle.errors import OperatorError
from treadle.store.accounts import require_account
from treadle.store.database import BOOKKEEPING, StoreRepository, StoreTransaction
from treadle.store.errors import NotFoundError, TokenRuleError, TokenTakenError
from treadle.store.model import AccessToken, KnownToken, Source, TokenOwner, WebhookScope
from treadle.store.schema import access_tokens, sources, table_schemas, token_hours
from treadle.store.secrets import hash_token
from treadle.store.source_rows import change_source, find_undeleted_source, require_source
from treadle.store.token_rows import (
    add_token,
    is_active,
    is_kept,
    make_room,
    open_secret,
    open_signature,
    read_token,
    record_token,
    seal_signature,
)
from treadle.store.token_rules import (
    ACCOUNT,
    IMPORT,
    METRICS,
    PREFIXES,
    SOURCE_KINDS,
    WEBHOOK,
    TokenRequest,
    check_imported_token,
    check_token_request,
)
from treadle.store.trail_event import TrailAction, describe_change
from treadle.timestamps import format_exact

logger = logging.getLogger(__name__)

HOUR_US: Final = 3_600_000_000
HOURS_KEPT: Final = 7 * 24
"""Hours of which the uses of a token are kept."""

_IMPORT_REQUEST: Final = TokenRequest(IMPORT)

_CREATE: Final = {
    ACCOUNT: TrailAction.CREATE_ACCOUNT_TOKEN,
    IMPORT: TrailAction.CREATE_IMPORT_TOKEN,
    WEBHOOK: TrailAction.CREATE_WEBHOOK_TOKEN,
    METRICS: TrailAction.CREATE_METRICS_TOKEN,
}
_REVOKE: Final = {
    ACCOUNT: TrailAction.REVOKE_ACCOUNT_TOKEN,
    IMPORT: TrailAction.REVOKE_IMPORT_TOKEN,
    WEBHOOK: TrailAction.REVOKE_WEBHOOK_TOKEN,
    METRICS: TrailAction.REVOKE_METRICS_TOKEN,
}
_TAKE_OVER: Final = {
    IMPORT: TrailAction.TAKE_OVER_IMPORT_TOKEN,
    WEBHOOK: TrailAction.TAKE_OVER_WEBHOOK_TOKEN,
}

_senders = (
    select(
        access_tokens.c.sha256,
        access_tokens.c.id,
        access_tokens.c.kind,
        access_tokens.c.source_id,
        access_tokens.c.tables,
        access_tokens.c.signature,
        access_tokens.c.first_used_at,
        access_tokens.c.expires_at,
        sources.c.account_id,
        sources.c.log,
        sources.c.paused_at,
        sources.c.system_paused_at,
        sources.c.deleted_at,
        exists().where(table_schemas.c.source_id == sources.c.id).label("has_schemas"),
    )
    .join(sources, sources.c.id == access_tokens.c.source_id)
    .where(access_tokens.c.kind.in_(SOURCE_KINDS))
)


@dataclass(frozen=True, slots=True)
class TokenFilter:
    """A choice of tokens.

    Attributes:
        kinds: of these kinds.
        account_id: only of this account and its sources; None for any.
        source_id: only of this source; None for any.
        ids: only these, for a list; None for any.
    """

    kinds: tuple[str, ...]
    account_id: int | None = None
    source_id: int | None = None
    ids: tuple[int, ...] | None = None


class TokenRepository(StoreRepository):
    """Access tokens of all kinds."""

    # The life of every token ----------------------------------------------------------------------

    def issue_token(
        self, asked: TokenRequest, *, account_id: int | None = None, source_id: int | None = None
    ) -> AccessToken:
        """Make a token and return it with its secret, which is shown this once.

        Args:
            asked: what it is to be.
            account_id: its account; None for a token of the server, or for a source of any.
            source_id: its source, for an import or a webhook token.

        Raises:
            NotFoundError: no such account, or no such source in it.
            TokenLimitError: there are as many tokens of this kind as there may be.
            TokenRuleError: what is asked for breaks a rule.
        """
        check_token_request(asked)
        with self._database.change() as tx:
            owner = _require_owner(tx, asked.kind, account_id, source_id)
            secret = tx.mint(PREFIXES[asked.kind])
            return _add_token(tx, asked, secret, owner, _CREATE[asked.kind])

    def find_tokens(self, wanted: TokenFilter) -> list[AccessToken]:
        """Return tokens by id, ended ones too, without their secrets."""
        query = select(access_tokens).where(access_tokens.c.kind.in_(wanted.kinds))
        if wanted.account_id is not None:
            query = query.where(access_tokens.c.account_id == wanted.account_id)
        if wanted.source_id is not None:
            query = query.where(access_tokens.c.source_id == wanted.source_id)
        if wanted.ids is not None:
            query = query.where(access_tokens.c.id.in_(wanted.ids))
        with self._database.read() as tx:
            rows = tx.connection.execute(query.order_by(access_tokens.c.id))
            return [read_token(tx, row) for row in rows]

    def end_token(self, wanted: TokenFilter, token_id: int) -> AccessToken:
        """Revoke an active token and return it.

        Raises:
            NotFoundError: there is no such active token among those asked for.
        """
        with self._database.change() as tx:
            row = _require_active(tx, wanted, token_id)
            token = _change_token(tx, row, revoked_at=tx.now)
            record_token(tx, _REVOKE[row.kind], token, {})
            return token

    def change_token(
        self,
        wanted: TokenFilter,
        token_id: int,
        *,
        description: str | None = None,
        disabled: bool | None = None,
    ) -> AccessToken:
        """Give an active or disabled token another description, or disable or enable it.

        Args:
            wanted: the token is among these.
            token_id: the token.
            description: its note; None to keep it.
            disabled: whether it is refused from now on; None to keep that.

        Raises:
            NotFoundError: there is no such token among those asked for.
            TokenRuleError: the description is too long, or a token of this kind cannot be disabled.
        """
        with self._database.change() as tx:
            row = _require_active(tx, wanted, token_id)
            if description is not None:
                check_token_request(TokenRequest(row.kind, description))
                token = _change_token(tx, row, description=description)
                told = describe_change(
                    {"description": row.description}, {"description": description}
                )
                record_token(tx, TrailAction.DESCRIBE_TOKEN, token, told)
            if disabled is not None:
                if row.kind != ACCOUNT:
                    raise TokenRuleError(
                        f"a token of the kind {row.kind} cannot be disabled: pause its source, or "
                        "revoke it"
                    )
                since = (row.disabled_at or tx.now) if disabled else None
                token = _change_token(tx, row, disabled_at=since)
                action = TrailAction.DISABLE_TOKEN if disabled else TrailAction.ENABLE_TOKEN
                record_token(tx, action, token, {})
            elif description is None:
                raise TokenRuleError("nothing is to be changed")
            return token

    def list_hourly_uses(self, token_ids: Sequence[int], now: int) -> dict[int, list[int]]:
        """Return token id -> uses in each of the last 168 hours, the present one last."""
        last = now // HOUR_US
        found = {token_id: [0] * HOURS_KEPT for token_id in token_ids}
        query = select(token_hours).where(
            token_hours.c.token_id.in_(found),
            token_hours.c.hour > last - HOURS_KEPT,
            token_hours.c.hour <= last,
        )
        with self._database.read() as tx:
            for row in tx.connection.execute(query):
                found[row.token_id][row.hour - last - 1] = row.uses
        return found

    def expire_token(self, wanted: TokenFilter, token_id: int, at: int | None) -> AccessToken:
        """Set the time from which an active token is refused, and return the token.

        Args:
            wanted: the token is among these.
            token_id: the token.
            at: microseconds since 1970; None for never.

        Raises:
            NotFoundError: there is no such active token among those asked for.
        """
        with self._database.change() as tx:
            row = _require_active(tx, wanted, token_id)
            token = _change_token(tx, row, expires_at=at)
            ends = None if at is None else format_exact(at)
            record_token(tx, TrailAction.EXPIRE_TOKEN, token, {"expires_at": ends})
            return token

    def replace_token(self, wanted: TokenFilter, token_id: int, overlap_us: int) -> AccessToken:
        """Make a token like an active one, which ends after an overlap.

        The new one has the description, the tables and the signature of the old one, and no time of
        expiry.

        Args:
            wanted: the token is among these.
            token_id: the old token.
            overlap_us: how long both are valid; 0 ends the old one at once. An earlier expiry of
                it stays.

        Returns:
            The new token with its secret.

        Raises:
            NotFoundError: there is no such active token among those asked for, or its source is
                deleted.
            TokenLimitError: with an overlap there would be more tokens than there may be.
        """
        with self._database.change() as tx:
            row = _require_active(tx, wanted, token_id)
            owner = _require_owner(tx, row.kind, row.account_id, row.source_id)
            if overlap_us <= 0:
                _change_token(tx, row, revoked_at=tx.now)
            else:
                ends = tx.now + overlap_us
                ends = ends if row.expires_at is None else min(ends, row.expires_at)
                _change_token(tx, row, expires_at=ends)
            old = read_token(tx, row)
            asked = TokenRequest(
                old.kind, old.description, tables=old.tables, signature=old.signature
            )
            secret = tx.mint(PREFIXES[asked.kind])
            return _add_token(tx, asked, secret, owner, TrailAction.REPLACE_TOKEN, old.id)

    def find_metrics_token(self, token: str) -> int | None:
        """Return the id of an active token that opens `/metrics`; None for any other."""
        with self._database.read() as tx:
            found: int | None = tx.connection.execute(
                select(access_tokens.c.id).where(
                    access_tokens.c.kind == METRICS,
                    access_tokens.c.sha256 == hash_token(token),
                    is_active(tx.now),
                )
            ).scalar_one_or_none()
            return found

    # Import tokens, as documented (connect-api.md 2.6) --------------------------------------------

    def create_token(self, account_id: int | None, source_id: int) -> AccessToken:
        """Create an import token and return it with its secret.

        A source has at most two active ones. The bootstrap token, made with the source, counts
        only after its first use: while unused, it is revoked for a third one (connect-api.md 2.6).

        Raises:
            NotFoundError: the source is unknown or deleted.
            TokenLimitError: it has two tokens already.
        """
        return self.issue_token(_IMPORT_REQUEST, account_id=account_id, source_id=source_id)

    def adopt_token(
        self, source_id: int, secret: str, asked: TokenRequest = _IMPORT_REQUEST
    ) -> AccessToken:
        """Add a token that was made elsewhere, for a client that moves here and keeps its token.

        A second call for the same source returns the token as it is. An import token that is
        adopted as a webhook token becomes one, and works in the URL only.

        Args:
            source_id: its source.
            secret: the token itself.
            asked: what it is to be: an import or a webhook token.

        Raises:
            NotFoundError: the source is unknown or deleted.
            TokenLimitError: the source has as many tokens as it may have.
            TokenRuleError: it could be guessed, or cannot stand in a URL.
            TokenTakenError: the token belongs to another source, or has ended.
        """
        check_token_request(asked)
        check_imported_token(secret, in_url=asked.kind == WEBHOOK)
        with self._database.change() as tx:
            source = require_source(tx, None, source_id)
            row = tx.connection.execute(
                select(access_tokens).where(access_tokens.c.sha256 == hash_token(secret))
            ).one_or_none()
            if row is None:
                return _add_token(tx, asked, secret, source, _TAKE_OVER[asked.kind])
            _refuse_taken(row, source, asked.kind, tx.now)
            if row.kind == asked.kind:
                return read_token(tx, row, secret)
            make_room(tx, asked.kind, source.account_id, source.id)
            change_source(tx, source)
            return _narrow_token(tx, row, asked)

    def list_tokens(self, source_id: int) -> list[AccessToken]:
        """Return the active import tokens of a source by id, with their secrets."""
        return self.list_tokens_by_source([source_id])[source_id]

    def list_tokens_by_source(self, source_ids: Sequence[int]) -> dict[int, list[AccessToken]]:
        """Return the active import tokens of sources: each source id -> its tokens, or none."""
        found: dict[int, list[AccessToken]] = {source_id: [] for source_id in source_ids}
        with self._database.read() as tx:
            rows = tx.connection.execute(
                select(access_tokens)
                .where(
                    access_tokens.c.kind == IMPORT,
                    access_tokens.c.source_id.in_(source_ids),
                    is_active(tx.now),
                )
                .order_by(access_tokens.c.id)
            )
            for row in rows:
                found[row.source_id].append(read_token(tx, row, open_secret(tx, row)))
        return found

    def revoke_token(self, account_id: int | None, source_id: int, token_id: int) -> Source | None:
        """Revoke an import token of a source.

        Returns:
            The source with a new `updated_at`; None when it has no such active token.

        Raises:
            NotFoundError: the source is unknown or deleted.
        """
        with self._database.change() as tx:
            source = require_source(tx, account_id, source_id)
            row = _find_active(tx, TokenFilter((IMPORT,), source.account_id, source.id), token_id)
            if row is None:
                return None
            token = _change_token(tx, row, revoked_at=tx.now)
            record_token(tx, TrailAction.REVOKE_IMPORT_TOKEN, token, {})
            return find_undeleted_source(tx, account_id, source_id)

    # Look-ups and uses, for who takes requests ----------------------------------------------------

    def find_owner(self, sha256: bytes) -> TokenOwner | None:
        """Return the owner of the import token with this SHA-256; None for any other token.

        A token of a paused or deleted source has an owner too, with `active` False: such a push is
        answered otherwise than one with an unknown token (connect-api.md 4.3).
        """
        found = self.find_sender(sha256)
        return None if found is None or found.webhook is not None else found

    def find_sender(self, sha256: bytes) -> TokenOwner | None:
        """Return the owner of an import or webhook token; None for an unknown or ended one."""
        with self._database.read() as tx:
            row = tx.connection.execute(
                _senders.where(access_tokens.c.sha256 == sha256, is_active(tx.now))
            ).one_or_none()
            return None if row is None else _read_owner(tx, row)

    def list_senders(self) -> dict[bytes, TokenOwner]:
        """Return SHA-256 of the token -> owner, for all active import and webhook tokens."""
        with self._database.read() as tx:
            found: dict[bytes, TokenOwner] = {}
            for row in tx.connection.execute(_senders.where(is_active(tx.now))):
                try:
                    found[bytes(row.sha256)] = _read_owner(tx, row)
                except OperatorError as error:  # it hurts this token alone
                    logger.warning("Token %d is refused: %s", row.id, error)
            return found

    def list_known_tokens(self, limit: int) -> dict[bytes, KnownToken]:
        """Return SHA-256 of the token -> whose it is, of any kind, also of those that have ended.

        Args:
            limit: only so many, the newest ones.
        """
        query = (
            select(
                access_tokens.c.sha256,
                access_tokens.c.id,
                access_tokens.c.account_id,
                access_tokens.c.source_id,
            )
            .order_by(access_tokens.c.id.desc())
            .limit(limit)
        )
        with self._database.read() as tx:
            return {
                bytes(row.sha256): KnownToken(row.id, row.account_id, row.source_id)
                for row in tx.connection.execute(query)
            }

    def list_ended_tokens(self, token_ids: Collection[int]) -> list[AccessToken]:
        """Return those of some tokens that were revoked or have expired, without their secrets."""
        with self._database.read() as tx:
            rows = tx.connection.execute(
                select(access_tokens).where(access_tokens.c.id.in_(token_ids), ~is_active(tx.now))
            )
            return [read_token(tx, row) for row in rows]

    def list_unused_tokens(self, before: int, limit: int) -> list[AccessToken]:
        """Return active import and webhook tokens that were not used since a time, by id.

        Args:
            before: microseconds since 1970; a token that was made later is left out.
            limit: only so many.
        """
        last = func.coalesce(access_tokens.c.last_used_at, access_tokens.c.created_at)
        with self._database.read() as tx:
            rows = tx.connection.execute(
                select(access_tokens)
                .where(access_tokens.c.kind.in_(SOURCE_KINDS), last < before, is_active(tx.now))
                .order_by(access_tokens.c.id)
                .limit(limit)
            )
            return [read_token(tx, row) for row in rows]

    def record_first_use(self, token_id: int, at: int) -> bool:
        """Record the first use of a token. It is called before that push is answered.

        Only the first call for a token writes.

        Returns:
            Whether the token is still valid. A bootstrap token may be revoked for another one just
            before its first use.
        """
        with self._database.read() as tx:
            unused, ended = _read_unused_and_ended(tx, token_id)
        if ended or not unused:
            return not ended
        with self._database.change() as tx:
            noted = tx.connection.execute(
                update(access_tokens)
                .where(access_tokens.c.id == token_id, access_tokens.c.first_used_at.is_(None))
                .where(is_active(tx.now))
                .values(first_used_at=at, last_used_at=at)
                .execution_options(**BOOKKEEPING)
            )
            return noted.rowcount > 0 or not _read_unused_and_ended(tx, token_id)[1]

    def record_uses(
        self, uses: Mapping[int, tuple[int, int]], origins: Mapping[int, str] | None = None
    ) -> None:
        """Add to the numbers of uses.

        Args:
            uses: token id -> (number of new uses, time of the last one).
            origins: token id -> address of a client that used it since, where that is known.
        """
        if not uses:
            return
        known = origins or {}
        last = bindparam("at", type_=BigInteger)
        origin = bindparam("origin", type_=Text)
        is_later = access_tokens.c.last_used_at > last
        with self._database.write() as tx:
            tx.connection.execute(
                update(access_tokens)
                .where(access_tokens.c.id == bindparam("token"))
                .values(
                    uses=access_tokens.c.uses + bindparam("count"),
                    first_used_at=func.coalesce(access_tokens.c.first_used_at, last),
                    last_used_at=case((is_later, access_tokens.c.last_used_at), else_=last),
                    last_used_from=case(
                        (is_later, access_tokens.c.last_used_from),
                        else_=func.coalesce(origin, access_tokens.c.last_used_from),
                    ),
                )
                .execution_options(**BOOKKEEPING),
                # In one order in all processes, so that no two wait for each other in a circle.
                [
                    {"token": id_, "count": count, "at": at, "origin": known.get(id_)}
                    for id_, (count, at) in sorted(uses.items())
                ],
            )
            _count_hours(tx, uses)

    def record_refusals(self, refused: Mapping[bytes, tuple[int, int]]) -> None:
        """Count requests that were refused because their token has ended.

        Args:
            refused: SHA-256 of a token -> how many requests, and the time of the last one. Those of
                tokens that never were are left out.
        """
        its = access_tokens.c
        with self._database.read() as tx:
            known = {
                bytes(row.sha256)
                for row in tx.connection.execute(
                    select(its.sha256).where(its.sha256.in_(refused), ~is_active(tx.now))
                )
            }
        if not known:
            return
        with self._database.write() as tx:
            tx.connection.execute(
                update(access_tokens)
                .where(its.sha256 == bindparam("digest"))
                .values(
                    refused=its.refused + bindparam("count"),
                    refused_at=bindparam("at", type_=BigInteger),
                )
                .execution_options(**BOOKKEEPING),
                [
                    {"digest": digest, "count": refused[digest][0], "at": refused[digest][1]}
                    for digest in sorted(known)
                ],
            )


def _count_hours(tx: StoreTransaction, uses: Mapping[int, tuple[int, int]]) -> None:
    """Count uses to the hour of the last one, and forget the hours that are too old.

    A token may have been removed since it was used.
    """
    its = access_tokens.c
    there = set(tx.connection.scalars(select(its.id).where(its.id.in_(uses))))
    if there:
        statement = tx.insert(token_hours)
        tx.connection.execute(
            statement.on_conflict_do_update(
                index_elements=["token_id", "hour"],
                set_={"uses": token_hours.c.uses + statement.excluded.uses},
            ),
            [
                {"token_id": token_id, "hour": at // HOUR_US, "uses": count}
                for token_id, (count, at) in sorted(uses.items())
                if token_id in there
            ],
        )
    newest = max(at for _, at in uses.values()) // HOUR_US
    tx.connection.execute(delete(token_hours).where(token_hours.c.hour <= newest - HOURS_KEPT))


_Owner = Source | int | None
"""The owner of a token: a source, an account by its id, or the server (None)."""


def _require_owner(
    tx: StoreTransaction, kind: str, account_id: int | None, source_id: int | None
) -> _Owner:
    """Return who is to have a token of this kind.

    Raises:
        NotFoundError: there is no such account or source.
    """
    if kind == METRICS:
        return None
    if kind == ACCOUNT:
        if account_id is None:
            raise NotFoundError("a token of this kind belongs to an account, and none is named")
        require_account(tx, account_id)
        return account_id
    if source_id is None:
        raise NotFoundError("a token of this kind belongs to a source, and none is named")
    return require_source(tx, account_id, source_id)


def _add_token(
    tx: StoreTransaction,
    asked: TokenRequest,
    secret: str,
    owner: _Owner,
    action: TrailAction,
    replaces: int | None = None,
) -> AccessToken:
    """Add a token where there is room for it, and its event to the trail."""
    account_id: int | None
    source_id: int | None
    if isinstance(owner, Source):
        account_id, source_id = owner.account_id, owner.id
        change_source(tx, owner)
    else:
        account_id, source_id = owner, None
    revoked = make_room(tx, asked.kind, account_id, source_id)
    token = add_token(tx, asked, secret, account_id=account_id, source_id=source_id)
    gone = [*revoked, *([] if replaces is None else [replaces])]
    record_token(tx, action, token, {"replaced": gone} if gone else {})
    return token


def _find_active(tx: StoreTransaction, wanted: TokenFilter, token_id: int) -> Row[Any] | None:
    query = select(access_tokens).where(
        access_tokens.c.id == token_id,
        access_tokens.c.kind.in_(wanted.kinds),
        is_kept(tx.now),
    )
    if wanted.account_id is not None:
        query = query.where(access_tokens.c.account_id == wanted.account_id)
    if wanted.source_id is not None:
        query = query.where(access_tokens.c.source_id == wanted.source_id)
    return tx.connection.execute(query).one_or_none()


def _require_active(tx: StoreTransaction, wanted: TokenFilter, token_id: int) -> Row[Any]:
    row = _find_active(tx, wanted, token_id)
    if row is None:
        raise NotFoundError(f"there is no active token {token_id}")
    return row


def _change_token(tx: StoreTransaction, row: Row[Any], **values: Any) -> AccessToken:
    """Change columns of a token, and `updated_at` of its source; return it as it is then."""
    changed = tx.connection.execute(
        update(access_tokens)
        .where(access_tokens.c.id == row.id)
        .values(**values)
        .returning(access_tokens)
    ).one()
    if row.source_id is not None:
        source = find_undeleted_source(tx, None, row.source_id)
        if source is not None:
            change_source(tx, source)
    return read_token(tx, changed)


def _refuse_taken(row: Row[Any], source: Source, kind: str, now: int) -> None:
    """Refuse to adopt a token that is here already, unless it is the same or becomes narrower.

    Raises:
        TokenTakenError: the token has ended, or is somebody else's.
    """
    if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
        raise TokenTakenError(
            "this token was revoked or has expired here and cannot be taken back: use another one"
        )
    if row.source_id != source.id:
        owner = f"source {row.source_id}" if row.source_id is not None else "an account"
        raise TokenTakenError(f"this token belongs to {owner} already: revoke it there")
    if row.kind == WEBHOOK and kind == IMPORT:
        raise TokenTakenError(
            "this token is a webhook token of this source and stays one: make an import token with "
            "`treadle token create`"
        )


def _narrow_token(tx: StoreTransaction, row: Row[Any], asked: TokenRequest) -> AccessToken:
    """Make a webhook token of an import token."""
    ended = tx.connection.execute(
        update(access_tokens)
        .where(access_tokens.c.id == row.id)
        .values(
            kind=asked.kind,
            sealed=None,
            last_four=(open_secret(tx, row) or "")[-4:],
            description=asked.description or row.description,
            tables=list(asked.tables),
            signature=seal_signature(tx, asked.signature, bytes(row.sha256)),
            bootstrap=False,
            expires_at=row.expires_at if asked.expires_at is None else asked.expires_at,
        )
        .returning(access_tokens)
    ).one()
    token = read_token(tx, ended)
    record_token(tx, TrailAction.TAKE_OVER_WEBHOOK_TOKEN, token, {"was": row.kind})
    return token


def _read_unused_and_ended(tx: StoreTransaction, token_id: int) -> tuple[bool, bool]:
    """Return whether a token was never used, and whether it is unknown or has ended."""
    row = tx.connection.execute(
        select(access_tokens.c.first_used_at, is_active(tx.now).label("active")).where(
            access_tokens.c.id == token_id
        )
    ).one_or_none()
    if row is None:
        return True, True
    return row.first_used_at is None, not row.active


def _read_owner(tx: StoreTransaction, row: Any) -> TokenOwner:
    inactive = (row.paused_at, row.system_paused_at, row.deleted_at)
    scope = None
    if row.kind == WEBHOOK:
        scope = WebhookScope(tuple(row.tables), open_signature(tx, row))
    return TokenOwner(
        token_id=row.id,
        source_id=row.source_id,
        account_id=row.account_id,
        active=inactive == (None, None, None),
        unused=row.first_used_at is None,
        expires_at=row.expires_at,
        webhook=scope,
        has_schemas=row.has_schemas,
        log=row.log,
    )
