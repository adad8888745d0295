"""Authentication: the one place where tokens are read from headers, compared and looked up.

Tokens are looked up by their digest, `treadle.text.digest_text`.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from treadle.http.caller import mark_caller_known


class TokenOfAccount(Protocol):
    """Whoever has a token: it is one of an account."""

    @property
    def account_id(self) -> int:
        """Return the account."""


AccountT = TypeVar("AccountT", bound=TokenOfAccount)
OwnerT = TypeVar("OwnerT", bound=TokenOfAccount)
FoundT = TypeVar("FoundT", bound=TokenOfAccount)


def read_bearer_token(headers: Mapping[str, str]) -> str | None:
    """Return the token of an `Authorization: Bearer <token>` header (import-api.md 2).

    The scheme is compared case-insensitively and followed by one or more spaces.

    Returns:
        The token; None when there is no such header, another scheme or no token.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    return token.strip(" ") or None


def matches_token(headers: Mapping[str, str], expected: str) -> bool:
    """Return whether a request has this token; how long it takes says nothing about the token."""
    sent = read_bearer_token(headers) or ""
    matches = hmac.compare_digest(sent.encode(), expected.encode())
    if matches:
        mark_caller_known(None)
    return matches


@dataclass(frozen=True, slots=True)
class TokenAuthentication(Generic[AccountT, OwnerT]):
    """Looks up the bearer token of a request as an account token, an import token, or either.

    Attributes:
        get_account: account token -> who has it; None where it is none.
        get_owner: import token -> the source that may push with it; None where it is none.
    """

    get_account: Callable[[str], Awaitable[AccountT | None]]
    get_owner: Callable[[str], Awaitable[OwnerT | None]]

    async def find_account(self, headers: Mapping[str, str]) -> AccountT | None:
        """Return whose account token a request has; import tokens are unknown here."""
        token = read_bearer_token(headers)
        return None if token is None else _mark_known(await self.get_account(token))

    async def find_owner(self, headers: Mapping[str, str]) -> OwnerT | None:
        """Return whose import token a request has; account tokens are unknown here."""
        token = read_bearer_token(headers)
        return None if token is None else _mark_known(await self.get_owner(token))

    async def find_either(self, headers: Mapping[str, str]) -> AccountT | OwnerT | None:
        """Return whose token a request has, of whichever kind.

        Import tokens are looked up first: a worker has them in memory.
        """
        token = read_bearer_token(headers)
        if token is None:
            return None
        owner = await self.get_owner(token)
        if owner is not None:
            return _mark_known(owner)
        return _mark_known(await self.get_account(token))


def _mark_known(found: FoundT | None) -> FoundT | None:
    """Return whose token it is; where it is somebody's, the caller is no stranger."""
    if found is not None:
        mark_caller_known(found.account_id)
    return found
