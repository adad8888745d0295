"""The repository of quotas that the operator set for single sources and accounts."""

from collections.abc import Mapping
from typing import Final, Literal

from sqlalchemy import delete, func, select

from treadle.quotas import QuotaOverrides
from treadle.store.database import StoreRepository, StoreTransaction
from treadle.store.errors import SourceLimitError
from treadle.store.model import Account, Source
from treadle.store.schema import quotas, sources
from treadle.store.trail_event import (
    TargetKind,
    TrailAction,
    TrailTarget,
    describe_change,
)

OwnerKind = Literal["source", "account"]

SOURCES_QUOTA: Final = "sources"


class QuotaRepository(StoreRepository):
    """Quotas of single sources and accounts; the settings hold for all others."""

    def list_overrides(self) -> QuotaOverrides:
        """Return all that was set, also for what was deleted."""
        found: dict[str, dict[int, dict[str, int]]] = {"source": {}, "account": {}}
        with self._database.read() as tx:
            for row in tx.connection.execute(select(quotas)):
                found[row.owner_kind].setdefault(row.owner_id, {})[row.name] = row.value
        return QuotaOverrides(found["source"], found["account"])

    def set_source_quotas(self, source: Source, values: Mapping[str, int | None]) -> None:
        """Set quotas of a source.

        Args:
            source: the source.
            values: name -> value, 0 for no bound; None to have the setting hold again.
        """
        with self._database.change() as tx:
            before = _set_quotas(tx, "source", source.id, values)
            tx.record(
                TrailAction.SET_QUOTAS,
                TrailTarget(TargetKind.SOURCE, source.id, source.name),
                account_id=source.account_id,
                detail={**values, **describe_change(before, values)},
            )

    def set_account_quotas(self, account: Account, values: Mapping[str, int | None]) -> None:
        """Set quotas of an account; see `set_source_quotas`."""
        with self._database.change() as tx:
            before = _set_quotas(tx, "account", account.id, values)
            tx.record(
                TrailAction.SET_QUOTAS,
                TrailTarget(TargetKind.ACCOUNT, account.id, account.name),
                account_id=account.id,
                detail={**values, **describe_change(before, values)},
            )


def _set_quotas(
    tx: StoreTransaction, owner_kind: OwnerKind, owner_id: int, values: Mapping[str, int | None]
) -> dict[str, int | None]:
    """Set quotas; return those that were set before, of the same names."""
    before: dict[str, int | None] = {}
    for name, value in values.items():
        before[name] = tx.connection.execute(
            select(quotas.c.value).where(
                quotas.c.owner_kind == owner_kind,
                quotas.c.owner_id == owner_id,
                quotas.c.name == name,
            )
        ).scalar_one_or_none()
        tx.connection.execute(
            delete(quotas).where(
                quotas.c.owner_kind == owner_kind,
                quotas.c.owner_id == owner_id,
                quotas.c.name == name,
            )
        )
        if value is not None:
            tx.connection.execute(
                tx.insert(quotas).values(
                    owner_kind=owner_kind, owner_id=owner_id, name=name, value=value
                )
            )
    return before


def check_sources_max(tx: StoreTransaction, account_id: int, sources_max: int) -> None:
    """Check that an account may have one more source.

    Args:
        tx: that adds it.
        account_id: the account.
        sources_max: of an account for which nothing was set; 0 for no bound.

    Raises:
        SourceLimitError: it has as many as it may.
    """
    set_ = tx.connection.execute(
        select(quotas.c.value).where(
            quotas.c.owner_kind == "account",
            quotas.c.owner_id == account_id,
            quotas.c.name == SOURCES_QUOTA,
        )
    ).scalar_one_or_none()
    most = sources_max if set_ is None else set_
    if not most:
        return
    there = tx.connection.execute(
        select(func.count())
        .select_from(sources)
        .where(sources.c.account_id == account_id, sources.c.deleted_at.is_(None))
    ).scalar_one()
    if there >= most:
        raise SourceLimitError(account_id, most)
