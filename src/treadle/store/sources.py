"""The repository of sources."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import insert, select

from treadle.store.accounts import require_account
from treadle.store.database import StoreRepository, StoreTransaction
from treadle.store.destinations import create_connection_id, require_destination
from treadle.store.logs import choose_log
from treadle.store.merge_patch import apply_merge_patch
from treadle.store.model import Source
from treadle.store.moves import place_source
from treadle.store.quotas import check_sources_max
from treadle.store.schema import connections, sources
from treadle.store.schema_ownership import choose_schema_name, refuse_taken_name
from treadle.store.source_rows import change_source, find_source, find_undeleted_source
from treadle.store.token_rows import add_token
from treadle.store.token_rules import IMPORT, PREFIXES, TokenRequest
from treadle.store.trail_event import (
    TargetKind,
    TrailAction,
    TrailTarget,
    describe_change,
)
from treadle.timestamps import format_exact


class Unset:
    """The type of `UNSET`, which stands for an argument that is not given where None is a value."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()


class SourceRepository(StoreRepository):
    """Sources, with their settings."""

    def create_source(
        self,
        account_id: int,
        *,
        type: str,  # noqa: A002 - the word of the wire
        display_name: str,
        name: str,
        destination_id: int | None = None,
        bootstrap_token: bool,
        sources_max: int | None = None,
    ) -> Source:
        """Create a source.

        Args:
            account_id: its account.
            type: "import_api".
            display_name: a label for people.
            name: of the source, and of the schema that it fills unless a source of another account
                fills that (`schema_ownership`); the caller checked its form (connect-api.md 4.1).
            destination_id: its destination; None for the default of the account.
            bootstrap_token: create a first token with it (connect-api.md 2.5).
            sources_max: most sources of an account for which the operator set nothing else; None
                where it is the operator who asks.

        Raises:
            NameTakenError: another source of the account has the name.
            SourceLimitError: the account has as many sources as it may.
            NotFoundError: no such account, or the destination belongs to another account.
        """
        with self._database.change() as tx:
            require_account(tx, account_id)
            require_destination(tx, account_id, destination_id)
            refuse_taken_name(tx, account_id, name)
            if sources_max is not None:
                check_sources_max(tx, account_id, sources_max)
            row = tx.connection.execute(
                insert(sources)
                .values(
                    id=create_connection_id(tx, "source"),
                    account_id=account_id,
                    type=type,
                    display_name=display_name,
                    name=name,
                    destination_id=destination_id,
                    created_at=tx.now,
                    updated_at=tx.now,
                    settings={},
                    schema_name=choose_schema_name(tx, account_id, name, destination_id),
                    log=choose_log(tx),
                )
                .returning(sources)
            ).one()
            if bootstrap_token:
                add_token(
                    tx,
                    TokenRequest(IMPORT),
                    tx.mint(PREFIXES[IMPORT]),
                    account_id=account_id,
                    source_id=row.id,
                    bootstrap=True,
                )
            source = Source(**row._mapping)
            _record(tx, TrailAction.CREATE_SOURCE, source)
            return source

    def leave_ids_out(self, count: int) -> None:
        """Let the id of the next source or destination be greater by a number than it would be.

        For a store in a file that was restored: destinations know how far they loaded sources that
        were made since, by their ids. Another source with such an id would get those loads.
        """
        with self._database.change() as tx:
            last = create_connection_id(tx, "source") + count
            tx.connection.execute(insert(connections).values(id=last, kind="source"))

    def list_sources(self, account_id: int | None = None) -> list[Source]:
        """Return the sources of one account or of all, by id, deleted ones too."""
        query = select(sources).order_by(sources.c.id)
        if account_id is not None:
            query = query.where(sources.c.account_id == account_id)
        with self._database.read() as tx:
            return [Source(**row._mapping) for row in tx.connection.execute(query)]

    def get_source(self, account_id: int | None, source_id: int) -> Source | None:
        """Return a source, deleted or not; None when the account (None for any) has no such."""
        with self._database.read() as tx:
            return find_source(tx, account_id, source_id)

    def get_settings(self, source_id: int) -> dict[str, Any]:
        """Return the settings of a source; none for an unknown source."""
        source = self.get_source(None, source_id)
        return {} if source is None else source.settings

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
        """Change a source; an argument that is not given leaves its column as it is.

        Args:
            account_id: its account; None for any.
            source_id: the source.
            display_name: a label for people; the name of the schema stays.
            paused_at: the time of a pause; None ends it.
            destination_id: its destination; None for the default of the account. Where a source of
                another account fills the schema there, this one fills another from then on. What
                waits goes there (see `moves`).
            settings: a merge patch for the present ones (RFC 7396: None removes a key).

        Returns:
            The source after the change; None when it is unknown or deleted.

        Raises:
            NotFoundError: the destination belongs to another account.
        """
        asked = {
            "display_name": display_name,
            "paused_at": paused_at,
            "destination_id": destination_id,
            "settings": settings,
        }
        values = {name: value for name, value in asked.items() if not isinstance(value, Unset)}
        if not values:
            with self._database.read() as tx:
                return find_undeleted_source(tx, account_id, source_id)
        asked_for = dict(values)
        with self._database.change() as tx:
            source = find_undeleted_source(tx, account_id, source_id)
            if source is None:
                return None
            if not isinstance(settings, Unset):
                values["settings"] = apply_merge_patch(source.settings, settings)
            if not isinstance(destination_id, Unset):
                values |= place_source(tx, source, destination_id)
            changed = change_source(tx, source, **values)
            told = describe_change(
                {name: _show_column(source, name) for name in asked_for},
                {name: _show_column(changed, name) for name in asked_for},
            )
            detail = {"changed": sorted(asked_for), **told}
            _record(tx, name_change(asked_for), changed, detail)
            return changed

    def delete_source(self, account_id: int | None, source_id: int) -> Source | None:
        """Mark a source as deleted and return it; None when it is unknown or was deleted before.

        Its tokens stay with it: a push is told that the source is deleted (connect-api.md 4.3).
        """
        with self._database.change() as tx:
            source = find_undeleted_source(tx, account_id, source_id)
            if source is None:
                return None
            deleted = change_source(tx, source, deleted_at=tx.now)
            _record(tx, TrailAction.DELETE_SOURCE, deleted)
            return deleted


def _show_column(source: Source, name: str) -> object:
    """Return a column as an event has it: a time as text."""
    value = getattr(source, name)
    return format_exact(value) if name == "paused_at" and value is not None else value


def name_change(values: Mapping[str, object]) -> TrailAction:
    """Return the action that changes these columns of a source, by the only one of them."""
    names = set(values)
    if names == {"destination_id"}:
        return TrailAction.MOVE_SOURCE
    if names == {"paused_at"}:
        paused = values["paused_at"] is not None
        return TrailAction.PAUSE_SOURCE if paused else TrailAction.UNPAUSE_SOURCE
    return TrailAction.SET_OPTIONS if names == {"settings"} else TrailAction.CHANGE_SOURCE


def _record(
    tx: StoreTransaction,
    action: TrailAction,
    source: Source,
    detail: Mapping[str, Any] | None = None,
) -> None:
    target = TrailTarget(TargetKind.SOURCE, source.id, source.name)
    tx.record(action, target, account_id=source.account_id, detail=detail)
