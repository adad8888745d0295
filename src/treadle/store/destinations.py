"""The repository of destinations, and of the choice of one for each source."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import Row, case, func, insert, or_, select, update

from treadle.store.checks import request_check
from treadle.store.database import BOOKKEEPING, StoreRepository, StoreTransaction
from treadle.store.errors import DestinationHeldError, DestinationLimitError, NotFoundError
from treadle.store.model import Account, ConfiguredDestination, DestinationSetter
from treadle.store.schema import accounts, connections, destinations, sources
from treadle.store.schema_ownership import (
    part_shared_schemas,
    refuse_shared_schemas,
    select_schemas_at,
)
from treadle.store.trail_event import (
    TargetKind,
    TrailAction,
    TrailTarget,
    describe_change,
)
from treadle.text import escape_nul

FIRST_NAME: Final = "Default Warehouse"
"""The name of an account's first destination, where none is given (connect-api.md 2.8)."""

# The destination of each source: its own, or the default one of its account. Deleted ones are left
# out.
_by_source = (
    select(destinations)
    .select_from(sources)
    .join(accounts, accounts.c.id == sources.c.account_id)
    .join(
        destinations,
        destinations.c.id == func.coalesce(sources.c.destination_id, accounts.c.destination_id),
    )
    .where(destinations.c.deleted_at.is_(None))
)


@dataclass(frozen=True, slots=True)
class DestinationPlace:
    """The database of a destination.

    Attributes:
        type: name in the registry of destinations.
        url: with credentials; kept encrypted.
        identity: the database as the destination itself names it (`Destination.identity`).
        set_by: who says so.
        changed: names of the properties that are new, for the trail.
    """

    type: str
    url: str = field(repr=False)
    identity: str
    set_by: DestinationSetter
    changed: Sequence[str] = ()


