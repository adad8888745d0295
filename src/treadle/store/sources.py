"""Sources: who may push, and which schema they fill."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import insert, select

from treadle.store.accounts import require_account
from treadle.store.database import StoreRepository
from treadle.store.destinations import create_connection_id, require_destination
from treadle.store.merge_patch import apply_merge_patch
from treadle.store.model import Source
from treadle.store.schema import sources
from treadle.store.schema_ownership import refuse_shared_schemas, refuse_taken_name
from treadle.store.source_rows import (
    change_source,
    find_source,
    find_undeleted_source,
    read_source,
)
from treadle.store.tokens import IMPORT_TOKEN_PREFIX, add_token


class Unset:
    """The type of `UNSET`: an argument that was not given, where None means something."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()


class SourceRepository(StoreRepository):
    """Sources: who may push, and which schema they fill."""

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
            require_account(tx, account_id)
            require_destination(tx, account_id, destination_id)
            refuse_taken_name(tx, account_id, name, destination_id)
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
                )
                .returning(sources)
            ).one()
            if bootstrap_token:
                add_token(tx, row.id, tx.mint(IMPORT_TOKEN_PREFIX), bootstrap=True)
            return read_source(row)

    def list_sources(self, account_id: int | None = None) -> list[Source]:
        """Sources of one account or of all, ascending id, deleted ones too."""
        query = select(sources).order_by(sources.c.id)
        if account_id is not None:
            query = query.where(sources.c.account_id == account_id)
        with self._database.read() as tx:
            return [read_source(row) for row in tx.connection.execute(query)]

    def get_source(self, account_id: int | None, source_id: int) -> Source | None:
        """One source, deleted or not; None when unknown in that account (None: in any)."""
        with self._database.read() as tx:
            return find_source(tx, account_id, source_id)

    def get_settings(self, source_id: int) -> dict[str, Any]:
        """The settings of a source; empty for an unknown one."""
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
        with self._database.change() as tx:
            source = find_undeleted_source(tx, account_id, source_id)
            if source is None:
                return None
            if not isinstance(settings, Unset):
                values["settings"] = apply_merge_patch(source.settings, settings)
            if not isinstance(destination_id, Unset):
                require_destination(tx, source.account_id, destination_id)
            changed = change_source(tx, source, **values)
            if "destination_id" in values:
                refuse_shared_schemas(tx, source.account_id)
            return changed

    def delete_source(self, account_id: int | None, source_id: int) -> Source | None:
        """Mark a source as deleted; None when it is unknown or was deleted before.

        Its tokens stay attached (connect-api.md 4.3).
        """
        with self._database.change() as tx:
            source = find_undeleted_source(tx, account_id, source_id)
            return None if source is None else change_source(tx, source, deleted_at=tx.now)
