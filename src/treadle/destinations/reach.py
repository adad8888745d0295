"""Decides whether an account may have a statement of its own run in a database. Pure.

An account must not read what another account has (security, "Sources and accounts"). A database
that several accounts load into has one role for all of them, or none, so it cannot tell them apart:
what the role can read is compared with what the account has.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from treadle.destinations.asking import RoleRights
from treadle.tables.schema_owner import UNOWNED, SchemaOwner


@dataclass(frozen=True, slots=True)
class AccountReach:
    """What an account may read by statements.

    Attributes:
        is_alone: it is the only account of the installation, so that nobody has to be kept from it.
        has_own_role: the operator named a role for this destination of the account, so that the
            rights of the role say what it may read.
        owner: as whom databases record it; its source is 0.
        own: the schemas of its sources in this database, as the store has them.
        foreign: schemas of sources of other accounts in the same database.
        shares_login: another account has a destination on the same server with the same role, so
            that one can see and end what the other one's sessions do.
    """

    is_alone: bool
    has_own_role: bool = False
    owner: SchemaOwner = UNOWNED
    own: frozenset[str] = field(default_factory=frozenset)
    foreign: frozenset[str] = field(default_factory=frozenset)
    shares_login: bool = False


NOT_ALONE = (
    "This database is not this account's alone, and it cannot be told to show only what is this "
    "account's. So no statement is run in it. The rows of each table can be looked at without one. "
    "The operator of the server can give the account a database of its own, or in PostgreSQL, "
    "MySQL, ClickHouse, Redshift and Snowflake a role for its questions (`treadle destination "
    "update DESTINATION --role-url-file FILE`)."
)

ROLE_READS_TOO_MUCH = (
    "The role that was named for the questions of this account can read what is another account's. "
    "So no statement is run. The operator of the server has to take that right from it."
)


def judge_reach(
    reach: AccountReach, readable: Set[str], owners: Mapping[str, SchemaOwner] | None
) -> str | None:
    """Return why a statement must not be run; None where it may.

    Args:
        reach: of the account.
        readable: the schemas in which the session that asks can read something.
        owners: of schemas, as the database records them; None where it does not tell.
    """
    if reach.is_alone:
        return None
    foreign, own = set(reach.foreign), set(reach.own - reach.foreign)
    if owners is not None:
        own = {schema for schema, owner in owners.items() if reach.owner.may_use(owner)}
        foreign |= owners.keys() - own
    if _fold(readable) & _fold(foreign):
        return ROLE_READS_TOO_MUCH if reach.has_own_role else NOT_ALONE
    if reach.has_own_role:
        return None
    if reach.shares_login or foreign or _fold(readable) - _fold(own):
        return NOT_ALONE
    return None


def _fold(names: Set[str]) -> set[str]:
    """Return names as a database compares them that knows no case."""
    return {name.lower() for name in names}


def judge_rights(rights: RoleRights) -> str | None:
    """Return why no statement must be run with the rights of a role; None where one may."""
    if not rights.dangerous:
        return None
    return (
        f"The role {rights.role} is {' and '.join(rights.dangerous)}. A statement could read files "
        "and run programs on the machine of the database with that, so none is run. Give treadle "
        "a role without it, or name another role for questions in the setting query_url."
    )
