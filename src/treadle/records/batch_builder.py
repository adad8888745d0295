"""Grouping of the messages of a push, which may belong to many tables, into batches."""

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
    """Groups messages, given in request order, into batches: one per table and key names.

    A table's batch ends when its key names change, so that the order inside a table holds across
    batches. An activation belongs to the batch that its table has at that moment. One that comes
    before any record waits for the first record, and gets a batch without records if there is none.
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
        """Add an upsert message; `build` joins the payloads into the batch's data."""
        batch = self._open_batches.get(table_name)
        if batch is None or batch.key_names != key_names:
            batch = self._start_batch(table_name, key_names)
        batch.sequences.append(sequence)
        batch.versions.append(version)
        batch.payloads.append(payload)

    def add_activation(self, table_name: str, version: int) -> None:
        """Add a message that makes a table version the current one (import-api.md 13)."""
        batch = self._open_batches.get(table_name)
        if batch is None:
            self._early_activations.setdefault(table_name, []).append((0, version))
        else:
            batch.activations.append((len(batch.sequences), version))

    def build(self, form: ValueForm, join: Callable[[list[Any]], bytes]) -> list[MessageBatch]:
        """Return the batches in the order in which they began.

        Args:
            form: the rule that gives values their types.
            join: makes a batch's data of the payloads of its records.
        """
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
    """Return the batches of upsert messages that are given as columns of at least one row."""
    if len(set(table_names)) > 1 or len(set(key_names)) > 1:
        builder = BatchBuilder()
        for message in zip(table_names, key_names, sequences, versions, payloads, strict=True):
            builder.add_record(*message)
        return builder.build(form, join)
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
    """Return table versions as a batch stores them: one number when all are the same."""
    if not versions:
        return 0
    first = versions[0]
    return first if versions.count(first) == len(versions) else list(versions)


def join_json_array(slices: list[Any]) -> bytes:
    """Join JSON texts into the text of one array; each is copied once, but the ends twice."""
    if len(slices) < 2:
        return b"".join((b"[", *slices, b"]"))
    first, *others, last = slices
    return b",".join((b"[" + bytes(first), *others, bytes(last) + b"]"))
