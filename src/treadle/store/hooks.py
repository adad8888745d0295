"""The repository of post-load hooks (connect-api.md 2.13, connect-rest.md A.2.6).

What they deliver is in `deliveries`.
"""

from typing import Any, Final

from sqlalchemy import Row, delete, func, insert, literal_column, select, update

from treadle.errors import OperatorError
from treadle.store.database import StoreRepository, StoreTransaction
from treadle.store.errors import HookLimitError, NotFoundError
from treadle.store.model import HookBacklog, PostLoadHook
from treadle.store.schema import accounts, deliveries, destinations, hooks
from treadle.store.sources import UNSET, Unset
from treadle.store.trail_event import (
    TargetKind,
    TrailAction,
    TrailTarget,
    describe_change,
)

POST_LOAD: Final = "post_load"
"""The only type of hooks."""

HOOKS_MAX: Final = 10
"""Most hooks of an account, disabled ones included (connect-api.md 2.13, Q27)."""

BODY_VERSION: Final = 1
"""The version of the kind of hook, not that of the body of a delivery."""


class HookRepository(StoreRepository):
    """Post-load hooks: at most HOOKS_MAX of an account."""

    def create_hook(
        self, account_id: int, url: str, *, destination_id: int | None = None
    ) -> PostLoadHook:
        """Create a hook. The caller checked the URL.

        Args:
            account_id: its account.
            url: what is called; kept encrypted.
            destination_id: after whose loads; None for the only destination of the account, or its
                default one.

        Raises:
            NotFoundError: the account has no such destination, or none at all.
            HookLimitError: it has as many hooks as it may.
        """
        with self._database.change() as tx:
            destination_id = _choose_destination(tx, account_id, destination_id)
            count = tx.connection.execute(
                select(func.count()).select_from(hooks).where(hooks.c.account_id == account_id)
            ).scalar_one()
            if count >= HOOKS_MAX:
                raise HookLimitError(account_id, HOOKS_MAX)
            hook_id: int = tx.connection.execute(
                insert(hooks)
                .values(
                    account_id=account_id,
                    destination_id=destination_id,
                    type=POST_LOAD,
                    version=BODY_VERSION,
                    url=b"",  # it is encrypted for its row, whose id is known now
                    created_at=tx.now,
                    modified_at=tx.now,
                )
                .returning(hooks.c.id)
            ).scalar_one()
            made = _update_row(tx, hook_id, {"url": tx.seal(url, make_url_context(hook_id))})
            _record(tx, TrailAction.CREATE_HOOK, made)
            return made

    def list_hooks(self, account_id: int | None = None) -> list[PostLoadHook]:
        """Return the hooks of one account or of all, by id, disabled ones too."""
        query = select(hooks).order_by(hooks.c.id)
        if account_id is not None:
            query = query.where(hooks.c.account_id == account_id)
        with self._database.read() as tx:
            return [_show_hook(tx, row) for row in tx.connection.execute(query)]

    def find_hook(self, account_id: int | None, hook_id: int) -> PostLoadHook | None:
        """Return a hook of an account, or of any with None; None where there is no such hook."""
        with self._database.read() as tx:
            return _find_hook(tx, account_id, hook_id)

    def list_backlogs(self) -> dict[int, HookBacklog]:
        """Return hook id -> what waits, for the hooks for which something does."""
        with self._database.read() as tx:
            # The index of waiting ones has all that is asked, but the time of the oldest.
            counts = (
                select(
                    deliveries.c.hook_id,
                    func.count().label("waiting"),
                    func.min(deliveries.c.number).label("first"),
                )
                .where(deliveries.c.state == literal_column("'waiting'"))
                .group_by(deliveries.c.hook_id)
                .subquery()
            )
            rows = tx.connection.execute(
                select(
                    counts.c.hook_id, counts.c.waiting, deliveries.c.created_at.label("oldest")
                ).join(deliveries, deliveries.c.number == counts.c.first)
            )
            return {row.hook_id: HookBacklog(row.waiting, row.oldest) for row in rows}

    def update_hook(
        self,
        account_id: int | None,
        hook_id: int,
        *,
        enabled: bool | Unset = UNSET,
        paused: bool | Unset = UNSET,
        url: str | Unset = UNSET,
        secret: str | Unset | None = UNSET,
    ) -> PostLoadHook | None:
        """Change a hook; return it as it is then, or None where there is no such hook.

        Args:
            account_id: its account; None for any.
            hook_id: the hook.
            enabled: whether loads make deliveries.
            paused: whether deliveries wait for the end of a pause.
            url: what is called; the caller checked it.
            secret: the key of the signature; None for no signature.
        """
        with self._database.change() as tx:
            row = _find_hook(tx, account_id, hook_id)
            if row is None:
                return None
            values: dict[str, Any] = {"modified_at": tx.now}
            if not isinstance(enabled, Unset):
                values["disabled_at"] = None if enabled else tx.now
            if not isinstance(paused, Unset):
                values["paused_at"] = (row.paused_at or tx.now) if paused else None
            if not isinstance(url, Unset):
                values["url"] = tx.seal(url, make_url_context(hook_id))
            if not isinstance(secret, Unset):
                values["secret"] = _seal_secret(tx, hook_id, secret)
            changed = _update_row(tx, hook_id, values)
            asked = {"enabled": enabled, "paused": paused, "url": url, "secret": secret}
            named = [name for name, value in asked.items() if not isinstance(value, Unset)]
            told = describe_change(
                {"enabled": row.disabled_at is None, "paused": row.paused_at is not None},
                {"enabled": changed.disabled_at is None, "paused": changed.paused_at is not None},
            )
            _record(tx, TrailAction.CHANGE_HOOK, changed, {"changed": named, **told})
            return changed

    def delete_hook(self, account_id: int | None, hook_id: int) -> bool:
        """Delete a hook with its deliveries, sent or not; return whether there was one."""
        with self._database.change() as tx:
            found = _find_hook(tx, account_id, hook_id)
            if found is None:
                return False
            # A load that is recorded meanwhile has either added its deliveries, or finds no hook.
            tx.connection.execute(select(hooks.c.id).where(hooks.c.id == hook_id).with_for_update())
            tx.connection.execute(delete(deliveries).where(deliveries.c.hook_id == hook_id))
            tx.connection.execute(delete(hooks).where(hooks.c.id == hook_id))
            _record(tx, TrailAction.DELETE_HOOK, found)
            return True


