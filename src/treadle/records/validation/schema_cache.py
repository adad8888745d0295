"""The latest schemas, loaded: as many as fit into some bytes of memory."""

import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from treadle.records.validation.effort import ENDLESS, Effort, EffortSpentError

KEPT_BYTES_MAX: Final = 32 * 1024 * 1024
"""Most memory of all kept schemas, by upper estimates."""

SCHEMA_BYTES_MAX: Final = 65_536
"""A longer text is loaded anew for each request."""

_ENTRY_BYTES: Final = 300
"""Memory of an entry itself, beside its text and its schema."""

T = TypeVar("T")


class _KeptSchema(Generic[T]):
    """A schema text in the cache.

    Attributes:
        loaded: the loaded schema; None if the effort was not enough to load it.
        spent: the effort that was not enough.
        size: the most bytes of memory that it takes.
        is_recent: used again since the cache last looked for schemas to remove.
    """

    __slots__ = ("is_recent", "loaded", "size", "spent")

    def __init__(self, loaded: T | None, size: int, spent: float) -> None:
        self.loaded = loaded
        self.size = size
        self.spent = spent
        self.is_recent = False


class SchemaCache(Generic[T]):
    """Keeps loaded schemas by their text; may be used by many threads.

    The schema that was unused for longest is removed first, approximately: a look-up only notes
    that the schema was used (the clock algorithm).

    Attributes:
        held_bytes: of all that is kept.
    """

    def __init__(
        self,
        load: Callable[[bytes, Effort], tuple[T, int]],
        bytes_max: int = KEPT_BYTES_MAX,
        schema_bytes_max: int = SCHEMA_BYTES_MAX,
    ) -> None:
        """Keep nothing yet.

        Args:
            load: schema text and effort -> the loaded schema, and its bytes of memory at most.
            bytes_max: what is kept never takes more. One schema takes a quarter of it at most.
            schema_bytes_max: a longer text is not kept.
        """
        self._load = load
        self._bytes_max = bytes_max
        self._schema_bytes_max = schema_bytes_max
        self._entries: dict[bytes, _KeptSchema[T]] = {}
        self._lock = threading.Lock()
        self.held_bytes = 0

    def get_loaded(self, schema: bytes, effort: Effort = ENDLESS) -> T:
        """Return a loaded schema.

        Raises:
            SchemaError: the schema cannot be used.
            EffortSpentError: to load it takes more effort than is left. That is kept, too.
        """
        entry = self._entries.get(schema)
        if entry is not None:
            entry.is_recent = True
            if entry.loaded is not None:
                return entry.loaded
            if effort.units_left <= entry.spent:
                raise EffortSpentError
        before = effort.units_left
        try:
            loaded, size = self._load(schema, effort)
        except EffortSpentError:
            self._keep(schema, _KeptSchema(None, _ENTRY_BYTES + len(schema), before))
            raise
        self._keep(schema, _KeptSchema(loaded, _ENTRY_BYTES + len(schema) + size, before))
        return loaded

    def _keep(self, schema: bytes, entry: _KeptSchema[T]) -> None:
        if len(schema) > self._schema_bytes_max or entry.size > self._bytes_max // 4:
            return
        with self._lock:
            former = self._entries.pop(schema, None)
            if former is not None:
                self.held_bytes -= former.size
            while self._entries and self.held_bytes + entry.size > self._bytes_max:
                self._forget_one()
            self._entries[schema] = entry
            self.held_bytes += entry.size

    def _forget_one(self) -> None:
        """Forget the first entry that was not used since it was last looked at."""
        while True:
            schema = next(iter(self._entries))
            entry = self._entries.pop(schema)
            if not entry.is_recent:
                self.held_bytes -= entry.size
                return
            entry.is_recent = False
            self._entries[schema] = entry
