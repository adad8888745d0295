"""The store: who may push where, and what became of it."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from sqlalchemy import select

from treadle.errors import OperatorError
from treadle.store import (
    accounts,
    destinations,
    idempotency,
    leases,
    loads,
    secrets,
    sources,
    tokens,
)
from treadle.store.database import StoreDatabase, StoreTransaction, translate_errors
from treadle.store.errors import NotFoundError
from treadle.store.migration import migrate_schema
from treadle.store.model import (
    Account,
    AccountToken,
    ConfiguredDestination,
    EntryOutcome,
    ImportToken,
    LoadReport,
    Remembered,
    Source,
    TableLoadStatus,
    TableTotals,
    TokenOwner,
)
from treadle.store.schema import meta
from treadle.store.secrets import SecretCipher
from treadle.store.sources import UNSET, Unset


def _microseconds() -> int:
    return time.time_ns() // 1000


class Store:
    """Everything the store knows, on SQLite or PostgreSQL.

    Methods block, may be called from any thread, and are each one transaction. Times are
    microseconds since 1970, UTC. Every lookup that takes an account finds only what is that
    account's (connect-api.md 4.5).

    Any method raises `TryLater` when the database is not available now, and `OperatorError` when
    it refuses its user or its file cannot be used.
    """

    def __init__(self, database: StoreDatabase, installation_id: str) -> None:
        self._database = database
        self.installation_id = installation_id

    @classmethod
    def open(
        cls,
        url: str,
        cipher: SecretCipher,
        *,
        clock: Callable[[], int] = _microseconds,
        mint: Callable[[str], str] = secrets.mint_token,
    ) -> Self:
        """Open the store, made or migrated where needed; safe when several processes do it at once.

        Args:
            url: `sqlite:///path/of/a/file` or `postgresql://...`.
            cipher: from `secrets.load_key`.
            clock: microseconds since 1970, UTC.
            mint: prefix -> a new token.

        Raises:
            OperatorFault: the URL cannot be used, the store was made by a newer treadle, or the
                key is not the one its secrets were sealed with.
        """
        database = StoreDatabase(url, cipher, clock, mint)
        try:
            with translate_errors():
                migrate_schema(database.engine)
            installation_id = _installation(database)
        except BaseException:
            database.close()
            raise
        return cls(database, installation_id)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def revision(self) -> int:
        """A number that grows with every change of accounts, sources, tokens and destinations.

        It grows in the transaction of the change, so whoever read it before reading something
        knows whether that may be outdated.
        """
        with self._database.read() as tx:
            revision: int = tx.connection.execute(select(meta.c.revision)).scalar_one()
        return revision

    # Accounts

    def create_account(self, name: str, *, client_id: int | None = None) -> tuple[Account, str]:
        """Make an account and its first Connect API token.

        It loads where all accounts before it do; the first one has no destination until the server
        gives it one.

        Args:
            name: for people.
            client_id: the id to have, for a client who moves here with the id it sends in its
                pushes; None for the next free one, beginning with 1.

        Returns:
            The account, and the token, which can never be read again.

        Raises:
            AccountTaken: another account has that id, or it is not positive.
        """
        with self._database.change() as tx:
            account, token = accounts.create(tx, name, client_id)
            return destinations.joined(tx, account), token

    def accounts(self) -> list[Account]:
        """All accounts, ascending id."""
        with self._database.read() as tx:
            return accounts.every(tx)

    def account_by_token(self, token: str) -> Account | None:
        """Whose Connect API token this is; None for an unknown or disabled one."""
        with self._database.read() as tx:
            return accounts.by_token(tx, token)

    def create_account_token(self, account_id: int, description: str = "") -> str:
        """Make another Connect API token; it can never be read again.

        Raises:
            NotFound: no such account.
        """
        with self._database.change() as tx:
            return accounts.create_token(tx, account_id, description)

    def account_tokens(self, account_id: int) -> list[AccountToken]:
        """The account's Connect API tokens, disabled ones too, ascending id."""
        with self._database.read() as tx:
            return accounts.tokens(tx, account_id)

    def disable_account_token(self, account_id: int, token_id: int) -> None:
        """Make a Connect API token open nothing any more; a second time changes nothing.

        Raises:
            NotFound: the account has no such token.
        """
        with self._database.change() as tx:
            accounts.disable_token(tx, account_id, token_id)

    # Sources

    def create_source(
        self,
        account_id: int,
        *,
        type: str,  # noqa: A002 - the word of the wire
        display_name: str,
        name: str,
        destination_id: int | None = None,
        bootstrap_token: bool,
    ) -> Source:
        """Make a source.

        Args:
            account_id: whose it is.
            type: "import_api".
            display_name: its label.
            name: the schema it fills; the caller has checked its form (connect-api.md 4.1).
            destination_id: where it loads; None for the account's default.
            bootstrap_token: make a first token with it (connect-api.md 2.5).

        Raises:
            NameTaken: a source of the account that is not deleted has the name, or any source of
                another account that loads into the same database has it, deleted or not.
            NotFound: no such account, or the destination is not the account's.
        """
        with self._database.change() as tx:
            source = sources.create(
                tx,
                account_id,
                type_=type,
                display_name=display_name,
                name=name,
                destination_id=destination_id,
            )
            if bootstrap_token:
                tokens.add(tx, source.id, tx.mint(tokens.IMPORT_TOKEN_PREFIX), bootstrap=True)
            return source

    def sources(self, account_id: int | None = None) -> list[Source]:
        """Sources of one account or of all, ascending id, deleted ones too."""
        with self._database.read() as tx:
            return sources.every(tx, account_id)

    def source(self, account_id: int | None, source_id: int) -> Source | None:
        """One source, deleted or not; None when unknown in that account (None: in any)."""
        with self._database.read() as tx:
            return sources.find(tx, account_id, source_id)

    def update_source(
        self,
        account_id: int | None,
        source_id: int,
        *,
        display_name: str | Unset = UNSET,
        paused_at: int | Unset | None = UNSET,
        destination_id: int | Unset | None = UNSET,
        settings: Mapping[str, Any] | Unset = UNSET,
    ) -> Source | None:
        """Change what is given; with nothing given, change nothing.

        Args:
            account_id: whose it must be; None for any.
            source_id: which.
            display_name: the label; the schema's name stays.
            paused_at: pauses; None unpauses.
            destination_id: where it loads; None for the account's default.
            settings: merged into the present ones (RFC 7396: None removes).

        Returns:
            The source as it is now; None when it is unknown or deleted.

        Raises:
            NameTaken: with that destination it would share a schema with another account.
            NotFound: the destination is not the account's.
        """
        given = (display_name, paused_at, destination_id, settings)
        if all(isinstance(value, Unset) for value in given):
            with self._database.read() as tx:
                return sources.present(tx, account_id, source_id)
        with self._database.change() as tx:
            source = sources.present(tx, account_id, source_id)
            if source is None:
                return None
            return sources.update_one(
                tx,
                source,
                display_name=display_name,
                paused_at=paused_at,
                destination_id=destination_id,
                settings=settings,
            )

    def delete_source(self, account_id: int | None, source_id: int) -> Source | None:
        """Mark a source as deleted; None when it is unknown or was deleted before."""
        with self._database.change() as tx:
            source = sources.present(tx, account_id, source_id)
            return None if source is None else sources.delete(tx, source)

    def settings(self, source_id: int) -> dict[str, Any]:
        """The settings of a source; empty for an unknown one."""
        with self._database.read() as tx:
            source = sources.find(tx, None, source_id)
        return {} if source is None else source.settings

    # Import API tokens

    def create_token(self, account_id: int | None, source_id: int) -> ImportToken:
        """Make a token, its secret filled in.

        At most two are active. The one made with the source counts only once it was used: unused,
        it is revoked when a third is asked for (connect-api.md 2.6).

        Raises:
            NotFound: the source is unknown or deleted.
            TooManyTokens: it has two already.
        """
        with self._database.change() as tx:
            return tokens.create(tx, _present(tx, account_id, source_id))

    def import_token(self, source_id: int, secret: str) -> ImportToken:
        """Adopt a token made elsewhere, for clients that move here with theirs.

        A second time for the same source it answers the token as it is.

        Raises:
            NotFound: the source is unknown or deleted.
            TooManyTokens: it has two already, after the rule of `create_token`.
            TokenTaken: it belongs to another source, or was revoked.
        """
        with self._database.change() as tx:
            return tokens.adopt(tx, _present(tx, None, source_id), secret)

    def tokens(self, source_id: int) -> list[ImportToken]:
        """The active tokens of a source, ascending id, with their secrets."""
        return self.tokens_of([source_id])[source_id]

    def tokens_of(self, source_ids: Sequence[int]) -> dict[int, list[ImportToken]]:
        """The active tokens of several sources; every id asked for is in the answer."""
        with self._database.read() as tx:
            return tokens.of_sources(tx, source_ids)

    def revoke_token(self, account_id: int | None, source_id: int, token_id: int) -> Source | None:
        """Revoke a token of a source.

        Returns:
            The source, its `updated_at` moved; None when it has no such active token.

        Raises:
            NotFound: the source is unknown or deleted.
        """
        with self._database.change() as tx:
            return tokens.revoke(tx, _present(tx, account_id, source_id), token_id)

    def pusher(self, sha256: bytes) -> TokenOwner | None:
        """Whom the token with this SHA-256 belongs to; None when it is unknown or revoked.

        A token of a paused or deleted source is still recognised: `active` is False then
        (connect-api.md 4.3).
        """
        with self._database.read() as tx:
            return tokens.pusher(tx, sha256)

    def pushers(self) -> dict[bytes, TokenOwner]:
        """All tokens that are not revoked, by their SHA-256."""
        with self._database.read() as tx:
            return tokens.pushers(tx)

    def record_first_use(self, token_id: int, at: int) -> bool:
        """Note that a token authenticated a push; call it before that push is answered.

        Only the first call for a token writes.

        Returns:
            Whether the token is still valid: False when it was revoked meanwhile, as the token
            made with a source may be just before its first use.
        """
        with self._database.read() as tx:
            unused, revoked = tokens.unused_or_revoked(tx, token_id)
        if revoked or not unused:
            return not revoked
        with self._database.change() as tx:
            if tokens.record_first_use(tx, token_id, at):
                return True
            return not tokens.unused_or_revoked(tx, token_id)[1]

    def record_uses(self, uses: Mapping[int, tuple[int, int]]) -> None:
        """Add to the counts of uses.

        Args:
            uses: token id -> (requests to add, time of the last one).
        """
        if uses:
            with self._database.write() as tx:
                tokens.record_uses(tx, uses)

    # Destinations

    def set_default_destination(
        self,
        account_id: int,
        type: str,  # noqa: A002 - the word of the wire
        url: str,
        identity: str,
    ) -> ConfiguredDestination:
        """Set where an account's sources load; setting the same again changes nothing.

        Args:
            account_id: whose.
            type: registry name, for example "postgres".
            url: with credentials; kept sealed.
            identity: the destination's own name for its database (destinations/protocol.py).

        Raises:
            NotFound: no such account.
            NameTaken: sources of two accounts would share a schema.
        """
        with self._database.read() as tx:
            present = destinations.unchanged(tx, account_id, type, url, identity)
        if present is not None:
            return present
        with self._database.change() as tx:
            return destinations.set_default(tx, account_id, type, url, identity)

    def destinations(self, account_id: int | None = None) -> list[ConfiguredDestination]:
        """Destinations of one account or of all, ascending id, deleted ones too."""
        with self._database.read() as tx:
            return destinations.every(tx, account_id)

    def destination_of(self, source_id: int) -> ConfiguredDestination | None:
        """Where a source loads: its own destination or its account's default."""
        with self._database.read() as tx:
            return destinations.of_source(tx, source_id)

    def destination_ids(self) -> dict[int, int]:
        """Source id -> id of the destination it loads into, of all sources that have one."""
        with self._database.read() as tx:
            return destinations.by_source(tx)

    def destination_trouble(self, destination_id: int, trouble: str | None) -> None:
        """Note why a destination cannot be used, or with None that it can again.

        `trouble_since` keeps the beginning while trouble goes on, also when its text changes.
        """
        with self._database.write() as tx:
            destinations.set_trouble(tx, destination_id, trouble)

    # Loading

    def lease(self, destination_id: int, place: str, holder: str, lasts: int) -> int | None:
        """Take the right to load into a destination, or renew it.

        Args:
            destination_id: which.
            place: where the loader runs; of one place the newest loader has the right at once.
            holder: the loader; nobody else's text.
            lasts: how long from now, microseconds.

        Returns:
            The fence: the same number while a holder renews, a greater one for each new holder.
            None while a loader of another place has the right.
        """
        with self._database.write() as tx:
            return leases.take(tx, destination_id, place, holder, lasts)

    def use_log(self, log_id: str) -> None:
        """Name the log that positions belong to, at every start.

        After a change of log, positions recorded before count for nothing: the new log gives the
        same ones again to other entries.
        """
        with self._database.write() as tx:
            loads.use_log(tx, log_id)

    def log_id(self) -> str | None:
        """The log that positions belong to, as `use_log` named it; None before the first."""
        with self._database.read() as tx:
            found: str = tx.connection.execute(select(meta.c.log_id)).scalar_one()
        return found or None

    def record_load(self, load: LoadReport, outcomes: Sequence[EntryOutcome]) -> None:
        """Keep a committed load, and note that its table is well.

        Idempotent by (source, table, last): the first report of a load stands.

        Args:
            load: its `error` is None.
            outcomes: of the entries some of whose records were superseded or rejected.
        """
        self.record_loads([(load, outcomes)])

    def record_loads(self, found: Sequence[loads.Report]) -> None:
        """Keep committed loads, all of them or none; see `record_load`.

        Args:
            found: loads with their outcomes, each of another table.

        Raises:
            ValueError: two are of one table.
        """
        with self._database.write() as tx:
            loads.record(tx, found)

    def record_failure(self, load: LoadReport, *, stopped: bool) -> None:
        """Keep a try that failed; of repeated tries from the same position the last is kept.

        Args:
            load: its `error` says why.
            stopped: somebody has to act before the table goes on.
        """
        with self._database.write() as tx:
            loads.record_failure(tx, load, stopped=stopped)

    def record_rebuilt(self, source_id: int, table_name: str, at: int) -> None:
        """Note that a table's rows are replaced by what the log holds.

        Loads before say nothing of the rows that are there, nor of their `_sdc_batched_at`.
        """
        with self._database.write() as tx:
            loads.record_rebuilt(tx, source_id, table_name, at)

    def table_statuses(self, source_id: int | None = None) -> list[TableLoadStatus]:
        """How loading of each table stands, by source and name; tables never tried are left out."""
        with self._database.read() as tx:
            return loads.statuses(tx, source_id)

    def tallies(self) -> list[TableTotals]:
        """What became of the records of each table since the store was made."""
        with self._database.read() as tx:
            return loads.tallies(tx)

    def loads(
        self,
        *,
        account_id: int | None = None,
        source_id: int | None = None,
        table_name: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[LoadReport]:
        """Loads and failed tries, newest first.

        Args:
            account_id: only this account's.
            source_id: only this source's.
            table_name: only of tables of this name, as sent.
            limit: how many at most.
            before: the id of a load: only older ones, to go on where a page ended.
        """
        with self._database.read() as tx:
            return loads.history(
                tx,
                account_id=account_id,
                source_id=source_id,
                table_name=table_name,
                limit=limit,
                before=before,
            )

    def load_of(self, source_id: int, table_name: str, position: int) -> LoadReport | None:
        """The committed load that took the table's entry at a position; None while it waits."""
        with self._database.read() as tx:
            return loads.covering(tx, source_id, table_name, position)

    def outcomes(self, positions: Sequence[int]) -> list[EntryOutcome]:
        """Outcomes of entries, ascending position; entries wholly loaded or waiting have none."""
        with self._database.read() as tx:
            return loads.outcomes_at(tx, positions)

    def rejected(self, entries: Mapping[int, int]) -> dict[tuple[int, int], str]:
        """Records of entries that were rejected: (position, index in the entry) -> reason.

        Args:
            entries: position -> how many records the entry has.
        """
        return {
            (outcome.position, index): reason
            for outcome in self.outcomes(list(entries))
            for index, reason in outcome.rejected
            if index < entries[outcome.position]
        }

    def outcomes_of(self, source_id: int, table_name: str) -> list[EntryOutcome]:
        """Outcomes of all entries of one table, ascending position."""
        with self._database.read() as tx:
            return loads.outcomes_of(tx, source_id, table_name)

    def rejecting(
        self,
        *,
        source_id: int | None = None,
        table_name: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[tuple[EntryOutcome, int]]:
        """Outcomes of entries with rejected records, newest first, and when they were rejected.

        The time is `_sdc_rejected_at` of their rows; 0 where the load is no longer known.

        Args:
            source_id: only this source's.
            table_name: only of tables of this name, as sent.
            before: only of entries below this position, to go on where a page ended.
            limit: how many entries at most.
        """
        with self._database.read() as tx:
            return loads.rejecting(tx, source_id, table_name, before, limit)

    def loaded_before(self, at: int) -> list[tuple[int, str, int]]:
        """What may be trimmed: (source id, table name, greatest position loaded by then).

        Args:
            at: loads that finished at or before this time count.
        """
        with self._database.read() as tx:
            return loads.loaded_before(tx, at)

    def delete_loads_before(self, at: int) -> int:
        """Forget loads that finished before a time, but the newest of each table; how many went.

        Receipts of their entries say nothing any more, so `at` lies before the receipts' retention.
        """
        with self._database.write() as tx:
            return loads.delete_before(tx, at)

    # Requests with a key, of an earlier treadle

    def remembered(self, limit: int) -> list[Remembered]:
        """Some requests with a key that were noted here, by the order of their names."""
        with self._database.read() as tx:
            return idempotency.some(tx, limit)

    def forget_up_to(self, name: bytes) -> None:
        """Forget the requests with a key up to a name."""
        with self._database.write() as tx:
            idempotency.delete_up_to(tx, name)


def _installation(database: StoreDatabase) -> str:
    """The installation's id, made at the first start.

    Raises:
        OperatorFault: the store belongs to another key.
    """
    with database.read() as tx:
        row = tx.connection.execute(select(meta)).one_or_none()
    if row is None:
        with database.write() as tx:
            tx.connection.execute(
                tx.insert(meta)
                .values(
                    id=1,
                    installation_id=str(uuid.uuid4()),
                    key_check=tx.cipher.check_value,
                    revision=1,
                    log_id="",
                )
                .on_conflict_do_nothing()  # another process may have been first
            )
            row = tx.connection.execute(select(meta)).one()
    if not tx.cipher.is_key_of(row.key_check):
        raise OperatorError(
            f"the secret key is not the one this store was made with: bring back the old key file, "
            f"or set {secrets.KEY_VARIABLE} to the old key"
        )
    found: str = row.installation_id
    return found


def _present(tx: StoreTransaction, account_id: int | None, source_id: int) -> Source:
    source = sources.present(tx, account_id, source_id)
    if source is None:
        raise NotFoundError(f"source not found ({source_id})")
    return source
