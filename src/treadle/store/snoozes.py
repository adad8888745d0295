"""The repository of snoozes: problems of which nobody wants to be told for a while."""

from sqlalchemy import delete, select

from treadle.store.database import StoreRepository
from treadle.store.schema import snoozes
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget
from treadle.timestamps import format_exact

ProblemKey = tuple[int, str, str]
"""Account id, kind and key of a problem."""


class SnoozeRepository(StoreRepository):
    """Problems of which nobody is told before a time."""

    def snooze_problem(self, problem: ProblemKey, named: str, until: int) -> None:
        """Let nobody be told of a problem before a time; an earlier one is replaced.

        Args:
            problem: the problem.
            named: what it is with, for people.
            until: microseconds since 1970. A time that is over ends the snooze.
        """
        account_id, kind, key = problem
        with self._database.change() as tx:
            # The snoozes that are over go, too.
            tx.connection.execute(delete(snoozes).where(snoozes.c.until <= tx.now))
            statement = tx.insert(snoozes).values(
                account_id=account_id, kind=kind, key=key, until=until
            )
            tx.connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["account_id", "kind", "key"],
                    set_={"until": statement.excluded.until},
                )
            )
            tx.record(
                TrailAction.SNOOZE_PROBLEM,
                TrailTarget(TargetKind.PROBLEM, f"{kind} {key}", named),
                account_id=account_id,
                detail={"until": format_exact(until)},
            )

    def list_snoozes(self, now: int) -> dict[ProblemKey, int]:
        """Return the problems of which nobody is told now, and until when."""
        query = select(snoozes).where(snoozes.c.until > now)
        with self._database.read() as tx:
            return {
                (row.account_id, row.kind, row.key): row.until
                for row in tx.connection.execute(query)
            }
