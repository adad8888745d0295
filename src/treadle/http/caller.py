"""The connection of the request that is being answered, and whether its sender is known.

A sender that shows a known token is no stranger any more: when places for connections run short,
those of strangers are closed first. The code that looks up tokens notes the sender here, so it
needs to know nothing of connections.
"""

from contextvars import ContextVar
from typing import Final, Protocol


class RequestCaller(Protocol):
    """Where a request came from."""

    def mark_known(self, account_id: int | None) -> None:
        """Note that a request came from there with a token that treadle knows.

        Args:
            account_id: whose token it is; None for one of the whole installation.
        """


CURRENT_CALLER: Final[ContextVar[RequestCaller | None]] = ContextVar("caller", default=None)
"""Set by the connection, for the task that answers a request."""


def mark_caller_known(account_id: int | None) -> None:
    """Note that the running request has a token that treadle knows; does nothing elsewhere.

    Args:
        account_id: whose token it is; None for one of the whole installation.
    """
    caller = CURRENT_CALLER.get()
    if caller is not None:
        caller.mark_known(account_id)
