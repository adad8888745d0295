"""Problems from their beginning to their end, in a file: what ended in the last days is shown.

One process writes the file, and whoever shows problems reads it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from treadle.files import write_private_file
from treadle.text import make_storable
from treadle.tracking.problem_kinds import FoundProblem

KEPT_US: Final = 7 * 86_400_000_000
"""How long a problem is kept that is over."""

SPELLS_MAX: Final = 2_000
"""Problems that are kept, the newest ones."""

RETURN_US: Final = 60_000_000
"""A problem that comes back so soon after its end has not ended."""


class ProblemSpell(msgspec.Struct, frozen=True):
    """A problem from its beginning to its end.

    Attributes:
        kind: a name of `SHOWN_KINDS`.
        key: tells problems of a kind apart within the account.
        named: what it is with, for people.
        began: microseconds since 1970.
        ended: the same; None while there is the problem.
    """

    account_id: int
    kind: str
    key: str
    named: str
    began: int
    ended: int | None = None


def advance_spells(
    spells: Iterable[ProblemSpell], found: Iterable[FoundProblem], now: int
) -> list[ProblemSpell]:
    """Return the spells after a look for problems, the last one to begin first. Pure.

    Args:
        spells: before it.
        found: all problems that there are.
        now: microseconds since 1970.
    """
    present = {problem.identity: problem for problem in found}
    advanced: list[ProblemSpell] = []
    for spell in spells:
        identity = (spell.account_id, spell.kind, spell.key)
        returns = spell.ended is None or now - spell.ended < RETURN_US
        if returns and identity in present:
            del present[identity]
            advanced.append(msgspec.structs.replace(spell, ended=None))
        elif spell.ended is None:
            advanced.append(msgspec.structs.replace(spell, ended=now))
        elif now - spell.ended < KEPT_US:
            advanced.append(spell)
    advanced += [
        ProblemSpell(
            problem.account_id,
            problem.kind,
            make_storable(problem.key),
            make_storable(problem.named),
            problem.since or now,
        )
        for problem in present.values()
    ]
    return sorted(advanced, key=lambda one: -one.began)[:SPELLS_MAX]


def list_ended_spells(spells: Iterable[ProblemSpell], since: int) -> list[ProblemSpell]:
    """Return the problems that ended at a time or later, the last one first. Pure."""
    ended = [one for one in spells if one.ended is not None and one.ended >= since]
    return sorted(ended, key=lambda one: -(one.ended or 0))


def write_spells(path: Path, spells: Sequence[ProblemSpell]) -> None:
    """Write all spells.

    Raises:
        OSError: they cannot be written.
    """
    write_private_file(path, msgspec.json.encode(spells).decode(), replace=True)


def read_spells(path: Path) -> list[ProblemSpell]:
    """Return all spells; none where there is no such file, or another one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[ProblemSpell])
    except (OSError, msgspec.MsgspecError):
        return []
