"""Changes that the store refuses, one error for each case that a caller must tell apart.

None of them is an answer on the wire: `treadle.control` makes the documented bodies.
"""

from treadle.errors import OperatorError, TreadleError


class NotFoundError(TreadleError):
    """There is no such account, source, token or destination inside the account asked for."""


class NameTakenError(TreadleError):
    """Another source has the name, or the schema of that name (connect-api.md 4.1).

    Attributes:
        name: of the source, or the schema.
        elsewhere: a source of another account that loads into the same database fills the schema.
            Only the operator meets this, when a change of destinations brings two together.
    """

    def __init__(self, name: str, *, elsewhere: bool = False) -> None:
        owner = "a source of another account in the same destination" if elsewhere else "a source"
        super().__init__(f"the name {name} is taken by {owner}; choose another name")
        self.name = name
        self.elsewhere = elsewhere


class TokenLimitError(TreadleError):
    """The source has as many active tokens as a source may have (connect-api.md 2.6)."""

    def __init__(self, source_id: int, limit: int) -> None:
        super().__init__(
            f"source {source_id} already has the maximum of {limit} active access tokens; "
            f"revoke one first"
        )
        self.source_id = source_id
        self.limit = limit


class TokenTakenError(OperatorError):
    """The token to adopt belongs to another source, or was revoked."""


class AccountTakenError(OperatorError):
    """The client id belongs to another account, or is none."""