class DestinationRepository(StoreRepository):
    """Destinations, and the choice of one for each source."""

    def create_destination(
        self,
        account_id: int,
        place: DestinationPlace,
        *,
        name: str | None = None,
        description: str | None = None,
        takes_sources: bool = True,
        destinations_max: int = 0,
    ) -> ConfiguredDestination:
        """Create a destination (connect-rest.md A.2.2).

        It is loaded into after its first check that succeeds, whoever made it.

        Args:
            account_id: its account.
            place: the database.
            name: for people; None for FIRST_NAME, or the type where the account has another one.
            description: for people.
            takes_sources: it becomes the default where the account has none, and sources whose
                destination was deleted load into it.
            destinations_max: most destinations of an account; 0 for no limit.

        Raises:
            NotFoundError: no such account.
            DestinationLimitError: the account has as many as it may.
        """
        with self._database.change() as tx:
            default_id = _require_account(tx, account_id)
            present = tx.connection.scalar(
                select(func.count())
                .select_from(destinations)
                .where(destinations.c.account_id == account_id, destinations.c.deleted_at.is_(None))
            )
            if destinations_max and (present or 0) >= destinations_max:
                raise DestinationLimitError(account_id, destinations_max)
            made = _insert_destination(
                tx,
                account_id,
                place,
                name=name or (place.type if present else FIRST_NAME),
                description=description,
                usable=False,
            )
            if takes_sources:
                if default_id is None:
                    _set_default(tx, account_id, made.id)
                _take_sources(tx, account_id, made.id)
            part_shared_schemas(tx, account_id)
            request_check(tx, made.id)
            _record(tx, TrailAction.CREATE_DESTINATION, made)
            return made

    def update_destination(
        self,
        account_id: int,
        destination_id: int,
        rewrite: Callable[[ConfiguredDestination], DestinationPlace],
        *,
        name: str | None = None,
    ) -> ConfiguredDestination:
        """Change where a destination is; where nothing is new, nothing changes.

        Args:
            account_id: its account.
            destination_id: the destination.
            rewrite: returns its new place, in the transaction of the change. What it raises ends
                the change.
            name: a new one; None to keep it.

        Raises:
            NotFoundError: the account has no such destination, or it is deleted.
            DestinationHeldError: the setting says where it is.
        """
        with self._database.change() as tx:
            row = _require_row(tx, account_id, destination_id)
            former = _read_destination(tx, row)
            place = rewrite(former)
            if place.url == former.url and name in (None, former.name):
                return former
            moves = place.url != former.url and place.identity != row.identity
            changed = _read_destination(
                tx,
                tx.connection.execute(
                    update(destinations)
                    .where(destinations.c.id == destination_id)
                    .values(
                        name=name or former.name,
                        url=tx.seal(place.url, _make_context(destination_id)),
                        identity=place.identity if moves else row.identity,
                        set_by=place.set_by,
                        placed_at=tx.now if moves else former.present_since,
                        updated_at=tx.now,
                        trouble=None,
                        trouble_since=None,
                        trouble_kind=None,
                        usable_since=None if moves else row.usable_since,
                        query_url=None if moves else row.query_url,
                    )
                    .returning(destinations)
                ).one(),
            )
            if moves:
                part_shared_schemas(tx, account_id)
            request_check(tx, destination_id)
            told = describe_change({"name": former.name}, {"name": changed.name})
            _record(tx, TrailAction.CHANGE_DESTINATION, changed, place.changed, told)
            return changed

    def set_query_url(self, destination_id: int, url: str | None) -> ConfiguredDestination:
        """Name the role that runs the statements of an account in its destination; None for none.

        It goes when the destination is given another database. The operator names it, also of a
        destination that the setting `destination` names.

        Raises:
            NotFoundError: there is no such destination, or it is deleted.
        """
        with self._database.change() as tx:
            sealed = None if url is None else tx.seal(url, _make_query_context(destination_id))
            row = tx.connection.execute(
                update(destinations)
                .where(destinations.c.id == destination_id, destinations.c.deleted_at.is_(None))
                .values(query_url=sealed, updated_at=tx.now)
                .returning(destinations)
            ).one_or_none()
            if row is None:
                raise NotFoundError(f"there is no destination {destination_id}")
            changed = _read_destination(tx, row)
            _record(tx, TrailAction.CHANGE_DESTINATION, changed, ["query_url"])
            return changed

    def delete_destination(self, account_id: int, destination_id: int) -> ConfiguredDestination:
        """Delete a destination, and forget its URL. Data in the database is not touched.

        Its sources have no destination until another one is created: they are not given the default
        of the account, into which nobody said that they load.

        Raises:
            NotFoundError: the account has no such destination, or it is deleted.
            DestinationHeldError: the setting says where it is.
        """
        with self._database.change() as tx:
            _require_row(tx, account_id, destination_id)
            gone = _delete_row(tx, destination_id)
            tx.connection.execute(
                update(accounts)
                .where(accounts.c.id == account_id, accounts.c.destination_id == destination_id)
                .values(destination_id=None)
            )
            _record(tx, TrailAction.DELETE_DESTINATION, gone)
            return gone

    def set_default_destination(
        self,
        account_id: int,
        type: str,  # noqa: A002 - the word of the wire
        url: str,
        identity: str,
        *,
        set_by: DestinationSetter = DestinationSetter.DATA_FOLDER,
    ) -> ConfiguredDestination:
        """Set the default destination of an account; the same one again changes nothing.

        Args:
            account_id: the account.
            type: name in the registry of destinations, for example "postgres".
            url: with credentials; kept encrypted.
            identity: the database as the destination itself names it (`Destination.identity`).
            set_by: who says so.

        Raises:
            NotFoundError: no such account.
            NameTakenError: sources of two accounts would share a schema.
        """
        place = DestinationPlace(type, url, identity, set_by)
        with self._database.read() as tx:
            row = tx.connection.execute(
                select(destinations)
                .join(accounts, accounts.c.destination_id == destinations.c.id)
                .where(accounts.c.id == account_id, destinations.c.deleted_at.is_(None))
            ).one_or_none()
            if row is not None and row.identity == identity:
                present = _read_destination(tx, row)
                if (present.type, present.url, present.set_by) == (type, url, set_by):
                    return present
        with self._database.change() as tx:
            default_id = _require_account(tx, account_id)
            if default_id is None:
                changed = _insert_destination(tx, account_id, place, name=type)
                _set_default(tx, account_id, changed.id)
            else:
                changed = _update_destination(tx, default_id, place)
            _take_sources(tx, account_id, changed.id)
            refuse_shared_schemas(tx, account_id)
            _record(tx, TrailAction.SET_DESTINATION, changed)
            return changed

    def release_destinations(self) -> None:
        """Note that the setting `destination` is no longer there: what it named is kept."""
        with self._database.write() as tx:
            tx.connection.execute(
                update(destinations)
                .where(destinations.c.set_by == DestinationSetter.SETTING)
                .values(set_by=DestinationSetter.OPERATOR)
                .execution_options(**BOOKKEEPING)
            )

    def follow_folder(self, destination_id: int, url: str, identity: str) -> None:
        """Note that a file is elsewhere since its folder was moved, or another one was set."""
        with self._database.change() as tx:
            tx.connection.execute(
                update(destinations)
                .where(destinations.c.id == destination_id)
                .values(url=tx.seal(url, _make_context(destination_id)), identity=identity)
                .execution_options(**BOOKKEEPING)
            )

    def find_destination(
        self, account_id: int | None, destination_id: int
    ) -> ConfiguredDestination | None:
        """Return a destination that is not deleted; None when the account (None: any) has none."""
        query = select(destinations).where(
            destinations.c.id == destination_id, destinations.c.deleted_at.is_(None)
        )
        if account_id is not None:
            query = query.where(destinations.c.account_id == account_id)
        with self._database.read() as tx:
            row = tx.connection.execute(query).one_or_none()
            return None if row is None else _read_destination(tx, row)

    def list_stranded_sources(self) -> list[int]:
        """Return the undeleted sources whose destination was deleted, so that records wait."""
        placed = _by_source.with_only_columns(sources.c.id)
        owners = select(destinations.c.account_id)
        with self._database.read() as tx:
            return list(
                tx.connection.scalars(
                    select(sources.c.id)
                    .where(
                        sources.c.deleted_at.is_(None),
                        sources.c.id.not_in(placed),
                        # Before the first start there was none to be deleted.
                        sources.c.account_id.in_(owners),
                    )
                    .order_by(sources.c.id)
                )
            )

    def list_destinations(self, account_id: int | None = None) -> list[ConfiguredDestination]:
        """Return the destinations of one account or of all, by id, deleted ones too."""
        query = select(destinations).order_by(destinations.c.id)
        if account_id is not None:
            query = query.where(destinations.c.account_id == account_id)
        with self._database.read() as tx:
            return [_read_destination(tx, row) for row in tx.connection.execute(query)]

    def find_destination_of_source(self, source_id: int) -> ConfiguredDestination | None:
        """Return the destination of a source: its own, or the default one of its account."""
        with self._database.read() as tx:
            row = tx.connection.execute(_by_source.where(sources.c.id == source_id)).one_or_none()
            return None if row is None else _read_destination(tx, row)

    def list_identities(self, account_id: int, destination_id: int | None) -> list[str]:
        """Return the identity of the destination of a new source; nothing where there is none.

        Args:
            account_id: of the source.
            destination_id: of the source; None for the default of the account.
        """
        chosen = select(accounts.c.destination_id).where(accounts.c.id == account_id)
        query = select(destinations.c.identity).where(
            destinations.c.account_id == account_id,
            destinations.c.id
            == (chosen.scalar_subquery() if destination_id is None else destination_id),
        )
        with self._database.read() as tx:
            return list(tx.connection.execute(query).scalars())

    def list_schemas_beside(self, destination_id: int) -> list[tuple[int, str]]:
        """Return (account id, schema) of every source that loads into a destination's database.

        Deleted sources, and those that load there by another destination, are among them.
        """
        here = select(destinations.c.identity).where(destinations.c.id == destination_id)
        with self._database.read() as tx:
            rows = tx.connection.execute(select_schemas_at(here.scalar_subquery()))
            return [(row.account_id, row.schema) for row in rows]

    def list_ids_by_source(self) -> dict[int, int]:
        """Return source id -> destination id, for all sources that have a destination."""
        with self._database.read() as tx:
            rows = tx.connection.execute(
                _by_source.with_only_columns(sources.c.id.label("source_id"), destinations.c.id)
            )
            return {row.source_id: row.id for row in rows}

    def set_trouble(
        self, destination_id: int, trouble: str | None, *, denied: bool = False
    ) -> None:
        """Record why a destination cannot be used, or with None that it can again.

        `trouble_since` stays the time of the first failure while failures go on, also when their
        text changes.

        Args:
            destination_id: the destination.
            trouble: for the operator.
            denied: somebody has to act: a right is missing, or the URL is wrong.
        """
        kind = None if trouble is None else "denied" if denied else "unavailable"
        if trouble is not None:
            trouble = escape_nul(trouble)
        with self._database.write() as tx:
            since = None if trouble is None else func.coalesce(destinations.c.trouble_since, tx.now)
            tx.connection.execute(
                update(destinations)
                .where(destinations.c.id == destination_id)
                .where(
                    or_(
                        destinations.c.trouble.is_distinct_from(trouble),
                        destinations.c.trouble_kind.is_distinct_from(kind),
                    )
                )
                .values(trouble=trouble, trouble_since=since, trouble_kind=kind)
                .execution_options(**BOOKKEEPING)
            )


