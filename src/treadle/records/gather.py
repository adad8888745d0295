"""Messages of a push, which may belong to many tables, to one `Batch` per table and key names."""

from collections.abc import Callable, Sequence
from typing import Any

from treadle.records.message import Batch, Form


class _Open:
    """A batch that still takes messages."""

    __slots__ = ("activations", "key_names", "payloads", "sequences", "table_name", "versions")

    def __init__(self, table_name: str, key_names: tuple[str, ...]) -> None:
        self.table_name = table_name
        self.key_names = key_names
        self.sequences: list[int] = []
        self.versions: list[int] = []
        self.payloads: list[Any] = []
        self.activations: list[tuple[int, int]] = []


class Gatherer:
    """Sorts messages, given in request order, into batches.

    A table's batch ends when its key names change, so the order inside a table holds from batch to
    batch. An activation belongs to the table's batch of that moment; one that comes before any
    record waits for the first, and stands in a batch without records when there is none.
    """

    def __init__(self) -> None:
        self._batches: list[_Open] = []
        self._open: dict[str, _Open] = {}
        self._waiting: dict[str, list[tuple[int, int]]] = {}

    def record(
        self,
        table_name: str,
        key_names: tuple[str, ...],
        sequence: int,
        version: int,
        payload: Any,
    ) -> None:
        """Take an upsert message; `payload` is what `batches` joins to the batch's data."""
        batch = self._open.get(table_name)
        if batch is None or batch.key_names != key_names:
            batch = self._start(table_name, key_names)
        batch.sequences.append(sequence)
        batch.versions.append(version)
        batch.payloads.append(payload)

    def activation(self, table_name: str, version: int) -> None:
        """Take a message that makes a table version the current one (import-api.md 13)."""
        batch = self._open.get(table_name)
        if batch is None:
            self._waiting.setdefault(table_name, []).append((0, version))
        else:
            batch.activations.append((len(batch.sequences), version))

    def batches(self, form: Form, join: Callable[[list[Any]], bytes]) -> list[Batch]:
        """What was taken, in the order in which the batches began."""
        for table_name in list(self._waiting):
            self._start(table_name, ())
        return [
            Batch(
                table_name=batch.table_name,
                key_names=batch.key_names,
                form=form,
                schema=b"",
                bookmark_names=(),
                sequences=batch.sequences,
                versions=folded(batch.versions),
                extracted=None,
                activations=batch.activations,
                data=join(batch.payloads),
            )
            for batch in self._batches
        ]

    def _start(self, table_name: str, key_names: tuple[str, ...]) -> _Open:
        batch = _Open(table_name, key_names)
        batch.activations = self._waiting.pop(table_name, [])
        self._batches.append(batch)
        self._open[table_name] = batch
        return batch


def folded(versions: Sequence[int]) -> int | list[int]:
    """Table versions as a batch keeps them: one number when all are the same."""
    if not versions:
        return 0
    first = versions[0]
    return first if versions.count(first) == len(versions) else list(versions)


def array(slices: list[Any]) -> bytes:
    """Slices of JSON text as one JSON array text."""
    return b"[" + b",".join(slices) + b"]"
