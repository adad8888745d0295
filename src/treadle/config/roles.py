"""The roles of a member: which part of the work it takes."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final


class MemberRole(StrEnum):
    """A part of the work that members share."""

    INGEST = "ingest"
    """A gate: takes records, and tells what became of them."""
    LOADER = "loader"
    """Loads what was taken into the destinations."""
    CONTROL = "control"
    """Answers the Connect API and the console, and does what they ask for."""


ALL: Final = "all"
"""The word for a server that does everything, which needs no other member."""

ROLE_WORDS: Final = (ALL, *(role.value for role in MemberRole))


def expand_roles(words: Sequence[str]) -> frozenset[MemberRole]:
    """Return the roles that the setting `role` names."""
    if ALL in words:
        return frozenset(MemberRole)
    return frozenset(MemberRole(word) for word in words)


def format_roles(roles: frozenset[MemberRole]) -> str:
    """Return roles as the setting names them, always in one order: "ingest,control"."""
    return ",".join(role.value for role in MemberRole if role in roles)
