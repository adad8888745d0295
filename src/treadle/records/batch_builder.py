"""Messages of a push, of many tables, to one `MessageBatch` per table and key names."""

from collections.abc import Callable, Sequence
from typing import Any

from treadle.records.message_batch import MessageBatch, ValueForm


class _OpenBatch:
    """A batch that still takes messages."""

    __slots__ = ("activations", "key_names", "payloads", "sequences", "table_name", "versions")

    def __init__(self, table_name: str, key_names: tuple[str, ...]) -> None:
        self.table_name = table_name
        self.key_names = key_names
        self.sequences: list[int] = []
        self.versions: list[int] = []
        self.payloads: list[Any] = []
        self.activations: list[tuple[int, int]] = []


class BatchBuilder:
    """Sorts messages, given in request order, into batches.

    A table's batch ends when its key names change, so the order inside a table holds from batch to
    batch. An activation belongs to the table's batch of that moment; one that comes before any
    record waits for the first, and stands in a batch without records when there is none.
    """

    def __init__(self) -> None:
        self._batches: list[_OpenBatch] = []
        self._open_batches: dict[str, _OpenBatch] = {}
        self._early_activations: dict[str, list[tuple[int, int]]] = {}

    def add_record(
        self,
        table_name: str,
        key_names: tuple[str, ...],
        sequence: int,
        version: int,
        payload: Any,
    ) -> None:
        """Take an upsert message; `payload` is what `build` joins to the batch's data."""
        batch = self._open_batches.get(table_name)
        if batch is None or batch.key_names != key_names:
            batch = self._start_batch(table_name, key_names)
        batch.sequences.append(sequence)
        batch.versions.append(version)
        batch.payloads.append(payload)

    def add_activation(self, table_name: str, version: int) -> None:
        """Take a message that makes a table version the current one (import-api.md 13)."""
        batch = self._open_batches.get(table_name)
        if batch is None:
            self._early_activations.setdefault(table_name, []).append((0, version))
        else:
            batch.activations.append((len(batch.sequences), version))

    def build(self, form: ValueForm, join: Callable[[list[Any]], bytes]) -> list[MessageBatch]:
        """What was taken, in the order in which the batches began."""
        for table_name in list(self._early_activations):
            self._start_batch(table_name, ())
        return [
            MessageBatch(
                table_name=batch.table_name,
                key_names=batch.key_names,
                form=form,
                schema=b"",
                bookmark_names=(),
                sequences=batch.sequences,
                versions=fold_versions(batch.versions),
                extracted=None,
                activations=batch.activations,
                data=join(batch.payloads),
            )
            for batch in self._batches
        ]

    def _start_batch(self, table_name: str, key_names: tuple[str, ...]) -> _OpenBatch:
        batch = _OpenBatch(table_name, key_names)
        batch.activations = self._early_activations.pop(table_name, [])
        self._batches.append(batch)
        self._open_batches[table_name] = batch
        return batch


def build_batches(
    table_names: Sequence[str],
    key_names: Sequence[tuple[str, ...]],
    sequences: list[int],
    versions: Sequence[int],
    payloads: list[Any],
    form: ValueForm,
    join: Callable[[list[Any]], bytes],
) -> list[MessageBatch]:
    """The batches of upsert messages, given as columns; at least one."""
    if len(set(table_names)) > 1 or len(set(key_names)) > 1:
        gatherer = BatchBuilder()
        for message in zip(table_names, key_names, sequences, versions, payloads, strict=True):
            gatherer.add_record(*message)
        return gatherer.build(form, join)
    return [
        MessageBatch(
            table_name=table_names[0],
            key_names=key_names[0],
            form=form,
            schema=b"",
            bookmark_names=(),
            sequences=sequences,
            versions=fold_versions(versions),
            extracted=None,
            activations=[],
            data=join(payloads),
        )
    ]


def fold_versions(versions: Sequence[int]) -> int | list[int]:
    """Table versions as a batch keeps them: one number when all are the same."""
    if not versions:
        return 0
    first = versions[0]
    return first if versions.count(first) == len(versions) else list(versions)


def join_json_array(slices: list[Any]) -> bytes:
    """Slices of JSON text as one JSON array text."""
    return b"[" + b",".join(slices) + b"]"
