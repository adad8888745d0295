"""What parts of pages showed last, so that one that cannot be read says so and keeps its value."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from treadle.errors import TreadleError

T = TypeVar("T")

PARTS_MAX: Final = 1_000
"""Parts of which the last value is kept."""


@dataclass(frozen=True, slots=True)
class KeptPart(Generic[T]):
    """A part of a page as it is now, or as it was when it could be read.

    Attributes:
        value: None where it could never be read.
        failing_since: microseconds since 1970; None where it was read now.
    """

    value: T | None
    failing_since: int | None = None


@dataclass(slots=True)
class PartKeeper:
    """Reads parts of pages, and keeps the last value of each."""

    _parts: "OrderedDict[Hashable, KeptPart[Any]]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, key: Hashable, read: Callable[[], T], now: int) -> KeptPart[T]:
        """Return a part: what is read now, or its last value.

        Args:
            key: names the part, and whose it is.
            read: reads it.
            now: microseconds since 1970.
        """
        try:
            found: KeptPart[T] = KeptPart(read())
        except (TreadleError, OSError):
            with self._lock:
                last = self._parts.get(key)
            since = now if last is None or last.failing_since is None else last.failing_since
            found = KeptPart(None if last is None else last.value, since)
        with self._lock:
            self._parts[key] = found
            self._parts.move_to_end(key)
            while len(self._parts) > PARTS_MAX:
                self._parts.popitem(last=False)
        return found
