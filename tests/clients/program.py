"""What the programs of the clients share. It runs in their environments, without ours."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What came of one call.

    Attributes:
        call: its name at the client.
        seen: what it returned or raised, shortened.
        is_right: it is what it should be.
    """

    call: str
    seen: str
    is_right: bool


class ClientProgram:
    """Makes calls, and writes a line for each.

    Attributes:
        asked: what the program was told: token, ids, and a destination that can be made.
    """

    def __init__(self) -> None:
        self.asked: dict[str, Any] = json.load(sys.stdin)

    def run(
        self,
        name: str,
        call: Callable[[], Any],
        is_right: Callable[[Any], bool] = bool,
        *,
        raises: str | None = None,
    ) -> Any:
        """Make a call, write what came of it, and return that.

        Args:
            name: of the call.
            call: makes it.
            is_right: judges what it returns.
            raises: the call raises an error with this in its text.
        """
        try:
            found = call()
        except Exception as error:  # noqa: BLE001 - whatever a client raises is its answer
            text = f"{type(error).__name__}: {error} {getattr(error, 'body', '')}"
            right = raises is not None and raises in text
            self.write(Outcome(name, f"raised {shorten(text)}", is_right=right))
            return None
        right = raises is None and is_right(found)
        self.write(Outcome(name, shorten(repr(found)), is_right=right))
        return found

    @staticmethod
    def write(outcome: Outcome) -> None:
        """Write a line."""
        print(json.dumps(asdict(outcome)), flush=True)  # noqa: T201 - the program's answer


def shorten(text: str) -> str:
    """Return a text in one line of at most 160 characters, without the values of tokens."""
    text = re.sub(r"\b([a-z]{2}_)[0-9a-f]{32,}", r"\1...", " ".join(text.split()))
    return text if len(text) <= 160 else text[:157] + "..."


def has_all(keys: Sequence[str]) -> Callable[[Any], bool]:
    """Return a judge of objects: they have these keys."""
    return lambda found: isinstance(found, dict) and set(keys) <= found.keys()
