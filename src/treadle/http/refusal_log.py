"""Log lines about refusals of strangers: so few that nobody can fill a disk with them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

REFUSAL_LOG_SECONDS: Final = 1.0
"""Least time between two lines of one kind."""


@dataclass(slots=True)
class _RefusalCount:
    logged_at: float
    unlogged: int = 0


@dataclass(slots=True)
class RefusalLog:
    """Logs refusals of a kind at most once a second, with their number and the last address.

    Attributes:
        logger: gets the lines, as warnings.
        monotonic: seconds.
    """

    logger: logging.Logger
    monotonic: Callable[[], float]
    _counts: dict[str, _RefusalCount] = field(default_factory=dict)

    def record(self, kind: str, address: str, detail: str = "") -> None:
        """Count a refusal; log it, and those since the last line, if that was a second ago.

        Args:
            kind: what happened, as a sentence about one of them; one of a few fixed texts.
            address: where it came from.
            detail: why, of this one.
        """
        now = self.monotonic()
        count = self._counts.get(kind)
        if count is None:
            count = self._counts[kind] = _RefusalCount(now - REFUSAL_LOG_SECONDS)
        count.unlogged += 1
        if now - count.logged_at < REFUSAL_LOG_SECONDS:
            return
        self.logger.warning(
            "%s (%d since the last such line, the latest from %s)%s",
            kind,
            count.unlogged,
            address or "an unknown address",
            f": {detail}" if detail else "",
        )
        count.logged_at, count.unlogged = now, 0
