"""Finds the records that a database refuses, when it refused a load as a whole."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Record = TypeVar("Record")


def _never() -> bool:
    return False


@dataclass(slots=True)
class RecordBisection(Generic[Record]):
    """A search that halves records until each refused one stands alone; it may take several turns.

    Attributes:
        waiting: parts of the records that are to be tried, the next one last.
        together: a part is tried beside all that was taken before (`find_refused_together`).
        found: refused record -> why.
        kept: those that were taken, of a search for records that go together.
    """

    waiting: list[Sequence[Record]]
    together: bool = False
    found: dict[Record, str] = field(default_factory=dict)
    kept: list[Record] = field(default_factory=list)

    def add_records(self, records: Sequence[Record]) -> None:
        """Have further records tried, after all others."""
        self.waiting.insert(0, records)

    def search(
        self,
        rehearse: Callable[[Sequence[Record]], str | None],
        is_over: Callable[[], bool] = _never,
    ) -> bool:
        """Go on with the search; return whether all is found.

        Args:
            rehearse: tries to load just these; returns why they were refused, or None.
            is_over: returns whether the turn is over; asked after each rehearsal.
        """
        while self.waiting:
            some = self.waiting.pop()
            if not some:
                continue
            reason = rehearse([*self.kept, *some] if self.together else some)
            if reason is None:
                if self.together:
                    self.kept += some
            elif len(some) == 1:
                self.found[some[0]] = reason
            else:
                middle = len(some) // 2
                self.waiting += [some[middle:], some[:middle]]
            if self.waiting and is_over():
                return False
        return True


def find_refused(
    records: Sequence[Record], rehearse: Callable[[Sequence[Record]], str | None]
) -> dict[Record, str]:
    """Return the records that are refused when they are loaded without the others, with reasons.

    Halves are tried until each refused record stands alone, so `k` bad records among `n` cost
    about `2 k log2(n)` rehearsals, the larger ones rare.

    Args:
        records: names of the records, in order.
        rehearse: tries to load just these; returns why they were refused, or None.
    """
    bisection = RecordBisection([records])
    bisection.search(rehearse)
    return bisection.found


def find_refused_together(
    records: Sequence[Record], rehearse: Callable[[Sequence[Record]], str | None]
) -> dict[Record, str]:
    """Return the records to leave out, with reasons, so that the others can be loaded together.

    For records that are taken alone and refused with others, such as two whose fields get one
    column. A rehearsal tries a part beside all that was taken before, so each is as large as what
    is kept; the first of two that do not go together stays.

    Args:
        records: names of the records, in order.
        rehearse: tries to load just these; returns why they were refused, or None.
    """
    bisection = RecordBisection([records], together=True)
    bisection.search(rehearse)
    return bisection.found
