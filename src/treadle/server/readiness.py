"""What a member needs for each of its roles, as `/v1/ready` tells it."""

from collections.abc import Callable, Mapping, Sequence

from treadle.config.roles import MemberRole
from treadle.http.stop_notice import StopNotice
from treadle.ingest.member_readiness import MemberReadiness, ObstacleFinder, PartProbe
from treadle.store.membership import LOADER_ROLE
from treadle.store.store import Store

ROLE_ORDER: tuple[MemberRole, ...] = (MemberRole.INGEST, MemberRole.CONTROL, MemberRole.LOADER)
"""A balancer that names no role sends requests of the first one that a member has."""


def make_readiness(
    roles: frozenset[MemberRole],
    needs: Mapping[MemberRole, Sequence[ObstacleFinder]],
    notice: StopNotice,
) -> MemberReadiness:
    """Make the endpoint of a member.

    Args:
        roles: of the member.
        needs: what each of them needs.
        notice: announced when the member is told to stop.
    """
    return MemberReadiness(
        {role.value: needs.get(role, ()) for role in ROLE_ORDER if role in roles},
        notice,
        [role.value for role in ROLE_ORDER if role not in roles],
    )


def probe_store(get_revision: Callable[[], int]) -> PartProbe:
    """Make the probe of a store: whether it answers."""

    def ask() -> None:
        get_revision()

    return PartProbe("the store", ask)


def probe_loaders(store: Store, place: str) -> PartProbe:
    """Make the probe of the loaders of a server: whether one of them is there.

    Args:
        store: has the members.
        place: of the server (`ClusterMember.place`).
    """

    def ask() -> str | None:
        for seen in store.members.list_members():
            its = seen.member
            if seen.is_live and its.role == LOADER_ROLE and its.place == place:
                return None
        return "no loader of this member runs"

    return PartProbe("the store", ask)


def probe_log(find_shortage: Callable[[], str | None]) -> PartProbe:
    """Make the probe of the logs: whether they take records."""
    return PartProbe("the log", find_shortage)
