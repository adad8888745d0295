"""The repository of the secret key: which key is in force, and its rotation."""

from sqlalchemy import or_, select, update

from treadle.store.database import StoreRepository
from treadle.store.destinations import seal_destinations_anew
from treadle.store.hooks import seal_hooks_anew
from treadle.store.logs import seal_logs_anew
from treadle.store.schema import access_tokens, meta
from treadle.store.token_rows import seal_rows_anew
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget


class KeyRepository(StoreRepository):
    """The secret key of the installation."""

    def get_check_value(self) -> str:
        """Return the check value of the key in force, which seals."""
        with self._database.read() as tx:
            found: str = tx.connection.execute(select(meta.c.key_check)).scalar_one()
            return found

    def rotate_key(self, check_value: str) -> int:
        """Encrypt every secret of the store with another key, which is in force from then on.

        All of it is one transaction: a rotation that is cut short has changed nothing. Readers go
        on meanwhile, and other changes wait for it.

        Args:
            check_value: of the new key, which the cipher of the store must know.

        Returns:
            The number of secrets; 0 when that key is in force already.

        Raises:
            OperatorError: the cipher does not know the key, or a secret does not open. Nothing was
                changed then.
        """
        with self._database.change() as tx:
            if tx.key_check == check_value:
                return 0
            tx = tx.with_key(check_value)
            tx.connection.execute(update(meta).values(key_check=check_value))
            rows = tx.connection.execute(
                select(access_tokens).where(
                    or_(access_tokens.c.sealed.is_not(None), access_tokens.c.signature.is_not(None))
                )
            ).all()
            count = seal_rows_anew(tx, rows) + seal_destinations_anew(tx) + seal_hooks_anew(tx)
            count += seal_logs_anew(tx)
            target = TrailTarget(TargetKind.KEY, check_value[:8])
            tx.record(TrailAction.ROTATE_KEY, target, account_id=None, detail={"secrets": count})
            return count
