"""The JSON objects of the calls about users (console.md B.6)."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control.schemas import Id, Instant, component

RoleName = Literal["viewer", "operator", "admin"]


@component("User")
class UserAnswer(TypedDict):
    """Somebody who signs in to the console with an e-mail address and a password."""

    id: Id
    name: str
    email: str
    role: RoleName
    state: Annotated[
        Literal["invited", "expired", "active", "disabled"],
        Field(description="expired: the invitation was not accepted in time"),
    ]
    created_at: Instant
    last_seen_at: Instant | None
    disabled_at: Instant | None
    invited_until: Annotated[Instant | None, Field(description="null for no open invitation")]


@component("Users")
class UserList(TypedDict):
    """The users of the account, by id."""

    users: list[UserAnswer]


@component("InvitedUser")
class InvitedUser(UserAnswer):
    """A user with the secret of the invitation, which is shown this once."""

    invite_token: Annotated[
        str, Field(description="lead a browser to `/console/invite?token=...` with it")
    ]


@with_config(ConfigDict(extra="forbid"))
class CreateUser(TypedDict):
    """Who is invited."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    email: Annotated[str, Field(max_length=254)]
    role: RoleName


@with_config(ConfigDict(extra="forbid"))
class ChangeUser(TypedDict, total=False):
    """The role of a user, and whether it is refused; what is left out stays."""

    role: RoleName
    disabled: bool
