"""What pages say of the other machines that share the work, and nothing where there can be none."""

from treadle.console.cluster_view import choose_gate_url, count_refused_elsewhere, describe_reach
from treadle.console.page_request import ConsoleServices, PageRequest
from treadle.tracking.member_list import ListedMember, describe_members


def tell_reach(services: ConsoleServices) -> str | None:
    """Return of which machine refused requests are shown; None where there is no other."""
    machine = services.traces.machine
    if machine is None:
        return None
    return describe_reach(machine, count_refused_elsewhere(_list_members(services), machine))


def find_sender_url(services: ConsoleServices, request: PageRequest) -> str:
    """Return the URL that examples send to, without a slash at its end.

    It is that of this server, but for a member that takes no records: then it is that of a gate.
    The setting `public_url` comes before both.
    """
    own = request.origin + services.places.prefix
    if services.traces.takes_records or services.places.origin is not None:
        return own
    return choose_gate_url(_list_members(services)) or own


def _list_members(services: ConsoleServices) -> list[ListedMember]:
    return describe_members(services.store.members.list_members(), ())
