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
    """There are as many active tokens of this kind as there may be (connect-api.md 2.6).

    Attributes:
        owner: whose tokens they are, "source 7".
        limit: the most it may have.
    """

    def __init__(self, owner: str, limit: int) -> None:
        super().__init__(
            f"{owner} already has the maximum of {limit} active access tokens; revoke one first"
        )
        self.owner = owner
        self.limit = limit


class TokenRuleError(OperatorError):
    """A token that is asked for, or given from outside, breaks a rule (`token_rules`)."""


class TokenTakenError(OperatorError):
    """The token to adopt belongs to another source, or was revoked."""


class AccountTakenError(OperatorError):
    """The client id belongs to another account, or is none."""


class SourceLimitError(TreadleError):
    """The account has as many sources as its quota allows."""

    def __init__(self, account_id: int, limit: int) -> None:
        super().__init__(
            f"account {account_id} already has the maximum of {limit} sources; delete one first"
        )
        self.limit = limit


class DestinationLimitError(TreadleError):
    """The account has as many destinations as the setting `destinations_max` allows."""

    def __init__(self, account_id: int, limit: int) -> None:
        super().__init__(
            f"account {account_id} already has the maximum of {limit} destinations; delete one "
            "first, or raise destinations_max"
        )


class DestinationHeldError(TreadleError):
    """The setting `destination` says where a destination is, so nothing else changes it."""

    def __init__(self, destination_id: int) -> None:
        super().__init__(
            f"destination {destination_id} is set by the server's configuration; change the "
            "setting destination, or start the server without it"
        )
