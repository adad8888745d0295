"""Places for objects for tests: one in memory that can fail at any call, and what readers see."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from treadle.destinations.files.object_store import ObjectExistsError
from treadle.destinations.protocol import DestinationUnavailableError


class DeathError(BaseException):
    """The process ends here: nothing catches it, and nothing is done after it."""


@dataclass
class MemoryStore:
    """A place for objects; see `ObjectStore`.

    Attributes:
        objects: key -> content.
        calls: how many calls that change something were made.
        dies_before, dies_after: the call at which the process ends, before or after it is done.
        loses: the call that is done and not answered.
        delays: the call that is answered as failed, and done later (`deliver`).
        conflicts: the call that is answered as if the name was taken, because a library repeated
            it, and done later. Only to put a new object can be answered so.
        watch: called after each call that changes something.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    calls: int = 0
    dies_before: int = -1
    dies_after: int = -1
    loses: int = -1
    delays: int = -1
    conflicts: int = -1
    watch: Callable[[], None] | None = None
    place: str = "bucket/raw"
    late: list[Callable[[], None]] = field(default_factory=list)

    def _change(self, change: Callable[[], None]) -> None:
        at, self.calls = self.calls, self.calls + 1
        if at == self.dies_before:
            raise DeathError
        if at == self.delays:
            self.late.append(change)
            raise DestinationUnavailableError("no answer")
        change()
        if self.watch is not None:
            self.watch()
        if at == self.dies_after:
            raise DeathError
        if at == self.loses:
            raise DestinationUnavailableError("no answer")

    def deliver(self) -> None:
        """Let changes take place that were under way."""
        for change in self.late:
            try:
                change()
            except ObjectExistsError:
                continue
        self.late.clear()

    def put(self, key: str, data: bytes | memoryview) -> None:
        self._change(lambda: self.objects.update({key: bytes(data)}))

    def put_new(self, key: str, data: bytes) -> None:
        def change() -> None:
            if key in self.objects:
                raise ObjectExistsError(key)
            self.objects[key] = data

        if self.calls == self.conflicts:
            self.calls += 1
            self.late.append(change)
            raise ObjectExistsError(key)
        self._change(change)

    def get(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def open(self, key: str) -> Any:
        data = self.get(key)
        return None if data is None else pa.BufferReader(data)

    def list_keys(self, folder: str) -> list[str]:
        return sorted(key for key in self.objects if key.startswith(f"{folder}/"))

    def list_folders(self, folder: str) -> list[str]:
        inside = f"{folder}/" if folder else ""
        rest = [key.removeprefix(inside) for key in self.objects if key.startswith(inside)]
        return sorted({key.partition("/")[0] for key in rest if "/" in key})

    def holds_any(self, folder: str) -> bool:
        return bool(self.list_keys(folder))

    def show(self, pending: str, shown: str) -> None:
        def copy() -> None:
            if shown not in self.objects and pending in self.objects:
                self.objects[shown] = self.objects[pending]

        def remove() -> None:
            self.objects.pop(pending, None)

        self._change(copy)
        self._change(remove)

    def remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._change(partial(self._forget, key))

    def _forget(self, key: str) -> None:
        self.objects.pop(key, None)

    def close(self) -> None:
        """Nothing is held: another session goes on with it."""


def read_shown(store: MemoryStore, folder: str) -> list[dict[str, Any]]:
    """The rows of a relation for somebody who lists the Parquet files of its folder."""
    return [row for rows in _read_files(store, folder) for row in rows]


def _read_files(store: MemoryStore, folder: str) -> Iterator[list[dict[str, Any]]]:
    for key in store.list_keys(folder):
        if key.endswith(".parquet"):
            yield pq.read_table(io.BytesIO(store.objects[key])).to_pylist()