def with_shared_destination(tx: StoreTransaction, account: Account) -> Account:
    """Give a new account the destination that all others share; none where they differ.

    The server gives each account its destination when it starts. An account that is made beside a
    running server would have none until the next start, and its records would wait for it. What an
    account named or changed is its own: nobody else loads into it.
    """
    rows = tx.connection.execute(
        select(destinations)
        .join(accounts, accounts.c.destination_id == destinations.c.id)
        .where(
            destinations.c.deleted_at.is_(None),
            destinations.c.set_by.not_in([DestinationSetter.ACCOUNT, DestinationSetter.ADJUSTED]),
        )
        .order_by(destinations.c.id)
    ).all()
    places = {
        DestinationPlace(
            row.type,
            _read_destination(tx, row).url,
            row.identity,
            DestinationSetter(row.set_by),
        )
        for row in rows
    }
    if len(places) != 1:
        return account
    [place] = places
    usable = any(row.usable_since is not None for row in rows)
    made = _insert_destination(tx, account.id, place, name=place.type, usable=usable)
    if not usable:
        request_check(tx, made.id)
    _set_default(tx, account.id, made.id)
    return replace(account, destination_id=made.id)


def delete_destinations_of(tx: StoreTransaction, account_id: int) -> None:
    """Delete the destinations of an account that is deleted, and forget their URLs."""
    its = select(destinations.c.id).where(
        destinations.c.account_id == account_id, destinations.c.deleted_at.is_(None)
    )
    for destination_id in list(tx.connection.scalars(its)):
        _delete_row(tx, destination_id)


