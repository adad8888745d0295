"""The catalogue entry of a table as text, for the destination to keep."""

import msgspec

from treadle.tables.model import Table

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Table)


def encode_table(table: Table) -> str:
    """JSON text of a catalogue entry."""
    return _encoder.encode(table).decode()


def decode_table(text: str) -> Table:
    """The catalogue entry that `encode_table` wrote.

    Raises:
        msgspec.MsgspecError: the text is no catalogue entry.
    """
    return _decoder.decode(text)
