"""What the store refuses, as cases a caller tells apart.

None of them is an answer on the wire: the control room makes the documented bodies.
"""

from treadle.errors import OperatorError, TreadleError


class NotFoundError(TreadleError):
    """There is no such account, source, token or destination inside the account asked for."""


class NameTakenError(TreadleError):
    """Another source owns the schema of that name (connect-api.md 4.1).

    Attributes:
        name: the schema's name.
        elsewhere: it is owned by a source of another account in the same destination database.
    """

    def __init__(self, name: str, *, elsewhere: bool) -> None:
        owner = "a source of another account in the same destination" if elsewhere else "a source"
        super().__init__(f"the name {name} is taken by {owner}; choose another name")
        self.name = name
        self.elsewhere = elsewhere


class TokenLimitError(TreadleError):
    """The source has the greatest number of active tokens (connect-api.md 2.6)."""

    def __init__(self, source_id: int, limit: int) -> None:
        super().__init__(
            f"source {source_id} already has the maximum of {limit} active access tokens; "
            f"revoke one first"
        )
        self.source_id = source_id
        self.limit = limit


class TokenTakenError(OperatorError):
    """The token to be adopted is known already: it belongs elsewhere, or was revoked."""


class AccountTakenError(OperatorError):
    """The client id asked for belongs to an account already."""