def require_destination(tx: StoreTransaction, account_id: int, destination_id: int | None) -> None:
    """Check that a destination belongs to an account; None, the default one, always does.

    Raises:
        NotFoundError: unknown, deleted, or of another account.
    """
    if destination_id is None:
        return
    found = tx.connection.execute(
        select(destinations.c.id).where(
            destinations.c.id == destination_id,
            destinations.c.account_id == account_id,
            destinations.c.deleted_at.is_(None),
        )
    ).one_or_none()
    if found is None:
        raise NotFoundError(f"account {account_id} has no destination {destination_id}")


def create_connection_id(tx: StoreTransaction, kind: str) -> int:
    """Return the next id of the sequence that sources and destinations share.

    A client of the Connect API sees both as connections, with one range of ids (connect-api.md
    4.7).
    """
    result = tx.connection.execute(
        insert(connections).values(kind=kind).returning(connections.c.id)
    )
    number: int = result.scalar_one()
    return number


def seal_destinations_anew(tx: StoreTransaction) -> int:
    """Encrypt the URLs of all destinations again, deleted ones too; return their number."""
    rows = tx.connection.execute(
        select(destinations.c.id, destinations.c.url, destinations.c.query_url)
    ).all()
    for row in rows:
        url = tx.cipher.open(bytes(row.url), _make_context(row.id))
        values = {"url": tx.seal(url, _make_context(row.id))}
        if row.query_url is not None:
            context = _make_query_context(row.id)
            values["query_url"] = tx.seal(tx.cipher.open(bytes(row.query_url), context), context)
        tx.connection.execute(
            update(destinations).where(destinations.c.id == row.id).values(**values)
        )
    return len(rows)


def _require_account(tx: StoreTransaction, account_id: int) -> int | None:
    """Return the default destination of an account; None where it has none.

    Raises:
        NotFoundError: no such account.
    """
    account = tx.connection.execute(
        select(accounts.c.destination_id).where(
            accounts.c.id == account_id, accounts.c.deleted_at.is_(None)
        )
    ).one_or_none()
    if account is None:
        raise NotFoundError(f"there is no account {account_id}")
    default_id: int | None = account.destination_id
    return default_id


def _require_row(tx: StoreTransaction, account_id: int, destination_id: int) -> Row[Any]:
    """Return a destination that the account may change.

    Raises:
        NotFoundError: there is no such, or it is deleted.
        DestinationHeldError: the setting says where it is.
    """
    require_destination(tx, account_id, destination_id)
    row = tx.connection.execute(
        select(destinations).where(destinations.c.id == destination_id)
    ).one()
    if row.set_by == DestinationSetter.SETTING:
        raise DestinationHeldError(destination_id)
    return row


