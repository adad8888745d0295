"""The catalogue entry of a table as text, for the destination to keep."""

import msgspec

from treadle.tables.model import Table

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Table)


def dump(table: Table) -> str:
    """JSON text of a catalogue entry."""
    return _encoder.encode(table).decode()


def load(text: str) -> Table:
    """The catalogue entry that `dump` wrote.

    Raises:
        msgspec.MsgspecError: the text is no catalogue entry.
    """
    return _decoder.decode(text)
