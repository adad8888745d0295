"""Batches of messages: what the import endpoints make of a request, and what the log stores.

A batch is columnar. Its records stay one JSON text, so that accepting them never encodes them
again and the loader decodes them in one call.
"""

from typing import Literal

import msgspec

ValueForm = Literal["json", "schema", "transit"]
"""The rule that gives values their types (loading.md 3.1): JSON form, JSON schema, Transit tag."""


class MessageBatch(msgspec.Struct, frozen=True, array_like=True):
    """The messages of one request for one table and one list of key names, in request order.

    Attributes:
        table_name: as sent.
        key_names: as sent; empty for an append-only table (loading.md 2.5). They mean nothing when
            the batch holds activations and no record.
        form: the rule that gives values their types.
        schema: JSON text of the request's JSON schema; empty unless `form` is "schema".
        bookmark_names: as sent on /v2/import/batch; empty otherwise.
        sequences: one per record.
        versions: the table version of each record, 0 when none was given (import-api.md 13);
            a single number when all records have the same.
        extracted: `time_extracted` of each record as sent (RFC 3339) or None; None when no record
            has one.
        activations: (number of records before it, version) for each activate_version or
            switch_view message, in order.
        data: the records. A JSON array text of objects, each exactly as sent; for "transit" the
            bytes that `transit.encoding` writes and reads. An empty array when there is no record.
        append_only: the sender may only append, as with a webhook token: in a table with a key
            its records are rejected, and do not stop it (loading.md 5.4). Batches stored before
            there was this field are without it.
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
    append_only: bool = False

    def __len__(self) -> int:
        """Return the number of records; activations do not count."""
        return len(self.sequences)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(MessageBatch)


def encode_batch(batch: MessageBatch) -> bytes:
    """Encode a batch as the bytes that the log stores."""
    return _encoder.encode(batch)


def decode_batch(payload: bytes) -> MessageBatch:
    """Decode the bytes that `encode_batch` wrote.

    Raises:
        msgspec.MsgspecError: the bytes are not an encoded batch.
    """
    return _decoder.decode(payload)
