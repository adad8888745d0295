"""Writes the catalogue entry of a table as text, which the destination keeps."""

import msgspec

from treadle.tables.model import Table

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Table)


def encode_table(table: Table) -> str:
    """Return a catalogue entry as JSON text."""
    return _encoder.encode(table).decode()


def decode_table(text: str) -> Table:
    """Return the catalogue entry that `encode_table` wrote.

    Raises:
        msgspec.MsgspecError: the text is no catalogue entry.
    """
    return _decoder.decode(text)
