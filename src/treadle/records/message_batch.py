"""What a client said, as a value: the messages of one request for one table.

A `MessageBatch` is what the import endpoints make of a request and what the log keeps. It is
columnar: the records stay one JSON text, so that accepting them never re-encodes them and the
loader decodes them in one call.
"""

from typing import Literal

import msgspec

ValueForm = Literal["json", "schema", "transit"]
"""How values get their types (loading.md 3.1): by JSON form, by JSON schema, by Transit tag."""


class MessageBatch(msgspec.Struct, frozen=True, array_like=True):
    """The messages of one request for one table and one list of key names, in request order.

    Attributes:
        table_name: as sent.
        key_names: as sent; empty for an append-only table (loading.md 2.5), and meaningless when
            the batch holds activations and no record.
        form: how values get their types.
        schema: JSON text of the request's JSON schema; empty unless `form` is "schema".
        bookmark_names: as sent on /v2/import/batch; empty otherwise.
        sequences: one per record.
        versions: the table version of each record, 0 when none was given (import-api.md 13);
            a single number when all records carry the same.
        extracted: `time_extracted` of each record as sent (RFC 3339) or None; None when no record
            carries one.
        activations: (number of records before it, version) for each activate_version or
            switch_view message, in order.
        data: the records. A JSON array text of objects, each exactly as sent; for "transit" the
            bytes that `records.typed` writes and reads. Empty arrays when there is no record.
    """

    table_name: str
    key_names: tuple[str, ...]
    form: ValueForm
    schema: bytes
    bookmark_names: tuple[str, ...]
    sequences: list[int]
    versions: int | list[int]
    extracted: list[str | None] | None
    activations: list[tuple[int, int]]
    data: bytes

    def __len__(self) -> int:
        """How many records the batch holds; activations do not count."""
        return len(self.sequences)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(MessageBatch)


def encode_batch(batch: MessageBatch) -> bytes:
    """The bytes the log keeps for a batch."""
    return _encoder.encode(batch)


def decode_batch(payload: bytes) -> MessageBatch:
    """The batch that `encode_batch` wrote.

    Raises:
        msgspec.MsgspecError: the bytes are not a packed batch.
    """
    return _decoder.decode(payload)
