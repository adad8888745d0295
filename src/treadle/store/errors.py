"""Changes that the store refuses, one error for each case that a caller must tell apart.

None of them is an answer on the wire: `treadle.control` makes the documented bodies.
"""

from collections.abc import Sequence

from treadle.counting import count_noun
from treadle.errors import OperatorError, TreadleError


class MissingStoreError(OperatorError):
    """The database has no store, and this is not who makes one."""


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


class SchemaChangedError(OperatorError):
    """A source was to fill a schema in its new destination that another source fills by now."""

    def __init__(self, schema: str) -> None:
        super().__init__(
            f"A source of another account began to fill the schema {schema} meanwhile, so nothing "
            "was moved; start the command again."
        )


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


class AddressRuleError(OperatorError):
    """A text is no e-mail address that treadle sends to (connect-rest.md A.2.5)."""

    def __init__(self) -> None:
        super().__init__(
            "an e-mail address has one @ with a dot behind it, at most 254 characters, and no "
            "blanks, quotes, brackets, commas, colons or control characters"
        )


class RecipientLimitError(OperatorError):
    """The account has as many recipients as it may have, disabled ones included."""

    def __init__(self, account_id: int, limit: int) -> None:
        super().__init__(
            f"account {account_id} already has the maximum of {limit} recipients; remove one first"
        )


class OwnerTakenError(TreadleError):
    """The person has an account already: it has the e-mail address of another owner."""


class AccountLimitError(TreadleError):
    """There are as many accounts as there may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"this server already has the maximum of {limit} accounts")
        self.limit = limit


class AccountNeededError(TreadleError):
    """An account cannot be deleted.

    Attributes:
        owned: what it still has, such as `source web`; nothing where it is the only account.
    """

    def __init__(self, account_id: int, owned: Sequence[str]) -> None:
        super().__init__(
            f"the account {account_id} still has {', '.join(owned)}"
            if owned
            else f"the account {account_id} is the only one"
        )
        self.owned = tuple(owned)


class EphemeralTokenLimitError(TreadleError):
    """The account has as many unused ephemeral tokens as it may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the account already has the maximum of {limit} unused ephemeral tokens")
        self.limit = limit


class TableSchemaLimitError(OperatorError):
    """A source has as many table schemas, or as large ones, as it may."""

    def __init__(self, source_id: int, count: int, size: int) -> None:
        super().__init__(
            f"source {source_id} can have {count:,} table schemas of {size:,} bytes together; "
            "remove one, or make one smaller"
        )


class SourceLimitError(TreadleError):
    """The account has as many sources as its quota allows."""

    def __init__(self, account_id: int, limit: int) -> None:
        super().__init__(
            f"account {account_id} already has the maximum of {limit} sources; delete one first"
        )
        self.limit = limit


class HookLimitError(TreadleError):
    """The account has as many hooks as it may, disabled ones included (connect-api.md 2.13)."""

    def __init__(self, account_id: int, limit: int) -> None:
        super().__init__(
            f"account {account_id} already has the maximum of {limit} hooks, disabled ones "
            "included; delete one first"
        )
        self.limit = limit


class DeliveryCountError(TreadleError):
    """There are other deliveries than the number that was to be sent again."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(
            f"{count_noun(expected, 'delivery', 'deliveries')} "
            f"{'was' if expected == 1 else 'were'} to be sent again, and {found} "
            f"{'has' if found == 1 else 'have'} failed now. Look at "
            "them again, and confirm the new number."
        )


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


class UserTakenError(OperatorError):
    """Another user has the e-mail address: one address opens one account."""

    def __init__(self) -> None:
        super().__init__(
            "a user of this installation has this e-mail address already; an address signs in to "
            "one account"
        )


class UserLimitError(OperatorError):
    """There are as many users of an account, or of the installation, as there may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"there are {limit} users already, the most there may be; delete one first"
        )
