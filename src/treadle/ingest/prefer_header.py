"""The `Prefer` header: `Prefer: wait=10, ack=loaded` (RFC 7240)."""

from dataclasses import dataclass

from treadle.ingest.receipts_endpoint import parse_wait_seconds

DEFAULT_SECONDS = 10.0
"""Time to wait when a client names none; a load begins within a second or two."""


@dataclass(frozen=True, slots=True)
class LoadPreference:
    """When a client wants its answer.

    Attributes:
        loaded: when the records are loaded.
        seconds: but no later than this.
    """

    loaded: bool
    seconds: float


def parse_prefer(header: str) -> LoadPreference:
    """Parse the header; unknown preferences are ignored, as the standard asks."""
    given: dict[str, str] = {}
    for part in header.split(","):
        name, _, value = part.partition(";")[0].partition("=")
        given.setdefault(name.strip().lower(), value.strip().strip('"'))
    seconds = parse_wait_seconds(given.get("wait", ""))
    return LoadPreference(
        loaded=given.get("ack", "").lower() == "loaded",
        seconds=DEFAULT_SECONDS if seconds is None else seconds,
    )
