"""The check of a destination as a task process does it: a function of bytes."""

from treadle.desk.check_order import CheckOrder, decode_order, encode_result, hide_secrets
from treadle.destinations.priority import LoaderPriority
from treadle.destinations.registry import make_destination
from treadle.destinations.rehearsal import LoadRehearsal
from treadle.destinations.rehearsal_result import RehearsalResult
from treadle.errors import OperatorError
from treadle.load_locks import use_locks
from treadle.store.advisory_locks import choose_locks
from treadle.text import make_clause


def check_destination(payload: bytes) -> bytes:
    """Rehearse a load in each schema of a destination.

    Args:
        payload: see `encode_order`.

    Returns:
        See `encode_result`.
    """
    order = decode_order(payload)
    return encode_result(_rehearse(order), order.url)


def _rehearse(order: CheckOrder) -> RehearsalResult:
    try:
        check = None if order.policy is None else order.policy.check
        destination = make_destination(order.url, check)
    except OperatorError as error:
        fault = hide_secrets(make_clause(str(error)), order.url)
        return RehearsalResult("The destination", (), fault=fault)
    use_locks(choose_locks(order.store_url, order.turns))
    priority = LoaderPriority(order.turns)
    return LoadRehearsal(destination, order.now, order.data, priority).run(order.schemas)
