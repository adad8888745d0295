"""Which of the two eras' answers the control API gives (connect-api.md 3.1, Q2, Q7)."""

from dataclasses import dataclass
from typing import Protocol, Self


class Settings(Protocol):
    """The settings this room reads; `treadle.config.Config` has them."""

    @property
    def surface(self) -> str:
        """`seed` or `modern`."""

    @property
    def token_list(self) -> str:
        """`objects` or `integers`."""


@dataclass(frozen=True, slots=True)
class Surface:
    """What the answers look like.

    Attributes:
        shows_tokens: seed: a source is born with a token and every answer about it shows its
            tokens; clients of either era understand this. Otherwise modern: a token is shown once,
            where it is made, and nothing else speaks of tokens.
        bare_token_ids: a source's tokens are listed as bare ids, not `{token_id, created_at}`.
    """

    shows_tokens: bool = True
    bare_token_ids: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The surface that settings ask for; they were checked where they were read."""
        return cls(
            shows_tokens=settings.surface == "seed",
            bare_token_ids=settings.token_list == "integers",  # noqa: S105 - no password
        )
