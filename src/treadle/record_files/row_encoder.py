"""Encodes rows of values with the same fields as JSON objects, many at once."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

FIELDS_MAX = 256
"""For more fields no struct is made, since most of them are empty then."""


class RowEncoder:
    """Encodes rows. To a table, a field that is null is as good as none."""

    def __init__(
        self,
        names: Sequence[str],
        convert: Callable[[Any], Any] | None = None,
        *,
        nulls: bool = False,
    ) -> None:
        """Make an encoder.

        Args:
            names: of the fields, each once.
            convert: makes JSON of a value that is of no type of JSON.
            nulls: encode fields that are None, too, since a schema may ask for them.
        """
        self._nulls = nulls
        self._names = tuple(names)
        self._encoder = msgspec.json.Encoder(enc_hook=convert)
        self._kind: Callable[..., Any] | None = None
        if 0 < len(self._names) <= FIELDS_MAX:
            fields = [f"f{number}" for number in range(len(self._names))]
            try:
                self._kind = msgspec.defstruct(
                    "Row",
                    [(field, Any, None) for field in fields],
                    rename=dict(zip(fields, self._names, strict=True)),
                    omit_defaults=not nulls,
                    gc=False,
                )
            except ValueError:  # quotes, backslashes, control characters
                self._kind = None

    def encode(self, columns: Sequence[Sequence[Any]]) -> list[bytes]:
        """Return the JSON text of each row.

        Args:
            columns: the values of each field; a `msgspec.Raw` among them has no line end.
        """
        return self._encode_rows(zip(*columns, strict=True))

    def _encode_rows(self, rows: Iterable[tuple[Any, ...]]) -> list[bytes]:
        kind = self._kind
        values: list[Any]
        if kind is None:
            names = self._names
            pairs = (zip(names, row, strict=True) for row in rows)
            values = [{n: v for n, v in row if self._nulls or v is not None} for row in pairs]
        else:
            values = [kind(*row) for row in rows]
        # JSON as it is encoded has no line end in it, and raw values have none.
        return self._encoder.encode_lines(values).split(b"\n")[:-1]