def _insert_destination(
    tx: StoreTransaction,
    account_id: int,
    place: DestinationPlace,
    *,
    name: str,
    description: str | None = None,
    usable: bool = True,
) -> ConfiguredDestination:
    """Insert a destination.

    Args:
        tx: the transaction.
        account_id: its account.
        place: the database.
        name: for people.
        description: for people.
        usable: it is loaded into without a check.
    """
    destination_id = create_connection_id(tx, "destination")
    row = tx.connection.execute(
        insert(destinations)
        .values(
            id=destination_id,
            account_id=account_id,
            type=place.type,
            name=name,
            description=description,
            url=tx.seal(place.url, _make_context(destination_id)),
            identity=place.identity,
            set_by=place.set_by,
            placed_at=tx.now,
            created_at=tx.now,
            updated_at=tx.now,
            usable_since=tx.now if usable else None,
        )
        .returning(destinations)
    ).one()
    return _read_destination(tx, row)


def _delete_row(tx: StoreTransaction, destination_id: int) -> ConfiguredDestination:
    """Mark a destination as deleted, and forget its URLs; return it as it is then."""
    deleted = tx.connection.execute(
        update(destinations)
        .where(destinations.c.id == destination_id)
        .values(
            url=tx.seal("", _make_context(destination_id)),
            query_url=None,
            deleted_at=tx.now,
            updated_at=tx.now,
            trouble=None,
            trouble_since=None,
        )
        .returning(destinations)
    ).one()
    return _read_destination(tx, deleted)


def _set_default(tx: StoreTransaction, account_id: int, destination_id: int) -> None:
    tx.connection.execute(
        update(accounts).where(accounts.c.id == account_id).values(destination_id=destination_id)
    )


def _take_sources(tx: StoreTransaction, account_id: int, destination_id: int) -> None:
    """Have the sources whose own destination was deleted load into another one."""
    deleted = select(destinations.c.id).where(destinations.c.deleted_at.is_not(None))
    tx.connection.execute(
        update(sources)
        .where(sources.c.account_id == account_id, sources.c.destination_id.in_(deleted))
        .values(destination_id=destination_id)
    )


def _update_destination(
    tx: StoreTransaction, destination_id: int, place: DestinationPlace
) -> ConfiguredDestination:
    same = destinations.c.identity == place.identity
    since = func.coalesce(destinations.c.placed_at, destinations.c.updated_at)
    row = tx.connection.execute(
        update(destinations)
        .where(destinations.c.id == destination_id)
        .values(
            type=place.type,
            name=case((destinations.c.type == place.type, destinations.c.name), else_=place.type),
            url=tx.seal(place.url, _make_context(destination_id)),
            identity=place.identity,
            set_by=place.set_by,
            placed_at=case((same, since), else_=tx.now),
            updated_at=tx.now,
            deleted_at=None,
            trouble=None,
            trouble_since=None,
            trouble_kind=None,
            usable_since=func.coalesce(destinations.c.usable_since, tx.now),
            query_url=case((same, destinations.c.query_url), else_=None),
        )
        .returning(destinations)
    ).one()
    return _read_destination(tx, row)


def _record(
    tx: StoreTransaction,
    action: TrailAction,
    row: ConfiguredDestination,
    changed: Sequence[str] = (),
    told: Mapping[str, Any] | None = None,
) -> None:
    """Record a change without the URL and the place that it names: they may be the operator's."""
    tx.record(
        action,
        TrailTarget(TargetKind.DESTINATION, row.id, row.name),
        account_id=row.account_id,
        detail={**({"changed": list(changed)} if changed else {}), **(told or {})},
    )


def _read_destination(tx: StoreTransaction, row: Row[Any]) -> ConfiguredDestination:
    url = tx.cipher.open(row.url, _make_context(row.id))
    values = dict(row._mapping)
    if row.query_url is not None:
        values["query_url"] = tx.cipher.open(row.query_url, _make_query_context(row.id))
    return ConfiguredDestination(**values | {"url": url})


def _make_context(destination_id: int) -> str:
    return f"destination {destination_id}"


def _make_query_context(destination_id: int) -> str:
    return f"destination {destination_id} query"