def seal_hooks_anew(tx: StoreTransaction) -> int:
    """Encrypt the URLs and secrets of all hooks again; return the number of texts."""
    count = 0
    for row in tx.connection.execute(select(hooks)).all():
        found = read_hook(tx, row)
        values = {
            "url": tx.seal(found.url, make_url_context(found.id)),
            "secret": _seal_secret(tx, found.id, found.secret),
        }
        tx.connection.execute(update(hooks).where(hooks.c.id == found.id).values(values))
        count += 1 if found.secret is None else 2
    return count


def read_hook(tx: StoreTransaction, row: Row[Any]) -> PostLoadHook:
    """Return the hook of a row of the table `hooks`.

    Raises:
        OperatorError: its URL or secret does not open with the key.
    """
    url, secret = open_hook(tx, row.id, row.url, row.secret)
    return PostLoadHook(**dict(row._mapping) | {"url": url, "secret": secret})


def _show_hook(tx: StoreTransaction, row: Row[Any]) -> PostLoadHook:
    """Return the hook of a row, without URL and secret where they do not open.

    It hurts this hook alone, which can be given another URL and secret, or be deleted.
    """
    try:
        return read_hook(tx, row)
    except OperatorError:
        return PostLoadHook(**dict(row._mapping) | {"url": "", "secret": None})


def open_hook(
    tx: StoreTransaction, hook_id: int, url: bytes, secret: bytes | None
) -> tuple[str, str | None]:
    """Decrypt the URL and the secret of a hook."""
    opened = tx.cipher.open(bytes(url), make_url_context(hook_id))
    if secret is None:
        return opened, None
    return opened, tx.cipher.open(bytes(secret), _make_secret_context(hook_id))


def make_url_context(hook_id: int) -> str:
    """Return the context in which the URL of a hook is encrypted."""
    return f"hook {hook_id}"


def _make_secret_context(hook_id: int) -> str:
    return f"secret of hook {hook_id}"


def _seal_secret(tx: StoreTransaction, hook_id: int, secret: str | None) -> bytes | None:
    return None if secret is None else tx.seal(secret, _make_secret_context(hook_id))


def _find_hook(tx: StoreTransaction, account_id: int | None, hook_id: int) -> PostLoadHook | None:
    query = select(hooks).where(hooks.c.id == hook_id)
    if account_id is not None:
        query = query.where(hooks.c.account_id == account_id)
    row = tx.connection.execute(query).one_or_none()
    return None if row is None else _show_hook(tx, row)


def _update_row(tx: StoreTransaction, hook_id: int, values: dict[str, Any]) -> PostLoadHook:
    row = tx.connection.execute(
        update(hooks).where(hooks.c.id == hook_id).values(values).returning(hooks)
    ).one()
    return _show_hook(tx, row)


def _choose_destination(tx: StoreTransaction, account_id: int, destination_id: int | None) -> int:
    """Return the destination of a new hook.

    Raises:
        NotFoundError: the account has no such destination, or none to choose.
    """
    there = set(
        tx.connection.execute(
            select(destinations.c.id).where(
                destinations.c.account_id == account_id, destinations.c.deleted_at.is_(None)
            )
        ).scalars()
    )
    if destination_id is None:
        destination_id = (
            next(iter(there))
            if len(there) == 1
            else tx.connection.execute(
                select(accounts.c.destination_id).where(accounts.c.id == account_id)
            ).scalar_one_or_none()
        )
        if destination_id is None:
            raise NotFoundError(f"account {account_id} has no destination")
    if destination_id not in there:
        raise NotFoundError(f"account {account_id} has no destination {destination_id}")
    return destination_id


def _record(
    tx: StoreTransaction,
    action: TrailAction,
    hook: PostLoadHook,
    detail: dict[str, Any] | None = None,
) -> None:
    target = TrailTarget(TargetKind.HOOK, hook.id)
    tx.record(action, target, account_id=hook.account_id, detail=detail)
