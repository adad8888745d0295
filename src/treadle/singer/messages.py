"""The messages of Singer: what a tap prints, a JSON object in each line. Pure."""

from typing import Final

import msgspec

from treadle.errors import OperatorError

_EMPTY: Final = msgspec.Raw(b"")


class SingerInputError(OperatorError):
    """What a tap prints cannot be used. The text names the line."""


class SingerMessage(msgspec.Struct, gc=False):
    """One message.

    Attributes:
        type: SCHEMA, RECORD, STATE or ACTIVATE_VERSION.
        stream: that it is of; empty for a state.
        record: JSON text of a record.
        schema: JSON text of a schema.
        value: JSON text of a state.
        version: of the table, where the tap has versions.
        time_extracted: when the tap read the record.
    """

    type: str
    stream: str = ""
    record: msgspec.Raw = _EMPTY
    schema: msgspec.Raw = _EMPTY
    value: msgspec.Raw = _EMPTY
    key_properties: tuple[str, ...] | None = None
    bookmark_properties: tuple[str, ...] | str | None = None
    version: int | None = None
    time_extracted: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The key names of a schema; none for a stream without a key."""
        return self.key_properties or ()

    @property
    def bookmarks(self) -> tuple[str, ...]:
        """The bookmark names of a schema."""
        names = self.bookmark_properties
        return (names,) if isinstance(names, str) else names or ()


_NEEDED: Final = {
    "SCHEMA": ("stream", "schema"),
    "RECORD": ("stream", "record"),
    "STATE": ("value",),
    "ACTIVATE_VERSION": ("stream", "version"),
}
"""Type of a message -> the fields that it must have."""

_decode = msgspec.json.Decoder(SingerMessage).decode


def parse_message(line: bytes, number: int) -> SingerMessage:
    """Parse a line.

    Args:
        line: its bytes.
        number: of the line, from 1.

    Raises:
        SingerInputError: it is no message, or one of a type that is not taken.
    """
    try:
        message = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        shown = line[:60].decode("utf-8", "replace")
        raise SingerInputError(
            f"Line {number} of the tap is no Singer message ({error}): {shown!r}; a tap prints "
            "only messages to standard output."
        ) from error
    needed = _NEEDED.get(message.type)
    if needed is None:
        what = (
            "the records are in files; turn batches off in the tap (batch_config)"
            if message.type == "BATCH"
            else f"expected one of {', '.join(_NEEDED)}"
        )
        raise SingerInputError(f"Line {number} of the tap is a {message.type!r} message: {what}.")
    for name in needed:
        if getattr(message, name) in ("", None, _EMPTY):
            raise SingerInputError(
                f"Line {number} of the tap: a {message.type} message needs {name!r}."
            )
    return message
